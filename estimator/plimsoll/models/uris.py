"""From a model's uri to the repository on a hub that it names, however it is spelled."""

from __future__ import annotations

import re
from typing import Final

_HUB_HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_BEHIND_ID: Final = re.compile(r"([@?#:])")
"""What may stand behind the id of a repository, in front of a revision, a query or a fragment."""
_DEFAULT_REVISIONS: Final = frozenset({"", "main", "HEAD", "refs/heads/main"})
"""Revisions that are the one which the catalogue knows."""
_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,127}", re.ASCII)


def repository(uri: str) -> tuple[str, bool]:
    """The id of the repository that a uri names on the hub; and whether it names no more than that.

    However it is spelled: with the hub's host, with empty or dotted parts, with a query, a fragment
    or a path behind it. Empty if the weights come from elsewhere.
    """
    if not uri.startswith("hf://"):
        return "", True
    printable = uri[5:]
    if not printable.isprintable():
        printable = "".join(filter(str.isprintable, printable))
    path, mark, rest = (*_BEHIND_ID.split(printable, maxsplit=1), "", "")[:3]
    parts = [part.strip() for part in path.split("/")]
    parts = [part for part in parts if part not in ("", ".", "..")]
    if parts and parts[0].lower() in _HUB_HOSTS:
        del parts[0]
    revision_is_default = not mark or (mark == "@" and rest.strip("/ ") in _DEFAULT_REVISIONS)
    return "/".join(parts[:2]), revision_is_default and len(parts) <= 2


def is_default(revision: str) -> bool:
    """Whether a revision is the one that is meant where nobody says one."""
    return revision.strip() in _DEFAULT_REVISIONS


def whole_repository(uri: str, revision: str = "") -> str:
    """The id ``owner/name`` of which a uri means the main branch; empty if it means less or more.

    It has no character but those that a hub lets an id have.
    """
    name, alone = repository(uri)
    return name if alone and is_default(revision) and _ID.fullmatch(name) else ""
