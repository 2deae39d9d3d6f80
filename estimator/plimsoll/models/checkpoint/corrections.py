"""What headers say that a config does not: kept small enough for a profile, and applied to it.

The checkpoint was read by whoever wrote the profile, which is not believed beyond limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from plimsoll.errors import Invalid, Problem, shown
from plimsoll.models.architecture import Architecture, Block, Part, Split, Stage, Tensor
from plimsoll.models.quantization import Quantization, Scheme

_MAX_ROWS: Final = 50_000
_MAX_SIZE: Final = 1 << 46
_PATH: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class Corrections:
    """Where a checkpoint is not what its config says.

    layers: numbers of layers, and the tensors that they hold instead.
    outside, extra: tensors outside the layers and of layers that predict further tokens; None:
        as the config says. quantization: method and scheme of most weights, if the config
        says nothing of any.
    assumed: names of tensors that nobody here knows; they are held whole on every rank.
    """

    layers: tuple[tuple[tuple[int, ...], tuple[Tensor, ...]], ...] = ()
    outside: tuple[Tensor, ...] | None = None
    extra: tuple[Tensor, ...] | None = None
    quantization: tuple[str, Scheme] | None = None
    assumed: tuple[str, ...] = ()

    def apply(self, made: Architecture) -> Architecture:
        """The architecture with what the headers say. Layers alike still share a block."""
        if self == Corrections():
            return made
        blocks = list(made.blocks)
        for numbers, tensors in self.layers:
            shared: dict[int, Block] = {}
            for number in numbers:
                old = blocks[number]
                if id(old) not in shared:
                    shared[id(old)] = replace(old, tensors=tensors)
                blocks[number] = shared[id(old)]
        return replace(
            made,
            blocks=tuple(blocks),
            outside=made.outside if self.outside is None else self.outside,
            extra=made.extra if self.extra is None else self.extra,
            quantization=Quantization(*self.quantization)
            if self.quantization
            else made.quantization,
            assumed=made.assumed or bool(self.assumed),
        )

    def as_dict(self) -> dict[str, Any]:
        """The same for a profile; empty if the checkpoint is what its config says."""
        as_data: dict[str, Any] = {}
        if self.layers:
            as_data["layers"] = [
                {"layers": spans(numbers), "tensors": _rows(tensors)}
                for numbers, tensors in self.layers
            ]
        for key, tensors_or_none in (("outside", self.outside), ("extra", self.extra)):
            if tensors_or_none is not None:
                as_data[key] = _rows(tensors_or_none)
        if self.quantization is not None:
            method, scheme = self.quantization
            as_data["quantization"] = [method, _figures(scheme)]
        if self.assumed:
            as_data["assumed"] = list(self.assumed[:20])
        return as_data


def spans(numbers: tuple[int, ...]) -> str:
    """Numbers in rising order as text: ``0-3,7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def numbers_in(text: str, below: int) -> tuple[int, ...] | None:
    """The numbers of such a text, all less than `below`; None if it says anything else."""
    numbers: list[int] = []
    for part in text.split(",") if len(text) < 65536 else ():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or len(first) > 6 or len(last) > 6:
            return None
        if dash and not last.isdecimal():
            return None
        low, high = int(first), int(last or first)
        if not (numbers[-1] if numbers else -1) < low <= high < below:
            return None
        numbers += range(low, high + 1)
    return tuple(numbers) or None


def _rows(tensors: tuple[Tensor, ...]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for t in tensors:
        row: list[Any] = [
            t.name,
            list(t.shape),
            str(t.split),
            str(t.part),
            t.copies,
            int(t.linear),
            str(t.stage),
        ]
        if t.scheme is not None:
            row.append(_figures(t.scheme))
        rows.append(row)
    return rows


def _figures(s: Scheme) -> list[Any]:
    return [s.name, s.bits, s.group_in, s.group_out, s.scale_bytes, s.zero_bits]


def from_dict(given: Mapping[str, Any], layers: int) -> Corrections:
    """What a profile says. layers: of the model. Raises `Invalid` for anything unbelievable."""
    layers_read: list[tuple[tuple[int, ...], tuple[Tensor, ...]]] = []
    entries = given.get("layers", [])
    if not isinstance(entries, list):
        raise wrong("layers", entries, "a list")
    seen: set[int] = set()
    for index, entry in enumerate(entries):
        where = f"layers[{index}]"
        numbers_text = entry.get("layers") if isinstance(entry, Mapping) else None
        numbers = numbers_in(numbers_text, layers) if isinstance(numbers_text, str) else None
        if numbers is None or seen & set(numbers):
            raise wrong(where, numbers_text, f"layers below {layers} such as 0-3,7, each once")
        seen |= set(numbers)
        layers_read.append((numbers, _tensors(entry.get("tensors"), f"{where}.tensors")))
    outside, extra = (
        _tensors(given[key], key) if key in given else None for key in ("outside", "extra")
    )
    assumed = given.get("assumed", [])
    if not isinstance(assumed, list):
        raise wrong("assumed", assumed, "a list of names")
    return Corrections(
        tuple(layers_read),
        outside,
        extra,
        _quantization(given.get("quantization")),
        tuple(str(name)[:200] for name in assumed[:20]),
    )


def _quantization(given: object) -> tuple[str, Scheme] | None:
    if given is None:
        return None
    try:
        if not isinstance(given, list) or len(given) != 2 or not isinstance(given[0], str):
            raise ValueError
        return given[0][:64], _scheme(given[1])
    except ValueError:
        raise wrong("quantization", given, "a method and a scheme") from None


def wrong(where: str, given: object, wanted: str) -> Invalid:
    """An entry of a profile that is not believed."""
    path = f"{_PATH}.{where}" if where else _PATH
    return Invalid(Problem(path, shown(given), wanted, "make it with `plimsoll models export`"))


def _tensors(rows: object, where: str) -> tuple[Tensor, ...]:
    if not isinstance(rows, list) or len(rows) > _MAX_ROWS:
        raise wrong(where, rows, f"a list of at most {_MAX_ROWS} tensors")
    return tuple(_tensor(row, f"{where}[{index}]") for index, row in enumerate(rows))


def _tensor(row: object, where: str) -> Tensor:
    try:
        if not isinstance(row, list) or not 7 <= len(row) <= 8:
            raise ValueError
        name, shape, split, part, copies, linear, stage = row[:7]
        good = (
            isinstance(name, str)
            and 0 < len(name) <= 512
            and isinstance(shape, list)
            and len(shape) <= 8
            and all(_whole(n, 0) for n in shape)
            and _whole(copies, 1)
            and math.prod(shape) * copies <= _MAX_SIZE
            and linear in (0, 1)
        )
        if not good:
            raise ValueError
        scheme = _scheme(row[7]) if len(row) == 8 else None
        return Tensor(
            name, tuple(shape), Split(split), Part(part), copies, bool(linear), Stage(stage), scheme
        )
    except (ValueError, TypeError):
        wanted = "name, shape, split, part, copies, linear, stage and, where packed, scheme"
        raise wrong(where, row, wanted) from None


def _scheme(row: object) -> Scheme:
    if not isinstance(row, list) or len(row) != 6 or not isinstance(row[0], str):
        raise ValueError
    name, *figures = row
    if not all(_whole(n, 0) and n <= 1 << 20 for n in figures) or not 1 <= figures[0] <= 64:
        raise ValueError
    return Scheme(name[:32], *figures)


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 40
