"""What stands in the place of a ConfigMap on a command line: a file, or a checkpoint's headers.

So `--config FILE` and a checkpoint go the manifest's way; `plimsoll.models` says what they mean.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from plimsoll.cli.given import MAX_KEPT, text_of
from plimsoll.cli.output import bad_input
from plimsoll.errors import Invalid, Problem, Unreadable, shown_path
from plimsoll.workloads.llmdeployment import Missing

if TYPE_CHECKING:
    from pathlib import Path


_REFERENCE: Final = {"name": "config.json"}
"""What configMapRef says of the one document there is: a name as ConfigMaps may have."""


class FileDocument:
    """The one document of a command line.

    reference: what configMapRef says to mean it; empty if there is none. title: what the model is
    called.
    """

    def __init__(self, path: Path | None) -> None:
        """path: the file; None if the command names none."""
        self.text: str | None = None
        self.problem: Problem | None = None
        self.reference: dict[str, str] = {}
        self.title = ""
        if path is None:
            return
        self.reference, self.title = _REFERENCE, path.name[:253] or "config.json"
        try:
            self.text = text_of(path, MAX_KEPT)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self.problem = Problem("--config", shown_path(path), f"a readable file ({why})")

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The file's text."""
        return self.text if self.text is not None else Missing("no --config FILE was given")


class HubProfiles:
    """Profiles of models that the catalogue lacks, from their hub.

    What a hub does not give is said on standard error, once.
    """

    def __init__(self) -> None:
        self._profiles: dict[str, str | None] = {}

    def get(self, namespace: str, name: str, key: str | None) -> str | None:
        """The profile of the model of that id."""
        if name not in self._profiles:
            self._profiles[name] = self._read(name)
        return self._profiles[name]

    @staticmethod
    def _read(model: str) -> str | None:
        from plimsoll.models.checkpoint.source import hub_profile

        try:
            profile, _ = hub_profile(model)
        except (Invalid, Unreadable) as error:
            click.echo(f"note: {error}", err=True)
            return None
        return json.dumps(profile, separators=(",", ":"))


def profile_from(source: str, output: str, *, hub: bool) -> dict[str, Any]:
    """The compact profile of a checkpoint, its notes on standard error.

    source: a path, a ``file://`` URI or, with hub, an id on a hub. Ends the program with code 2
    if it cannot be read.
    """
    from plimsoll.models.checkpoint.source import hub_profile, local_profile

    try:
        profile, notes = hub_profile(source) if hub else local_profile(source)
    except Invalid as error:
        bad_input(error.problems, output)
    except Unreadable as error:
        bad_input(Problem("MODEL", error.given, error.wanted), output)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    return profile


def document_from(source: str, output: str, *, hub: bool) -> FileDocument:
    """The same as the document that configMapRef means."""
    profile = profile_from(source, output, hub=hub)
    document = FileDocument(None)
    document.text = json.dumps(profile, separators=(",", ":"))
    document.reference, document.title = _REFERENCE, str(profile.get("name") or "model")[:253]
    return document
