"""The engines that have a table of flags, and where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import plimsoll
from plimsoll.engines.registry import NAMES, engine


def _table(name: str) -> Path:
    package = type(engine(name)).__module__.split(".")[2]
    return Path(plimsoll.__file__).parent / "engines" / package / "data" / "flags.json"


FLAG_TABLES: Final = {name: _table(name) for name in NAMES if _table(name).is_file()}
"""By the engine's name: those of all engines that have one."""
