"""Headers of a checkpoint in the place of a ConfigMap, for the commands that read checkpoints.

It must not decide what a header means; `plimsoll.models.checkpoint` does.
"""

from __future__ import annotations

import json
from typing import Any

import click

from plimsoll.cli.documents import FileDocument
from plimsoll.cli.output import bad_input
from plimsoll.errors import Invalid, Problem, Unreadable


def profile_from(source: str, output: str, *, hub: bool) -> dict[str, Any]:
    """The compact profile of a checkpoint, its notes on standard error.

    source: a path, a ``file://`` URI or, with hub, an id on a hub. Ends the program with code 2
    where it cannot be read.
    """
    from plimsoll.models.checkpoint.source import hub_profile, local_profile

    try:
        profile, notes = hub_profile(source) if hub else local_profile(source)
    except Invalid as error:
        bad_input(error.problems, output)
    except Unreadable as error:
        bad_input([Problem("MODEL", error.given, error.wanted)], output)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    return profile


def document_from(source: str, output: str, *, hub: bool) -> FileDocument:
    """The same as the document that configMapRef means."""
    profile = profile_from(source, output, hub=hub)
    document = FileDocument(None)
    document.text = json.dumps(profile, separators=(",", ":"))
    document.reference = {"name": str(profile.get("name") or "model")[:253]}
    return document
