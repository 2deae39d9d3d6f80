"""Compares a checkpoint's tensors with the architecture that its config makes; the tensors win.

No file is read here, and no tensor is placed otherwise than its family places it: if a layer
holds just the elements that the config says, each as wide as it says, the family's placing holds.

    1  every weight (`packing`) to its place (`names`)
    2  per layer, for the towers and for the rest: elements by their bits, here and in the config
    3  otherwise: tensor by tensor, by name; what the config does not know is added, by
       what its name says; what the checkpoint does not hold goes
    4  a name that says nothing: whole on every rank, noted, and the architecture marked assumed
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.errors import clean
from plimsoll.models.architecture import Architecture, Block, MixerKind, Part, Split, Stage, Tensor
from plimsoll.models.checkpoint.corrections import Corrections
from plimsoll.models.checkpoint.names import (
    NONE,
    CutKind,
    Home,
    kind_further,
    kind_in_layer,
    kind_in_tower,
    kind_outside,
    place,
    spelt,
)
from plimsoll.models.quantization import Quantization, Scheme
from plimsoll.models.storage import module_of, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from plimsoll.models.checkpoint.packing import Weight

_TOWERS: Final = (Part.VISION, Part.AUDIO, Part.PROJECTOR)
_ENDS: Final = (Part.EMBEDDING, Part.HEAD)
_PLAIN: Final = 16
"""Bits of what is not quantized: the engine loads it in the model's own type, whatever it is."""
_EXPERT: Final = (Split.EXPERT_COLUMN, Split.EXPERT_ROW)


@dataclass(frozen=True, slots=True)
class _Real:
    """Weights of the checkpoint that are alike: name in one spelling, shape, how many, scheme.

    scales: of each; 0: not known.
    """

    name: str
    shape: tuple[int, ...]
    scheme: Scheme | None
    scales: int = 0
    copies: int = 1

    @property
    def elements(self) -> int:
        return math.prod(self.shape) * self.copies


@dataclass
class _Found:
    """What is told beside the tensors. unknown: names that say nothing. notes: sentences."""

    unknown: list[str]
    notes: list[str]


def corrections(made: Architecture, weights: Iterable[Weight], notes: list[str]) -> Corrections:
    """Where the weights of a checkpoint are not those that its config makes.

    Says in `notes` what was passed over, is missing or not known.
    """
    weights = tuple(weights)
    most = None
    if made.quantization is None or _silent(made.quantization):
        most = _most(made.quantization, weights)
        made = replace(made, quantization=Quantization(*most)) if most else made
    layers, outside, tower, further = _placed(made, weights)
    unknown = _Found([], notes)
    changed = _layers(made, layers, unknown)
    ends = _outside(made, outside, tower, unknown)
    extra = _further(made, further)
    if unknown.unknown:
        names = tuple(dict.fromkeys(unknown.unknown))
        some = ", ".join(map(clean, names[:3])) + (
            f" and {len(names) - 3} more" if names[3:] else ""
        )
        notes.append(f"not known and counted whole on every GPU: {some}")
        unknown.unknown = list(names)
    return Corrections(tuple(changed), ends, extra, most, tuple(unknown.unknown))


def _silent(quantization: Quantization) -> bool:
    """Whether a config names a method, and nothing of how it stores a weight."""
    return quantization.default is None and not quantization.special


def _most(said: Quantization | None, weights: Iterable[Weight]) -> tuple[str, Scheme] | None:
    """How most of the packed weights are stored; None if none is packed."""
    count: Counter[Scheme] = Counter()
    for weight in weights:
        if weight.scheme is not None:
            count[weight.scheme] += weight.elements
    if not count:
        return None
    scheme = count.most_common(1)[0][0]
    return said.method if said is not None else scheme.name, scheme


def _placed(
    made: Architecture, weights: Iterable[Weight]
) -> tuple[dict[int, list[_Real]], list[_Real], list[_Real], dict[int, list[_Real]]]:
    layers: defaultdict[int, Counter[_Real]] = defaultdict(Counter)
    further: defaultdict[int, Counter[_Real]] = defaultdict(Counter)
    outside: Counter[_Real] = Counter()
    tower: Counter[_Real] = Counter()
    hears = any(t.part is Part.AUDIO for t in made.outside)
    encodes = NONE
    if any(mixer.kind is MixerKind.ENCODER for mixer in made.mixers()):
        encodes = frozenset(t.name for t in made.outside)
    for weight in weights:
        where = place(weight.name, len(made.blocks), hears=hears, encodes=encodes)
        real = _Real(where.rest, weight.shape, weight.scheme, weight.scales)
        if where.home is Home.LAYER:
            layers[where.layer][real] += 1
        elif where.home is Home.FURTHER:
            further[where.layer][real] += 1
        elif where.home is Home.TOWER:
            tower[replace(real, name=weight.name)] += 1
        elif where.home is Home.OUTSIDE:
            outside[real] += 1
    return (
        {number: _counted(reals) for number, reals in layers.items()},
        _counted(outside),
        _counted(tower),
        {number: _counted(reals) for number, reals in further.items()},
    )


def _counted(held: Counter[_Real]) -> list[_Real]:
    """Alike ones as copies; stacked experts (experts x out x in) too."""
    return [
        _stacked(replace(real, copies=number))
        for real, number in sorted(held.items(), key=lambda item: (item[0].name, item[0].shape))
    ]


def _stacked(real: _Real) -> _Real:
    name = real.name
    if "experts." not in name or "shared_experts." in name:
        return real
    last = name.rpartition(".")[2]
    if last.endswith("_bias"):
        name = f"{name.removesuffix('_bias')}.bias"
    elif last not in ("weight", "bias"):
        name = f"{name}.weight"
    rank = 1 if name.endswith(".bias") else 2
    if real.copies == 1 and len(real.shape) == rank + 1:
        each = real.scales // (real.shape[0] or 1)
        return replace(real, name=name, shape=real.shape[1:], scales=each, copies=real.shape[0])
    return replace(real, name=name)


def packed_bits(quantization: Quantization | None) -> int:
    """Bits of a weight in packed integers, as the config says; 4 if it says nothing."""
    if quantization is not None:
        for scheme in quantization.schemes:
            if scheme.name.startswith("w"):
                return scheme.bits
    return 4


def _layers(
    made: Architecture, layers: dict[int, list[_Real]], found: _Found
) -> list[tuple[tuple[int, ...], tuple[Tensor, ...]]]:
    """The layers that differ, alike ones together."""
    done: dict[tuple[int, tuple[_Real, ...]], tuple[Tensor, ...] | None] = {}
    changed: defaultdict[tuple[Tensor, ...], list[int]] = defaultdict(list)
    for number, block in enumerate(made.blocks):
        reals = tuple(layers.get(number, ()))
        if not reals:
            if block.tensors:
                found.notes.append(f"layer {number} is in no file: counted as the config says")
                found.unknown.append(f"layers.{number}")
            continue
        key = (id(block), reals)
        if key not in done:
            done[key] = _layer(made, block, reals, found)
        tensors = done[key]
        if tensors is not None:
            changed[tensors].append(number)
    return [(tuple(numbers), tensors) for tensors, numbers in changed.items()]


def _layer(
    made: Architecture, block: Block, held: tuple[_Real, ...], found: _Found
) -> tuple[Tensor, ...] | None:
    if _same(block.tensors, held, made.quantization):
        return None
    pieces = [piece for real in held for piece in _apart(real, block, made.hidden_size)]
    matched = _matched(block.tensors, pieces, made.quantization, kind_in_layer, found)
    return None if matched == block.tensors else matched


def _same(
    tensors: Iterable[Tensor], held: Iterable[_Real], quantization: Quantization | None
) -> bool:
    """Whether there are as many elements of as many bits, and as many scales if they count."""
    wanted: Counter[int] = Counter()
    scales: Counter[int] = Counter()
    for tensor in tensors:
        scheme = _scheme(tensor, quantization)
        wanted[_bits(scheme)] += tensor.elements
        scales[_bits(scheme)] += _scales(tensor, scheme) * tensor.copies
    there: Counter[int] = Counter()
    scales_there: Counter[int] = Counter()
    for real in held:
        there[_bits(real.scheme)] += real.elements
        scales_there[_bits(real.scheme)] += real.scales * real.copies
    return wanted == there and all(scales[bits] == n for bits, n in scales_there.items() if n)


def _bits(scheme: Scheme | None) -> int:
    return _PLAIN if scheme is None else scheme.bits


def _scales(tensor: Tensor, scheme: Scheme | None) -> int:
    """Scales of one copy."""
    if scheme is None or not tensor.shape:
        return 0
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    across = -(-columns // (scheme.group_in or columns or 1))
    return across * -(-rows // (scheme.group_out or rows or 1))


def _scheme(tensor: Tensor, quantization: Quantization | None) -> Scheme | None:
    return None if quantization is None else scheme_of(quantization, module_of(tensor), tensor)


def _apart(real: _Real, block: Block, hidden: int) -> list[_Real]:
    """A weight as the family has it: output first; gate and up, and q, k and v, one by one."""
    name, shape = real.name, real.shape
    module, _, leaf = name.rpartition(".")
    if "experts." in name and len(shape) == 2 and "shared" not in name:
        across = shape[1] == hidden if "down" in module else shape[0] == hidden
        if across and shape[0] != shape[1]:
            shape = (shape[1], shape[0])
    names = {spelt(t.name) for t in block.tensors}
    stem, _, last = module.rpartition(".")
    stem = f"{stem}." if stem else ""
    if last == "gate_up_proj" and f"{stem}up_proj.{leaf}" in names and shape and not shape[0] % 2:
        half = (shape[0] // 2, *shape[1:])
        return [
            replace(real, name=f"{stem}{part}.{leaf}", shape=half, scales=real.scales // 2)
            for part in ("gate_proj", "up_proj")
        ]
    if last in ("qkv_proj", "query_key_value", "Wqkv", "W_pack", "wqkv", "c_attn"):
        wanted = [
            t
            for t in block.tensors
            if spelt(t.name).endswith((f"q_proj.{leaf}", f"k_proj.{leaf}", f"v_proj.{leaf}"))
        ]
        if len(wanted) == 3 and shape and sum(t.shape[0] for t in wanted) == shape[0]:
            return [
                replace(
                    real,
                    name=spelt(t.name),
                    shape=(t.shape[0], *shape[1:]),
                    scales=real.scales * t.shape[0] // shape[0],
                )
                for t in wanted
            ]
    return [replace(real, shape=shape)]


def _matched(
    tensors: Iterable[Tensor],
    held: Iterable[_Real],
    quantization: Quantization | None,
    kind: Callable[[str], CutKind],
    found: _Found,
) -> tuple[Tensor, ...]:
    """The config's tensors as the checkpoint holds them, and what it holds beside them."""
    by_name: defaultdict[str, list[_Real]] = defaultdict(list)
    for real in held:
        by_name[real.name].append(real)
    result: list[Tensor] = []
    for tensor in tensors:
        for real in by_name.pop(spelt(tensor.name), ()):
            alike = real.elements == tensor.elements
            resized = tensor if alike else replace(tensor, shape=real.shape, copies=real.copies)
            result.append(_stored(resized, real, quantization))
    for rest in by_name.values():
        for real in rest:
            what = kind(real.name)
            if not what.known:
                found.unknown.append(real.name)
            result.append(_made(real, what, quantization))
    return tuple(result)


def _made(real: _Real, what: CutKind, quantization: Quantization | None) -> Tensor:
    tensor = Tensor(
        real.name,
        real.shape,
        what.split,
        what.part,
        real.copies,
        what.linear and len(real.shape) > 1,
        what.stage,
    )
    return _stored(tensor, real, quantization)


def _stored(tensor: Tensor, real: _Real, quantization: Quantization | None) -> Tensor:
    """The tensor with its real scheme, if that is not what the config says."""
    scheme = _scheme(tensor, quantization)
    if _bits(scheme) == _bits(real.scheme) and real.scales in (0, _scales(tensor, scheme)):
        return tensor
    if real.scheme is None:
        return replace(tensor, linear=False)
    return replace(tensor, linear=True, scheme=real.scheme)


def _outside(
    made: Architecture, outside: list[_Real], tower: list[_Real], found: _Found
) -> tuple[Tensor, ...] | None:
    """Embedding, head, norms and towers; None if they are as the config says."""
    if made.tied and any(real.name == "lm_head.weight" for real in outside):
        found.notes.append("lm_head is stored though it is the embedding: it is not loaded twice")
        outside = [real for real in outside if real.name != "lm_head.weight"]
    tensors = tuple(t for t in made.outside if t.part not in _TOWERS)
    eyes = tuple(t for t in made.outside if t.part in _TOWERS)
    ends, towers = tensors, eyes
    if not _same(tensors, outside, made.quantization):
        there = {real.name for real in outside}
        kept = tuple(t for t in tensors if t.part in _ENDS and spelt(t.name) not in there)
        ends = kept + _matched(
            (t for t in tensors if t not in kept), outside, made.quantization, kind_outside, found
        )
        if kept:
            found.notes.append(f"{kept[0].name} is in no file: counted as the config says")
    if not tower and eyes:
        found.notes.append("the tower for other senses is in no file: counted as the config says")
    elif tower and not _same(eyes, tower, made.quantization):
        out, inner = (
            any(t.split is not Split.NONE for t in eyes if (t.part is Part.PROJECTOR) is wanted)
            for wanted in (True, False)
        )
        towers = _alike(
            _made(real, kind_in_tower(real.name, cut=inner, cut_projector=out), made.quantization)
            for real in tower
        )
    return None if (ends, towers) == (tensors, eyes) else ends + towers


def _alike(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """A tower's tensors without the numbers of its layers: alike ones as copies."""
    count: Counter[Tensor] = Counter()
    for t in tensors:
        short = ".".join("*" if s.isdecimal() else s for s in t.name.split("."))
        count[replace(t, name=f"vision.{short}", copies=1)] += t.copies
    return tuple(replace(t, copies=number) for t, number in count.items())


def _further(made: Architecture, further: dict[int, list[_Real]]) -> tuple[Tensor, ...] | None:
    """Layers that predict further tokens; None if they are as the config says."""
    reals = [real for number in sorted(further) for real in further[number]]
    if not reals or _same(made.extra, reals, made.quantization):
        if made.extra and not reals:
            return ()
        return None
    matched = _matched(made.extra, reals, made.quantization, kind_further, _Found([], []))
    return None if matched == made.extra else tuple(replace(t, stage=Stage.LAST) for t in matched)
