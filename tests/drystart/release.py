"""An environment of one release, made outside the tree of sources, and its cases run in it.

packages   as of two days after the release: what a user got who installed it then
folder     build/drystart/<release>, which git ignores; some 10 GB, removed when all is written
cases      those that have no facts yet: stop it at any time, and go on with the same command
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from accuracy.data import ROOT
from drystart.cases import asked, everything
from drystart.files import kept, pack, path_of

if TYPE_CHECKING:
    from pathlib import Path

BUILD: Final = ROOT / "build" / "drystart"
_OWN_INDEX: Final = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
"""The index that pip asks if nobody told it another."""
_AS_JSON: Final = {"Accept": "application/vnd.pypi.simple.v1+json"}
_SETTLED: Final = timedelta(days=2)


def _index() -> str:
    """The package index that pip is told to ask here, else its own."""
    for words in (("-m", "pip", "config", "get", "global.index-url"), ("-c", _OWN_INDEX)):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip().rstrip("/")
    raise ValueError("pip names no package index: `pip config set global.index-url URL`")


def date_of(release: str) -> str:
    """The day until which packages count. Raises URLError, ValueError for what is no release."""
    request = urllib.request.Request(f"{_index()}/vllm/", headers=_AS_JSON)
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    own = [f["upload-time"] for f in files if f["filename"].startswith(f"vllm-{release}-")]
    if not own:
        raise ValueError(f"vllm {release} has no wheels; releases have numbers such as 0.33.0")
    newest = max(map(datetime.fromisoformat, own))
    return f"{newest + _SETTLED:%Y-%m-%d}"


def python_of(release: str) -> Path:
    """The environment's Python."""
    return BUILD / release / "bin" / "python"


def install(release: str) -> None:
    """Make the environment, with uv where it is, else with venv and pip."""
    folder, python = BUILD / release, python_of(release)
    if (folder / "complete").exists():
        return
    day = date_of(release)
    print(f"installing vllm {release} as of {day} into {folder}: some 10 GB", file=sys.stderr)
    BUILD.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv")
    if uv is not None:
        subprocess.run([uv, "venv", "--quiet", "--python", "3.11", str(folder)], check=True)
        command = [uv, "pip", "install", "--quiet", "--python", str(python)]
        command += ["--exclude-newer", day]
    else:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet"]
        print(
            "uv is not installed: pip takes today's packages, not those of the day", file=sys.stderr
        )
    # Triton of old releases wants setuptools, and does not say so.
    subprocess.run([*command, f"vllm=={release}", "setuptools"], check=True)
    (folder / "complete").touch()


def run(release: str, python: Path, most: int | None) -> None:
    """Run the cases that have no facts yet, at the lowest priority."""
    known = kept(path_of(release))
    cases = [case for case in asked(release) if case.id not in known][:most]
    BUILD.mkdir(parents=True, exist_ok=True)
    given, out = BUILD / f"{release}.cases.jsonl", BUILD / f"{release}.facts.jsonl"
    given.write_text("".join(json.dumps(case.asked()) + "\n" for case in cases), "utf-8")
    command = ["nice", "-n", "10", str(python), "-m", "plimsoll_drystart", "--cases", str(given)]
    command += ["--out", str(out), "--work", str(BUILD / f"{release}.work")]
    subprocess.run(
        command, check=False, env={"PYTHONPATH": str(ROOT / "estimator"), "PATH": "/usr/bin:/bin"}
    )


def write(release: str) -> int:
    """Pack what there is into the facts' file. Returns how many facts."""
    out = BUILD / f"{release}.facts.jsonl"
    path = path_of(release)
    path.parent.mkdir(parents=True, exist_ok=True)
    return pack(everything(release), out.read_text("utf-8").splitlines(), path)


def remove(release: str) -> None:
    """Remove the environment and what was made for it; the facts stay."""
    for folder in (BUILD / release, BUILD / f"{release}.work"):
        shutil.rmtree(folder, ignore_errors=True)
