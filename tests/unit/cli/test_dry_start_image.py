"""`plimsoll dry-start --image` with a docker and a podman of the tests' own.

Neither can run here. Each keeps the words that it was given and runs, on this machine and without
any isolation, what the image would: a Python with the stub engine (`stub_engine`) in vLLM's place.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from plimsoll.cli import cli
from stub_engine import installed

if TYPE_CHECKING:
    from click.testing import Result

PROGRAM = """#!{python}
import json, os, pathlib, subprocess, sys
here = pathlib.Path({folder!r})
with open(here / "said", "a") as file:
    file.write(json.dumps(sys.argv) + "\\n")
if sys.argv[1] == "rm":
    os.killpg(int((here / "container").read_text()), 9)
    sys.exit(0)
flags = [word for word in sys.argv[2:] if word.startswith("--") and "=" in word]
at = 2 + next(i for i, word in enumerate(sys.argv[2:]) if not word.startswith("--"))
image, words = sys.argv[at], sys.argv[at + 1:]
outside, inside, mode = [f for f in flags if "--volume=" in f][0].split("=", 1)[1].split(":")
words = [word.replace(inside, outside) for word in words]
programs = {{
    "engine": [sys.executable, *words],
    "bare": [sys.executable, *words],
    "garbage": ["/bin/sh", "-c", "printf 'PLIMSOLL-FACTS [\\\\033[31mhello'"],
    "killed": ["/bin/sh", "-c", "kill -9 $$"],
    "sleeps": ["/bin/sh", "-c", "sleep 600"],
}}
if image not in programs:
    print("Unable to find image locally", file=sys.stderr)
    print(f"docker: pull access denied for {{image}}", file=sys.stderr)
    print("Run 'docker run --help' for more information", file=sys.stderr)
    sys.exit(125)
variables = {{"PATH": os.environ["PATH"], "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}}
if image == "engine":
    variables["PYTHONPATH"] = {packages!r}
# a container is no child of the program that asked for it
made = subprocess.Popen(programs[image], env=variables, start_new_session=True)
(here / "container").write_text(str(made.pid))
code = made.wait()
sys.exit(128 - code if code < 0 else code)
"""


@pytest.fixture(params=["docker", "podman"])
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the only one that is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    packages = str(installed(tmp_path))
    text = PROGRAM.format(python=sys.executable, folder=str(tmp_path), packages=packages)
    (folder / request.param).write_text(text)
    (folder / request.param).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    found = {request.param: str(folder / request.param)}
    monkeypatch.setattr("plimsoll.cli.dry_start.shutil.which", found.get)
    return str(request.param)


def words(image: str, *more: str) -> list[str]:
    return ["dry-start", "Qwen/Qwen3-8B", "--gpu", "nvidia-l40s", "--image", image, *more]


def run(image: str, *more: str) -> Result:
    return CliRunner().invoke(cli, words(image, *more))


def said(folder: Path) -> list[list[str]]:
    """What the program was asked, in order."""
    return [json.loads(line) for line in (folder / "said").read_text().splitlines()]


def test_the_engine_of_an_image_answers_and_is_given_no_rights(
    program: str, tmp_path: Path
) -> None:
    result = run("engine", "--max-model-len", "8192")
    assert result.exit_code == 0, result.output
    assert "vLLM 0.33.0 starts, as far as can be seen without a GPU" in result.stdout
    (asked,) = said(tmp_path)
    assert asked[0].endswith(program)
    assert asked[1] == "run"
    for flag in (
        "--rm", "--network=none", "--read-only", "--user=65534:65534", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", "--memory=8g", "--cpus=2", "--pids-limit=512",
        "--entrypoint=python3",
    ):  # fmt: skip
        assert flag in asked, flag
    (mount,) = [word for word in asked if word.startswith("--volume=")]
    assert mount.endswith(":/plimsoll:ro")
    assert asked[asked.index("engine") + 1] == "/plimsoll/drystart.pyz"
    assert not [word for word in asked if "gpu" in word.lower()]
    assert not os.path.exists(mount.removeprefix("--volume=").split(":")[0])


def test_a_refusal_of_the_engine_in_an_image_ends_with_one(program: str) -> None:
    result = run("engine", "--max-model-len", "81920")
    assert result.exit_code == 1
    assert "refuses: User-specified max_model_len (81920)" in result.stdout


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("bare", "no torch, so no engine that can be dry started"),
        ("garbage", "the dry start: "),
        ("killed", "killed: too little memory, or by somebody"),
        ("nowhere:1", "docker: pull access denied for nowhere:1"),
    ],
)
def test_an_image_that_says_nothing_of_use_is_told_in_a_sentence(
    program: str, image: str, sentence: str
) -> None:
    result = run(image)
    assert result.exit_code == 2
    assert sentence in result.output
    assert "\x1b" not in result.output
    assert "Traceback" not in result.output


def test_a_container_that_does_not_end_is_removed_by_its_name(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll.cli.dry_start._SLACK", -7)
    result = run("sleeps", "--seconds", "10")
    assert result.exit_code == 2
    assert "an answer within 10 s" in result.output
    first, last = said(tmp_path)
    (name,) = [word for word in first if word.startswith("--name=")]
    assert last[1:] == ["rm", "--force", name.removeprefix("--name=")]
    assert_ended(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_container_is_removed_when_the_command_is_interrupted(
    program: str, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "plimsoll.cli", *words("sleeps")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "container").exists() or not (tmp_path / "container").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert said(tmp_path)[-1][1:3] == ["rm", "--force"]
    assert_ended(tmp_path)


def assert_ended(folder: Path) -> None:
    deadline, process = time.monotonic() + 30, int((folder / "container").read_text())
    while os.path.exists(f"/proc/{process}"):
        stat = Path(f"/proc/{process}/stat")
        if stat.exists() and stat.read_text().split()[2] == "Z":  # nobody waits for it any more
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_either_it_is_said_what_else_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll.cli.dry_start.shutil.which", {}.get)
    result = run("engine")
    assert result.exit_code == 2
    assert "docker or podman on this machine" in result.output
    assert "--python PATH or --job" in " ".join(result.output.split())
