"""A file on disk in the place of a ConfigMap, so that `--config FILE` goes the manifest's way.

It must not interpret the file; `plimsoll.models.resolve` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.errors import Problem, shown
from plimsoll.workloads.llmdeployment import Missing

if TYPE_CHECKING:
    from pathlib import Path


class FileDocument:
    """The one document of a command line. reference: what configMapRef says to mean it."""

    def __init__(self, path: Path | None) -> None:
        """path: the file; None where the command names none."""
        self.text: str | None = None
        self.problem: Problem | None = None
        self.reference: dict[str, str] = {}
        if path is None:
            return
        self.reference = {"name": path.name[:253] or "config.json"}
        try:
            self.text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self.problem = Problem("--config", shown(str(path)), f"a readable file ({why})")

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The file's text."""
        return self.text if self.text is not None else Missing("no --config FILE was given")
