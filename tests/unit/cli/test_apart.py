"""Claims about working in several processes: the same comes of it as of one, whatever happens."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from commands import run
from plimsoll.cli import apart

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


MANIFESTS = Path(__file__).resolve().parents[1] / "workloads/manifests"


def squared(index: int) -> int:
    return index * index


@pytest.mark.parametrize("count", [0, 1, apart.WORTH_IT - 1, apart.WORTH_IT, 1001])
@pytest.mark.parametrize("processes", [1, 3])
def test_the_order_is_that_of_the_things_however_many_processes(count: int, processes: int) -> None:
    assert apart.each(squared, count, processes) == [index * index for index in range(count)]


@LINUX
def test_many_things_are_worked_on_in_other_processes_and_few_are_not() -> None:
    here = os.getpid()
    assert set(apart.each(lambda _: os.getpid(), apart.WORTH_IT - 1, 2)) == {here}
    others = set(apart.each(lambda _: os.getpid(), apart.WORTH_IT, 2))
    assert here not in others
    assert len(others) <= 2


@LINUX
def test_a_process_that_is_ended_from_outside_loses_nothing() -> None:
    here = os.getpid()

    def work(index: int) -> int:
        if index == 7 and os.getpid() != here:
            os._exit(9)
        return index

    assert apart.each(work, apart.WORTH_IT, 2) == list(range(apart.WORTH_IT))


@LINUX
def test_an_error_of_the_work_is_the_callers() -> None:
    def work(index: int) -> NoReturn:
        raise ValueError(f"no {index}")

    with pytest.raises(ValueError, match=r"no \d+"):
        apart.each(work, apart.WORTH_IT, 2)


@LINUX
@pytest.mark.parametrize("output", ["table", "json", "markdown"])
def test_a_check_says_the_same_in_several_processes_as_in_one(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "WORTH_IT", 2)
    said = []
    for processes in (1, 3):
        monkeypatch.setattr(apart, "_processors", lambda size=processes: size)
        said.append(run("check", MANIFESTS, "-o", output))
    one, several = said
    assert one.stdout.count("Qwen") > 2
    assert (several.stdout, several.stderr, several.exit_code) == (
        one.stdout,
        one.stderr,
        one.exit_code,
    )
