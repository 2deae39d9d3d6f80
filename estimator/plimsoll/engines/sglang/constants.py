"""SGLang's figures by version, and its two tables: defaults by GPU size, models with two pools.

It must not hold a figure: all of them are in data/constants.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from plimsoll.engines.tables import VersionTable

TABLE: Final = VersionTable("SGLang", Path(__file__).parent / "data/constants.json")


@dataclass(frozen=True, slots=True)
class Tier:
    """What a GPU of a size starts with. chunk: prefill tokens at once; graphs: the largest batch
    that is captured, below four tensor-parallel GPUs and from four on.
    """

    chunk: int
    graphs: int
    graphs_from_four: int


@lru_cache(maxsize=512)
def tier(version: str, mib: int) -> Tier:
    """The defaults of a version for a GPU of so many MiB (as ``nvidia-smi`` says)."""
    wanted = TABLE.parse(version)
    rows = next(
        entry["rows"]
        for entry in reversed(TABLE.data["tiers"]["from"])
        if TABLE.parse(entry["since"]) <= wanted
    )
    row = next(row for row in rows if mib < row[0] or row[0] == 0)
    return Tier(row[1], row[2], row[3])


@lru_cache(maxsize=512)
def sliding_pool(version: str, class_name: str) -> bool:
    """Whether sliding layers of a model class have a pool of their own in a version."""
    since = TABLE.data["sliding_pools"]["classes"].get(class_name)
    return since is not None and TABLE.parse(since) <= TABLE.parse(version)
