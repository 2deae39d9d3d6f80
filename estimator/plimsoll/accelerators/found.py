"""What labels say of a node's accelerator, and whether its memory can be that of the product."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators.types import Accelerator, Dialect, Labels
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLERANCE: Final = 0.03
"""How far a node's memory label may lie from the table's; drivers and ECC move it that much."""
_NAME: Final = re.compile(r"[^a-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Found:
    """What labels say. accelerator: with the memory that the node reports, if it does.

    selector: the labels that select such nodes, in `dialect`.
    """

    accelerator: Accelerator
    dialect: Dialect
    selector: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Unclear:
    """Labels that name no accelerator for sure; why: in words that the node's owner can act on."""

    why: str


def pairs(selector: tuple[tuple[str, str], ...]) -> str:
    """Labels for a message."""
    return ", ".join(f"{key}={value}" for key, value in selector)


def mebibytes(labels: Mapping[str, str], key: str) -> int | None:
    """Bytes in a label that counts MiB, with or without the unit; None if it is no number."""
    text = labels.get(key, "").removesuffix("MiB")
    return int(text) * MIB if text.isascii() and text.isdecimal() and len(text) <= 9 else None


def checked(
    known: Accelerator, memory: int | None, labels: Mapping[str, str], key: str, product: str
) -> Accelerator | Unclear:
    """The accelerator with the memory that its node reports, if that can be the same product."""
    if memory is None:
        return known
    if known.certain and abs(memory - known.memory) > TOLERANCE * known.memory:
        return Unclear(
            f"label {key}={labels[key]} contradicts {product}, which has {known.memory // MIB} MiB"
        )
    return reported(known, memory, key)


@lru_cache(maxsize=1024)
def reported(known: Accelerator, memory: int, key: str) -> Accelerator:
    """The accelerator with the memory that nodes report: one object for all that agree."""
    return replace(known, memory=memory, certain=True, source=f"node label {key}")


def unlisted(
    product: str,
    memory: int,
    *,
    source: str,
    label: tuple[str, str] | None = None,
    resource: str = "nvidia.com/gpu",
    family: str = "",
    compute: tuple[int, int] = (0, 0),
    dialect: Dialect = Dialect.GFD,
) -> Accelerator:
    """An accelerator of its own for a product that the table does not have."""
    return Accelerator(
        name=_NAME.sub("-", product.lower()).strip("-.")[:63] or "unnamed",
        title=product,
        memory=memory,
        resource=resource,
        family=family,
        compute=compute,
        gpus_per_node=8,
        labels=(Labels(dialect, (label,)),) if label else (),
        products=(product,),
        source=source,
        usual=False,
    )
