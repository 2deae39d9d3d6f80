"""Where a model's headers are: a folder, a file, an index, a ``file://`` URI, or a hub.

It must not use the network unless it is told that it may.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from plimsoll.errors import Invalid, Problem, Unreadable, shown

_ENDINGS: Final = (".safetensors", ".gguf", ".index.json")
_BEGINNINGS: Final = ("/", "./", "../", "~", "file://")

Profile = tuple[dict[str, Any], tuple[str, ...]]
"""A compact profile, and notes on what was passed over or corrected."""


def is_local(text: str) -> bool:
    """Whether a text names files on this machine, and not a model of the catalogue or a hub."""
    if text.startswith(_BEGINNINGS) or text in (".", "..") or text.endswith(_ENDINGS):
        return not text.startswith("hf://")
    try:
        return "://" not in text and Path(text).is_dir()
    except (OSError, ValueError):
        return False


def local_profile(text: str) -> Profile:
    """The profile of a checkpoint on this machine, from its headers.

    text: a path or a ``file://`` URI. Raises `Invalid` or `plimsoll.errors.Unreadable`.
    """
    from plimsoll.models.checkpoint import described, gguf, safetensors

    path = _path(text)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    if not is_folder and not is_file:
        raise Unreadable(text, "a folder with a checkpoint, or one of its files: there is none")
    if is_folder:
        weights = sorted(path.glob("*.gguf"))
        if weights and not any(path.glob("*.safetensors*")):
            path = _only(weights, text)
    if path.suffix == ".gguf":
        return described.profile_of_gguf(gguf.read(path), path.name)
    return described.profile_of(safetensors.read(path))


def _path(text: str) -> Path:
    if text.startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise Unreadable(text, "a file on this machine: file:///absolute/path")
        return Path(unquote(parts.path))
    return Path(text).expanduser() if text.startswith("~") else Path(text)


def _only(files: list[Path], text: str) -> Path:
    """The one GGUF file of a folder, or the first part of the only one."""
    from plimsoll.models.checkpoint.gguf import parts_of

    first = {parts_of(file.name)[0]: file for file in files}
    if len(first) > 1:
        names = ", ".join(sorted(first)[:4])
        raise Unreadable(text, f"one GGUF file: this folder holds several ({names})")
    return files[0]


def hub_profile(uri: str) -> Profile:
    """The profile of a checkpoint on a hub, from its headers by range requests.

    uri: ``hf://owner/name``, with ``@revision`` or ``/file.gguf`` behind it, or without ``hf://``.
    Raises `Invalid` or `plimsoll.errors.Unreadable`.
    """
    from plimsoll.models.checkpoint import described, hub

    path, _, revision = uri.removeprefix("hf://").partition("@")
    parts = path.strip("/").split("/")
    if len(parts) < 2 or not all(parts):
        raise Invalid(
            Problem("MODEL", shown(uri), "hf://owner/name",
                    "add @revision for a branch, tag or commit, /file.gguf for a GGUF file")
        )  # fmt: skip
    name, file = "/".join(parts[:2]), "/".join(parts[2:])
    if file:
        return described.profile_of_gguf(hub.read_gguf(name, file, revision), f"{name}/{file}")
    return described.profile_of(hub.read(name, revision))
