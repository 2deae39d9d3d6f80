"""Find etcd, kube-apiserver and kubectl that are on this machine already, and new enough.

It must not download or build anything, and it starts them only to ask for their version.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controlplane.toolchain import Version

PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
"""What an archive of envtest holds, and what a control plane needs."""

_ANSWERS_WITHIN = 30.0
"""Seconds that a program may take to say its version."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Programs of somebody else's. version: of kube-apiserver; where: they were found, in words."""

    programs: Mapping[str, Path]
    version: str
    where: str

    def __str__(self) -> str:
        return f"etcd, kube-apiserver and kubectl: {self.version}, {self.where}"


def machine() -> str:
    """This machine as Kubernetes names it: linux-amd64."""
    known = {"x86_64": "amd64", "aarch64": "arm64"}
    return f"{platform.system()}-{known.get(platform.machine(), platform.machine())}".lower()


def in_folder(folder: Path) -> dict[str, Path]:
    """The programs of a folder."""
    found = {name: folder / name for name in PROGRAMS}
    return {name: path for name, path in found.items() if os.access(path, os.X_OK)}


def chosen(at_least: Version, say: Callable[[str], None]) -> Taken | None:
    """What the user says outright: $KUBEBUILDER_ASSETS, else what is on PATH. All three, or none.

    at_least: the oldest Kubernetes that will do; say: told what is passed over, and why.
    """
    if folder := os.environ.get("KUBEBUILDER_ASSETS"):
        where = f"in {folder} (KUBEBUILDER_ASSETS)"
        return _new_enough(in_folder(Path(folder).expanduser()), where, at_least, say)
    on_path = {name: Path(path) for name in PROGRAMS if (path := shutil.which(name))}
    if len(on_path) < len(PROGRAMS):
        return None  # nearly everybody has a kubectl
    return _new_enough(on_path, "on PATH", at_least, say)


def of_setup_envtest(at_least: Version, say: Callable[[str], None]) -> Taken | None:
    """The newest that setup-envtest has put into its folder for this machine."""
    folder = setup_envtest_folder()
    here = [path for path in folder.glob(f"*-{machine()}") if in_folder(path)]
    if not here:
        return None
    newest = max(here, key=lambda path: version_in(path.name))
    return _new_enough(in_folder(newest), f"in {newest} (setup-envtest)", at_least, say)


def setup_envtest_folder() -> Path:
    """Where setup-envtest keeps its downloads unless told otherwise.

    Source: sigs.k8s.io/controller-runtime, tools/setup-envtest/store/helpers.go.
    """
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/io.kubebuilder.envtest/k8s").expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "kubebuilder-envtest" / "k8s"


def version_in(text: str) -> Version:
    """The first version of three numbers in a text: "Kubernetes v1.36.2" -> (1, 36, 2)."""
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def _new_enough(
    programs: dict[str, Path], where: str, at_least: Version, say: Callable[[str], None]
) -> Taken | None:
    missing = [name for name in PROGRAMS if name not in programs]
    if missing:
        say(f"passed over what is {where}: no {' and no '.join(missing)} that can be run")
        return None
    needed = {"kube-apiserver": at_least, "kubectl": at_least, "etcd": (3, 5)}
    asked = {"kubectl": ("version", "--client")}
    said: dict[str, str] = {}
    for name, oldest in needed.items():
        answer = _ask([str(programs[name]), *asked.get(name, ("--version",))])
        version = version_in(answer)
        if version < oldest:
            wanted = ".".join(map(str, oldest))
            found = ".".join(map(str, version)) or "says no version"
            say(f"passed over what is {where}: {name} {found}, and {wanted} is needed")
            return None
        said[name] = ".".join(map(str, version))
    return Taken(programs, f"v{said['kube-apiserver']}", where)


def _ask(command: list[str]) -> str:
    """What a program says of itself; nothing if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWERS_WITHIN)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
