"""Every fuzz target finds nothing new in its first cases, and what it finds can be repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fuzz import counts, harness
from fuzz.__main__ import main, unknown
from fuzz.harness import MOST_MIB, Report, Target, drawn, reproducer, run
from fuzz.targets import OPEN, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.sweep
@pytest.mark.parametrize("name", TARGETS)
def test_the_first_cases_break_no_promise_and_cost_little(name: str) -> None:
    report = run(TARGETS[name], seed=1, cases=TARGETS[name].few)
    assert report.cases == TARGETS[name].few
    assert unknown(report) == []


@pytest.mark.parametrize("name", TARGETS)
def test_a_case_follows_from_target_seed_and_number_alone(name: str) -> None:
    target = TARGETS[name]
    assert drawn(target, 5, 3) == drawn(target, 5, 3)
    assert [drawn(target, 5, case) for case in range(4)] != [drawn(target, 6, c) for c in range(4)]


def test_what_is_known_is_of_a_target_that_there_is() -> None:
    assert {name for name, _ in OPEN} <= set(TARGETS)


def number(random: Random) -> int:
    return random.randrange(1000)


def breaks(given: int) -> Iterator[str]:
    if given % 2:
        yield f"odd number: {given}"
    if given % 10 == 4:
        raise KeyError(given)


def test_a_fault_names_its_kind_and_the_line_that_repeats_it() -> None:
    target = Target("numbers", number, breaks, few=1)
    report = run(target, seed=7, cases=200)
    assert set(report.kinds) == {"odd number", "KeyError"}
    fault = next(one for one in report.faults if one.kind == "odd number")
    case = int(fault.reproducer.rpartition("CASE=")[2])
    assert fault.reproducer == reproducer("numbers", 7, case)
    assert ascii(drawn(target, 7, case)) == fault.given == fault.details
    again = run(target, seed=7, cases=1, first=case)
    assert again.faults[0] == fault


def test_a_case_that_does_not_end_is_broken_off_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def turns(given: int) -> Iterator[str]:
        while given == 0:
            pass
        yield from ()

    monkeypatch.setattr(harness, "GIVEN_UP", 0.1)
    target = Target("turns", lambda random: random.choice((0, 1)), turns, few=1)
    report = run(target, seed=1, cases=10)
    assert report.cases == 10
    assert set(report.kinds) == {"never ends"}


def test_time_and_memory_of_one_case_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def heavy(given: int) -> Iterator[str]:
        held = b"x" * (int(MOST_MIB) << 21) if given else b""
        until = time.process_time() + 0.05
        while given and time.process_time() < until:
            pass
        yield from () if held or not given else ("",)

    monkeypatch.setattr(harness, "MOST_SECONDS", 0.02)
    cases = iter([0, 0, 1, 0])
    report = run(Target("heavy", lambda random: next(cases), heavy, few=1), seed=1, cases=3)
    assert set(report.kinds) == {"slow", "memory"}
    assert report.worst_mib[1] == report.worst_seconds[1] == 1


def test_make_fuzz_prints_cases_seconds_and_the_worst_case(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(counts, "KEPT", tmp_path / "build" / "fuzz.json")
    main(["--target", "manifests", "--seed", "1", "--seconds", "0.2"])
    printed = capsys.readouterr().out
    assert printed.startswith("seed 1, 0 s for 1 targets")
    assert "the worst case took" in printed
    main(["--target", "manifests", "--seconds", "0.2"])
    again = capsys.readouterr().out
    assert again.startswith("seed 2, 0 s")
    one, two = (int(text.partition(" cases in")[0].split()[-1]) for text in (printed, again))
    assert again.splitlines()[-1].startswith(f"manifests   {one + two:9} cases")
    made = subprocess.run(
        ["make", "--dry-run", "fuzz", "SECONDS=5", "SEED=7", "TARGET=logs", "CASE=3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-m fuzz --seconds 5 --seed 7 --target logs --case 3" in " ".join(
        made.stdout.replace("\\\n", " ").split()
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_prints_what_it_has(tmp_path: Path, number: int) -> None:
    begin = (
        "import sys, pathlib\n"
        "from fuzz import __main__, counts, harness\n"
        "harness.TOLD_EVERY, counts.KEPT = 0.0, pathlib.Path(sys.argv[1])\n"
        "sys.exit(__main__.main(['--target', 'arguments', '--seconds', '600']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", begin, str(tmp_path / "fuzz.json")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("seed 1")
        assert run.stdout.readline().startswith("arguments ")  # how far it is
        run.send_signal(number)
        rest = run.stdout.read()
    assert run.returncode == 0
    assert "the worst case took" in rest
    assert "all runs together" in rest


def test_a_seed_that_is_run_again_counts_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(counts, "KEPT", tmp_path / "fuzz.json")
    kept = counts.Counts()
    assert kept.next_seed() == 1
    for cases in (5, 9, 7):
        kept.keep(Report("specs", 3, cases=cases, worst_seconds=(0.5, 1)))
    kept.keep(Report("specs", 8, cases=20, kinds=Counter({"slow": 2})))
    assert kept.next_seed() == 9
    (line,) = kept.lines()
    assert "29 cases" in line
    assert "of 2 seeds from 3 to 8   worst  0.500 s (seed 3)" in line
    assert line.endswith("found: slow x 2")
