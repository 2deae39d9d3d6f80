"""The figures of llama.cpp that change from build to build, each with where it was seen.

It must not hold a figure of its own: all of them are in data/constants.json, by the build from
which they hold (``5430.0`` there is build b5430).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines.tables import VersionTable
from plimsoll.errors import Unreadable

if TYPE_CHECKING:
    from plimsoll.engines.tables import Constants, Version

_BUILD: Final = re.compile(r"(?:[A-Za-z0-9._-]{0,64}[-_])?[bB]?([0-9]{3,6})(?:\.0)?")


class Builds(VersionTable):
    """The data file, by build number."""

    def parse(self, text: str) -> Version:
        """``"b9440"``, ``"9440"`` or ``"server-cuda-b9440"``. Raises `Unreadable`."""
        match = _BUILD.fullmatch(text.strip()) if len(text) <= 128 else None
        if match is None:
            raise Unreadable(text, "a build of llama.cpp such as b9440")
        oldest = int(self.data["oldest"].partition(".")[0])
        if int(match[1]) < oldest:
            raise Unreadable(text, f"a build of llama.cpp from b{oldest} on")
        return (int(match[1]), 0, 0)


TABLE: Final = Builds("llama.cpp", Path(__file__).parent / "data/constants.json")


@lru_cache(maxsize=64)
def constants(version: str = "") -> Constants:
    """The figures for a build; the newest known where none is said. Raises `Unreadable`."""
    found = TABLE.constants(version)
    return replace(found, version=f"b{found.version.partition('.')[0]}")


def or_newest(version: str) -> Constants:
    """The figures for a build; those of the newest where `constants` would refuse it."""
    try:
        return constants(version)
    except Unreadable:
        return constants()
