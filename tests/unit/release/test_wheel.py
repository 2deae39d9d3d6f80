"""Claims about the built wheel, as somebody sees it who has installed it and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import plimsoll

ROOT = Path(__file__).resolve().parents[3]

USER = """
from typing import assert_type

import plimsoll
from plimsoll import Decision, Estimate, Request, Verdict

needs = plimsoll.estimate("Qwen/Qwen3-8B", "nvidia-l4")
assert_type(needs, Estimate)
assert_type(needs.required, int)
request = plimsoll.read_manifest({"spec": {}})
assert_type(request, Request)
verdict = plimsoll.decide(request, plimsoll.read_nodes([]))
assert_type(verdict, Verdict)
assert_type(verdict.decision, Decision)
assert_type(plimsoll.explain(request, verdict), str)
plimsoll.estimate(8, "nvidia-l4")
plimsoll.no_such_name
"""
WRONG = ("arg-type", "attr-defined")
"""What mypy says of the last two lines above, and nothing else."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as `make dist` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python so that `plimsoll` can only be the wheel's."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site), "MYPYPATH": str(site)},
        capture_output=True,
        text=True,
    )


def test_the_wheel_is_typed_and_holds_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"plimsoll/py.typed", "plimsoll/models/data/catalogue.json"} <= names
    assert not [name for name in names if name.startswith(("tests/", "operator/"))]


def test_the_wheel_has_the_public_names_and_works(site: Path) -> None:
    code = (
        "import plimsoll; print(plimsoll.__file__); print(*plimsoll.__all__);"
        "print(plimsoll.estimate('Qwen/Qwen3-8B', 'nvidia-l4').required > 2**34)"
    )
    where, names, fits = run(site, "-c", code).stdout.splitlines()
    assert Path(where).is_relative_to(site)
    assert names.split() == plimsoll.__all__
    assert fits == "True"


def test_a_users_mypy_knows_the_types_and_finds_the_mistakes(site: Path) -> None:
    (site.parent / "user.py").write_text(USER)
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'wheel'}"
    said = run(site, "-m", "mypy", "--strict", "--config-file=", cache, "user.py").stdout
    errors = [line for line in said.splitlines() if ": error:" in line]
    assert [line.rpartition("[")[2].rstrip("]") for line in errors] == list(WRONG)
