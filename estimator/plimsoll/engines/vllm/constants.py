"""The figures of vLLM that change from release to release, each with where it was seen.

It must not hold a figure of its own: all of them are in data/constants.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from plimsoll.engines.tables import VersionTable

TABLE: Final = VersionTable("vLLM", Path(__file__).parent / "data/constants.json", numbers=2)
constants: Final = TABLE.constants
parse_version: Final = TABLE.parse
