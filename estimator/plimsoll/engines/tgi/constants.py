"""TGI's figures by version.

It must not hold a figure: all of them are in data/constants.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from plimsoll.engines.tables import VersionTable

TABLE: Final = VersionTable("TGI", Path(__file__).parent / "data/constants.json")


def tera_operations(version: str, accelerator: str) -> int:
    """The speed of a GPU as the launcher knows it, 10^12 operations a second; 0 for no figure."""
    compute = TABLE.data["compute"]
    if TABLE.parse(version) < TABLE.parse(compute["since"]):
        return 0
    return int(compute["tera"].get(accelerator, 0))
