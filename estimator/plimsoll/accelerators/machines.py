"""Clouds' machines by the name of their type: which GPU they carry and how many.

The table is in data/machines.json, with its sources. It must not be asked how many GPUs a node
has to give: the node's own capacity says that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators.types import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTANCE_TYPE: Final = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
"""Labels that name the type of a machine; the second is the older one."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One type. accelerator: a name of the accelerator table, or of what the table lacks.

    gpus: how many of them the machine carries; 0 if the type's name does not tell.
    """

    accelerator: str
    gpus: int
    dialect: Dialect


@cache
def machines() -> dict[str, Machine]:
    """All types by their names, read once."""
    text = (Path(__file__).parent / "data" / "machines.json").read_text("utf-8")
    return {
        name: Machine(accelerator, count, Dialect(cloud["dialect"]))
        for cloud in json.loads(text)["clouds"]
        for accelerator, types in cloud["types"].items()
        for name, count in types.items()
    }


@cache
def carrying() -> dict[str, tuple[tuple[str, Machine], ...]]:
    """The types that carry each accelerator, in the table's order."""
    found: dict[str, list[tuple[str, Machine]]] = {}
    for name, machine in machines().items():
        found.setdefault(machine.accelerator, []).append((name, machine))
    return {accelerator: tuple(types) for accelerator, types in found.items()}


def instance_type(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """The label that names the machine's type, as key and value; None if there is none."""
    return next(((key, labels[key]) for key in INSTANCE_TYPE if labels.get(key)), None)


def machine_of(labels: Mapping[str, str]) -> Machine | None:
    """The machine of a node, by the name of its type in any case; None if it is not known."""
    said = instance_type(labels)
    return _in_any_case().get(said[1].lower()) if said else None


@cache
def _in_any_case() -> dict[str, Machine]:
    return {name.lower(): machine for name, machine in machines().items()}
