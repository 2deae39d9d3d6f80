"""Every start-up that a row may have been, as far as one term hangs on it.

It must not look at what was measured: two rows that differ in that alone have the same candidates.

What is unknown is tried at every plausible value, not at the default that happens to fit:

    max_num_seqs        the engine's default and 1: users lower it; of the measured rows that state
                        it none is above the default of its GPU
    batched tokens      the engine's default, 2048 and 8192
    enforce_eager       both
    max_model_len       the model's own, 16384 and 2048
    block size          the engine's default, 64 and 128
    kv_cache_dtype      ``auto``, and ``fp8`` where the GPU can
    utilization         the engine's default, 0.5, 0.95 and 0.98
    version, split ...  as `plimsoll.measured.inputs` says
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from plimsoll.measured.inputs import NOT_MODELLED
from plimsoll.measured.terms import TermId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.measured.inputs import Facts
    from plimsoll.models.architecture import Architecture

MOST: Final = 2048
"""Candidates of one term at most; beyond, too much is unknown for a range to be narrow."""
_BF16_FROM: Final = (8, 0)
_SPARED: Final = {
    "--kv-transfer-config": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--kv-offloading-size": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--kv-offloading-backend": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--decode-context-parallel-size": (TermId.WEIGHTS,),
    "--enable-lora": (TermId.TOKENS_GIVEN_GIB,),
    "--cpu-offload-gb": (TermId.TOKENS_GIVEN_GIB,),
    "--moe-backend": (TermId.TOKENS_GIVEN_GIB,),
}
"""Terms that a flag does not touch though it touches memory."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One start-up with everything said."""

    architecture: Architecture
    settings: EngineSettings
    parallelism: Parallelism
    accelerator: Accelerator


@dataclass(frozen=True, slots=True)
class Axes:
    """What a term hangs on. needed: inputs without which it is not predicted at all.

    tried: inputs that are tried at every plausible value where they are unknown; what is in
    neither makes no difference to it.
    """

    needed: frozenset[str]
    tried: frozenset[str]


_SPLIT: Final = frozenset({"split"})
_BATCH: Final = frozenset({"version", "max_model_len", "max_num_seqs", "max_num_batched_tokens"})
_LEFT: Final = _BATCH | {"enforce_eager"}
_CACHE: Final = frozenset({"kv_cache_dtype"})
_GPU: Final = frozenset({"physical", "gpu_memory_utilization"})

AXES: Final = {
    TermId.WEIGHTS: Axes(_SPLIT, frozenset()),
    TermId.ACTIVATION: Axes(_SPLIT, _BATCH | {"gpu"}),
    TermId.NON_TORCH: Axes(_SPLIT, frozenset({"version", "gpu"})),
    TermId.GRAPHS: Axes(_SPLIT, _LEFT | {"gpu"}),
    TermId.KV_GIB: Axes(_SPLIT | _GPU, _LEFT | {"gpu"}),
    TermId.KV_TOKENS: Axes(_SPLIT | _GPU | _CACHE, _LEFT | {"gpu", "block_size"}),
    TermId.CONCURRENCY: Axes(
        _SPLIT | _GPU | _CACHE | {"max_model_len"}, _LEFT | {"gpu", "block_size"}
    ),
    TermId.TOKENS_GIVEN_GIB: Axes(
        _SPLIT | _CACHE,
        frozenset({"version", "max_model_len", "max_num_batched_tokens", "block_size"}),
    ),
}
OUTCOME_AXES: Final = Axes(
    _SPLIT | _GPU | {"max_model_len", "version"},
    _LEFT | _GPU | _CACHE | {"gpu"},
)
"""Of the verdict. Where a needed input is unknown, it is given only if all values give the same."""


def missing(known: Facts, axes: Axes) -> str:
    """Which needed inputs are unknown, in words; empty where none is."""
    names = {"physical": "gpu_total_gib", "split": "parallelism"}
    lacking = sorted(names.get(name, name) for name in axes.needed & known.unknown)
    return f"unknown: {', '.join(lacking)}" if lacking else ""


def touched(known: Facts, term: TermId | None) -> str:
    """The feature that is not modelled and touches a term (None: the verdict); empty for none."""
    for feature in known.features:
        flag = feature.split("=")[0].split()[0] if feature else ""
        if term is None or term not in _SPARED.get(flag, ()):
            return f"{NOT_MODELLED}{flag}"
    if term is not TermId.TOKENS_GIVEN_GIB:
        return known.format
    return ""


def candidates(known: Facts, axes: Axes, *, stored_as: bool = True) -> list[Candidate] | str:
    """Every start-up that a row may have been, as far as a term hangs on it.

    stored_as: whether it matters how the weights are stored.
    """
    architectures = known.architectures if stored_as else (known.own,)
    open_axes = [
        (field, values)
        for name, field, values in _PLAUSIBLE
        if name in axes.tried and name in known.unknown
    ]
    version = known.versions if "version" in axes.tried | axes.needed else known.versions[-1:]
    kinds = known.accelerators if axes.tried & {"gpu", "physical"} else known.accelerators[:1]
    number = len(architectures) * len(version) * len(known.splits) * len(kinds)
    for _, values in open_axes:
        number *= len(values)
    if number > MOST:
        return "too many inputs unknown"
    found = itertools.product(architectures, version, known.splits, kinds)
    return [
        Candidate(own, _settings(settings, release, own, kind), split, kind)
        for own, release, split, kind in found
        for settings in _varied(known.settings, open_axes, own)
        if known.settings.kv_cache_dtype or _can(settings, kind)
    ]


_SHARES: Final = (None, *map(Decimal, ("0.98", "0.95", "0.5")))
_PLAUSIBLE: Final[tuple[tuple[str, str, tuple[object, ...]], ...]] = (
    ("max_model_len", "max_model_len", (None, 2048, 16384)),
    ("max_num_seqs", "max_num_seqs", (None, 1)),
    ("max_num_batched_tokens", "max_num_batched_tokens", (None, 2048, 8192)),
    ("enforce_eager", "enforce_eager", (False, True)),
    ("block_size", "block_size", (None, 64, 128)),
    ("kv_cache_dtype", "kv_cache_dtype", ("auto", "fp8")),
    ("gpu_memory_utilization", "utilization", _SHARES),
)
"""Input, field of the settings, and the values at which it is tried where it is unknown."""


def _varied(
    settings: EngineSettings, axes: list[tuple[str, tuple[object, ...]]], own: Architecture
) -> Iterator[EngineSettings]:
    """The settings with every combination of values for what is open."""
    names = [name for name, _ in axes]
    seen = set()
    for values in itertools.product(*(values for _, values in axes)):
        said = dict(zip(names, values, strict=True))
        length = said.get("max_model_len")
        if isinstance(length, int):
            said["max_model_len"] = min(length, own.max_model_len)
        key = tuple(said.items())
        if key not in seen:
            seen.add(key)
            yield replace(settings, **said)  # type: ignore[arg-type]


def _can(settings: EngineSettings, kind: Accelerator) -> bool:
    """Whether a GPU has the cache dtype that is tried on it."""
    return settings.kv_cache_dtype != "fp8" or not (0, 0) < kind.compute < _BF16_FROM


def _settings(
    settings: EngineSettings, version: str, own: Architecture, kind: Accelerator
) -> EngineSettings:
    """The settings in one version; 16-bit floats as the GPU can compute with them."""
    dtype = settings.dtype
    if not dtype and (0, 0) < kind.compute < _BF16_FROM and own.dtype == "bfloat16":
        dtype = "float16"
    return replace(settings, version=version, dtype=dtype)
