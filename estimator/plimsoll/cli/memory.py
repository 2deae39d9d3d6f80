"""Sizes as people write them on the command line: of a card, of what others hold, of a context."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import click

from plimsoll.units import GIB, MAX_BYTES, MIB

if TYPE_CHECKING:
    from plimsoll.cli.output import Command

_SIZE: Final = re.compile(
    r"(?P<number>[0-9]{1,9}(\.[0-9]{1,4})?) ?(?P<unit>[KMGT]i?B?|[GM]i)?", re.I
)
_UNITS: Final = {
    "mi": MIB,
    "mib": MIB,
    "m": 10**6,
    "mb": 10**6,
    "gi": GIB,
    "gib": GIB,
    "g": 10**9,
    "gb": 10**9,
}


class GpuMemory(click.ParamType[int]):
    """A size with its unit: 47.5GiB, 48640MiB, 48GB; without a unit MiB, as nvidia-smi counts."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Bytes, rounded down to MiB."""
        match = _SIZE.fullmatch(str(value).strip())
        unit = (match["unit"] or "MiB").lower() if match else ""
        if match is None or unit not in _UNITS:
            self.fail(f"{value!r} is no size such as 47.5GiB or 48640MiB", param, ctx)
        size = int(Decimal(match["number"]) * _UNITS[unit]) // MIB * MIB
        if not MIB <= size <= MAX_BYTES:
            self.fail(f"{value!r} is not between 1MiB and {MAX_BYTES // GIB}GiB", param, ctx)
        return size


AUTO: Final = "auto"


class Length(click.ParamType[int | str]):
    """A context: tokens, or ``auto`` (as vLLM also has it, -1) for what fits."""

    name = "tokens"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """A number of tokens, or `AUTO`."""
        text = str(value).strip()
        if text.lower() in (AUTO, "-1"):
            return AUTO
        try:
            return int(text)
        except ValueError:
            self.fail(f"{value!r} is no number of tokens and not {AUTO}", param, ctx)


def gpu_memory_option(command: Command) -> Command:
    """Add ``--gpu-memory`` to a command."""
    text = (
        "Memory of one GPU as its driver reports it (nvidia-smi), for a card, slice or vGPU that "
        "is in no table, or has another memory than its name says."
    )
    return click.option("--gpu-memory", type=GpuMemory(), metavar="SIZE", help=text)(command)


def in_use_option(command: Command) -> Command:
    """Add ``--in-use`` to a command."""
    text = (
        "Memory of each GPU that others hold while the engine starts: another engine on the same "
        "card, a desktop."
    )
    return click.option("--in-use", type=GpuMemory(), metavar="SIZE", help=text)(command)
