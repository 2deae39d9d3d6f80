"""How every other project's manager is run here: a process on a control plane of ours, which says
on loopback whether it is ready.
"""

from __future__ import annotations

import os
import urllib.request
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import yaml

from cluster.fixtures_operator import established, free_port, until
from controlplane.build import ensure_built, folder_of
from controlplane.certificates import LOOPBACK
from controlplane.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

    from controlplane import ControlPlane

HOST: Final = LOOPBACK[0]
UNCHECKED: Final = "--validate=false"
"""For kubectl: the schema of everything takes an API server long that has just got these kinds."""


class Manager:
    """A manager as it comes, without leader election. A context manager.

    name: of its program, and of the set of programs that it is built in.
    """

    name: ClassVar[str]
    page: ClassVar[str] = "/readyz"

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.folder: Path = plane.folder / self.name
        self.health = f"{HOST}:{free_port()}"
        self._program = ensure_built(self.name)[self.name]
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self.prepare()
        self._process = Process(
            self.name,
            [str(self._program), *self.arguments()],
            self.folder / f"{self.name}.log",
            environment={
                **os.environ,
                "KUBECONFIG": str(self.plane.kubeconfig),
                **self.environment(),
            },
        )
        until(self._is_ready, 120, f"{self.name} is ready")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()

    def log(self, lines: int = 60) -> str:
        """The end of what it wrote."""
        return self._process.tail(lines) if self._process is not None else ""

    def prepare(self) -> None:
        """What must be there before it starts: its kinds, its configuration."""

    def arguments(self) -> list[str]:
        """Of its program."""
        return []

    def environment(self) -> dict[str, str]:
        """Of its program, beside the kubeconfig."""
        return {}

    def serves(self) -> bool:
        """What else must hold before it is ready; asked again and again meanwhile."""
        return True

    def kinds(self, *folders: str) -> None:
        """Have the CustomResourceDefinitions in these folders beside its program served."""
        for folder in folders:
            self.plane.create(objects_in(folder_of(self.name) / folder), UNCHECKED)
        until(lambda: established(self.plane), 60, f"the kinds of {self.name} are served")

    def _is_ready(self) -> bool:
        process = self._process
        assert process is not None
        if process.returncode is not None:
            raise RuntimeError(f"{self.name} ended ({process.returncode}):\n{self.log()}")
        serves = self.serves()
        try:
            with urllib.request.urlopen(f"http://{self.health}{self.page}", timeout=2) as page:
                return bool(page.status == 200) and serves
        except OSError:
            return False


def objects_in(folder: Path, names: str = "*.yaml") -> list[dict[str, Any]]:
    """The objects in the files of a folder."""
    return [
        one
        for path in sorted(folder.glob(names))
        for one in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)
        if one
    ]
