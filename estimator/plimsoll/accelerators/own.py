"""Accelerators that a file or a ConfigMap adds to the table, for cards that nobody else lists.

    accelerators:
    - name: acme-x1                    # as requests name it; new to the table
      memory: 47.5GiB                  # of one GPU, as its driver reports it
      computeCapability: "8.9"         # unset: 8.6, and 9.0 from 70 GiB on
      family: ada-lovelace             # unset: follows from the capability
      products: [NVIDIA-ACME-X1]       # nvidia.com/gpu.product of its nodes
      gpusPerNode: 8                   # unset: 8
      resource: nvidia.com/gpu         # unset: that

It is total: an entry that cannot be read is left out and told of, the others count, so that two
processes that read the same text know the same.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.types import MAX_GPUS, Accelerator, Dialect, Labels
from plimsoll.errors import Problem, Unreadable, shown
from plimsoll.units import GIB, parse_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 256
"""Accelerators that one file may add."""
LARGE: Final = 70 * GIB
"""Cards of so much memory are Hopper's or newer more often than not."""
KEYS: Final = (
    "name",
    "memory",
    "computeCapability",
    "family",
    "products",
    "gpusPerNode",
    "resource",
    "source",
)
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_CAPABILITY: Final = re.compile(r"([1-9][0-9]?)\.([0-9])")
_RESOURCES: Final = ("nvidia.com/", "amd.com/")
_FAMILIES: Final = (
    ((6, 0), "pascal"),
    ((7, 0), "volta"),
    ((7, 5), "turing"),
    ((8, 0), "ampere"),
    ((8, 9), "ada-lovelace"),
    ((9, 0), "hopper"),
    ((10, 0), "blackwell"),
)
"""The compute capability from which a family of NVIDIA's begins."""


def family_of(compute: tuple[int, int]) -> str:
    """The family of a compute capability of NVIDIA's; empty if there is none."""
    return next((name for least, name in reversed(_FAMILIES) if compute >= least), "")


def assumed_capability(memory: int) -> tuple[int, int]:
    """The compute capability of a card of NVIDIA's of which only the bytes are known."""
    return (9, 0) if memory >= LARGE else (8, 6)


def known_as(card: Accelerator, own: tuple[Accelerator, ...]) -> Accelerator:
    """A node's card under the name that somebody gave its product; else as it is.

    The memory stays the one that the node reports.
    """
    for mine in own:
        if set(card.products) & set(mine.products):
            return replace(card, name=mine.name, compute=mine.compute, family=mine.family)
    return card


def read(data: object) -> tuple[tuple[Accelerator, ...], tuple[Problem, ...]]:
    """The accelerators in a document, and what is wrong with it."""
    entries = data.get("accelerators") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        wanted = "a list of accelerators under the key accelerators"
        return (), (Problem("accelerators", shown(type(entries).__name__), wanted),)
    found: dict[str, Accelerator] = {}
    problems: list[Problem] = []
    if len(entries) > MOST:
        problems.append(Problem("accelerators", f"{len(entries)}", f"at most {MOST} of them"))
    for index, entry in enumerate(entries[:MOST]):
        place = f"accelerators[{index}]"
        if not isinstance(entry, dict):
            problems.append(Problem(place, shown(type(entry).__name__), "a mapping"))
            continue
        wrong = _wrong(place, entry, found)
        problems += wrong
        if not wrong:
            card = _accelerator(entry)
            found[card.name] = card
    return tuple(found.values()), tuple(problems)


def _wrong(place: str, entry: Mapping[Any, Any], found: Mapping[str, Accelerator]) -> list[Problem]:
    """What is wrong with one entry."""
    problems = [
        Problem(f"{place}.{key}", "", f"one of {', '.join(KEYS)}")
        for key in map(str, entry)
        if key not in KEYS
    ]

    def wrong(key: str, wanted: str) -> None:
        given = shown(entry[key]) if key in entry else ""
        problems.append(Problem(f"{place}.{key}", given, wanted))

    name = entry.get("name")
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        wrong("name", "a name of small letters, digits, dots and dashes")
    elif name in found or catalogue.find(name) is not None:
        wrong("name", "a name that is not in the table yet (`plimsoll accelerators`)")
    if not _memory(entry.get("memory")):
        wrong("memory", "a memory quantity such as 47.5GiB or 48640Mi")
    capability, family = entry.get("computeCapability"), entry.get("family")
    if capability is not None and not _CAPABILITY.fullmatch(str(capability)):
        wrong("computeCapability", 'a compute capability such as "8.9"')
    if family is not None and not (isinstance(family, str) and _NAME.fullmatch(family)):
        wrong("family", "a word such as hopper or cdna3")
    products = entry.get("products", [])
    if not (isinstance(products, list) and all(isinstance(p, str) and p for p in products)):
        wrong("products", "a list of product names")
    gpus = entry.get("gpusPerNode", 8)
    if not (isinstance(gpus, int) and not isinstance(gpus, bool) and 1 <= gpus <= MAX_GPUS):
        wrong("gpusPerNode", f"a number from 1 to {MAX_GPUS}")
    resource = entry.get("resource", "nvidia.com/gpu")
    if not (isinstance(resource, str) and resource.startswith(_RESOURCES)):
        wrong("resource", "a resource of nvidia.com or amd.com")
    return problems


def _memory(text: object) -> int:
    try:
        return parse_memory(text) if isinstance(text, str) else 0
    except Unreadable:
        return 0


def _accelerator(entry: Mapping[str, Any]) -> Accelerator:
    """An entry in which nothing is wrong."""
    memory = _memory(entry["memory"])
    resource = entry.get("resource", "nvidia.com/gpu")
    nvidia = resource.startswith("nvidia.com/")
    said = _CAPABILITY.fullmatch(str(entry.get("computeCapability", "")))
    compute = (int(said[1]), int(said[2])) if said else (0, 0)
    if said is None and nvidia:
        compute = assumed_capability(memory)
    products = tuple(entry.get("products", ()))
    key = "nvidia.com/gpu.product" if nvidia else "amd.com/gpu.product-name"
    dialect = Dialect.GFD if nvidia else Dialect.AMD
    return Accelerator(
        name=entry["name"],
        title=entry["name"],
        memory=memory,
        resource=resource,
        family=entry.get("family", "") or (family_of(compute) if nvidia else ""),
        compute=compute,
        gpus_per_node=entry.get("gpusPerNode", 8),
        labels=tuple(Labels(dialect, ((key, product),)) for product in products),
        products=products,
        source=str(entry.get("source", "")) or "added by hand",
        usual=False,
    )
