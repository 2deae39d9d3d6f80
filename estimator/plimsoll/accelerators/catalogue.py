"""The table of accelerators: what is known of each kind of GPU, found by any name people use.

It must not be asked for a size that it does not have: an unknown name is None, never a guess.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from plimsoll.accelerators.types import Accelerator, Dialect, Labels
from plimsoll.units import MIB

MAX_NAME: Final = 128
"""Characters of a name that are looked at."""


@dataclass(frozen=True)
class Catalogue:
    """All accelerators. full: whole GPUs, in the table's order; slices: their MIG slices."""

    full: tuple[Accelerator, ...]
    slices: tuple[Accelerator, ...]
    names: dict[str, Accelerator]

    def find(self, name: str) -> Accelerator | None:
        """The accelerator of that name, alias or product name, in any case, spaces for dashes."""
        return self.names.get("-".join(name.lower().split())) if len(name) <= MAX_NAME else None


def _accelerator(row: dict[str, Any]) -> Accelerator:
    return Accelerator(
        name=row["name"],
        title=row["title"],
        memory=row["mib"] * MIB,
        resource=row["resource"],
        family=row["family"],
        compute=(row["compute"][0], row["compute"][1]),
        gpus_per_node=row["gpusPerNode"],
        labels=tuple(
            Labels(Dialect(entry["dialect"]), tuple(sorted(entry["selector"].items())))
            for entry in row["labels"]
        ),
        products=tuple(row["products"]),
        source=row["source"],
        certain=row["certain"],
    )


def mig_slice(
    parent: Accelerator, profile: str, memory: int, *, source: str = "", certain: bool = True
) -> Accelerator:
    """A MIG slice of a GPU. profile: ``1g.10gb``; memory: bytes of the slice.

    The labels are those of the single strategy; with the mixed strategy the resource selects.
    """
    products = tuple(f"{product}-MIG-{profile}" for product in parent.products)
    return replace(
        parent,
        name=f"{parent.name}-mig-{profile}",
        title=f"{parent.title}, MIG {profile}",
        memory=memory,
        resource=f"nvidia.com/mig-{profile.replace('+', '.')}",
        gpus_per_node=1,
        labels=tuple(
            Labels(Dialect.GFD, (("nvidia.com/gpu.product", product),)) for product in products
        ),
        products=products,
        mig_of=parent.name,
        mig_profile=profile,
        source=source,
        certain=certain,
    )


@cache
def load() -> Catalogue:
    """The table, read once."""
    data = json.loads((Path(__file__).parent / "data" / "accelerators.json").read_text("utf-8"))
    full = tuple(_accelerator(row) for row in data["accelerators"])
    by_name = {a.name: a for a in full}
    slices = tuple(
        mig_slice(
            by_name[row["of"]],
            row["profile"],
            row["mib"] * MIB,
            source=row["source"],
            certain=row["certain"],
        )
        for row in data["mig"]
    )
    names: dict[str, Accelerator] = {}
    for row, accelerator in zip(data["accelerators"], full, strict=True):
        for alias in (*row["aliases"], *row["products"]):
            names[alias.lower()] = accelerator
    names |= {a.name: a for a in (*full, *slices)}
    return Catalogue(full, slices, names)


def find(name: str) -> Accelerator | None:
    """The accelerator of that name, alias or product name, in any case; None if none is."""
    return load().find(name)


def full_gpus() -> tuple[Accelerator, ...]:
    """Every whole GPU of the table."""
    return load().full


def everything() -> tuple[Accelerator, ...]:
    """Every whole GPU and every MIG slice of the table."""
    catalogue = load()
    return catalogue.full + catalogue.slices


def suggest(name: str, most: int = 3) -> tuple[str, ...]:
    """Names of the table that are near an unknown one."""
    names = [a.name for a in everything()]
    return tuple(difflib.get_close_matches(name[:MAX_NAME].lower(), names, n=most, cutoff=0.5))
