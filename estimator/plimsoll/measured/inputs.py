"""Which inputs a row states, and every start-up that it may therefore have been.

It must not look at what was measured: two rows that differ in that alone have the same variants.

If ``other_args`` is the engine's own line of arguments that are not default, what it does not name
is known: it is at its default. Everything else that is unknown is tried at every plausible value,
not at the default that happens to fit:

    version             every release that the text may mean at which a figure changes
    expert parallel     both, if there are experts and more than one GPU
    pipeline, data      every way in which ``num_gpus`` is the product
    GPU, memory known   the kinds of GPU with that memory
    weights' format     see `plimsoll.measured.models.stored`
    max_num_seqs        the engine's default and 1: users lower it; of the measured rows that state
                        it none is above the default of its GPU
    batched tokens      the engine's default, 2048 and 8192
    enforce_eager       both
    max_model_len       the model's own, 16384 and 2048
    block size          the engine's default, 64 and 128
    kv_cache_dtype      ``auto``, and ``fp8`` if the GPU has it
    utilization         the engine's default, 0.5, 0.95 and 0.98
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from plimsoll.engines import registry
from plimsoll.engines.base import NOTHING_ASKED, AskedSplit, EngineSettings, Parallelism
from plimsoll.engines.layers.dtypes import KNOWN_KV_DTYPES
from plimsoll.measured import gpus, versions
from plimsoll.measured.models import AT_LOAD, stored
from plimsoll.measured.rows import CONTENTION, TermId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.assemble import Engine
    from plimsoll.measured.models import Configs
    from plimsoll.measured.rows import Row
    from plimsoll.models.architecture import Architecture


_DTYPES: Final = {
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
    "float32": "float32",
    "fp32": "float32",
    "float": "float32",
}

_NO_OP: Final = frozenset(
    {"--decode-context-parallel-size=1", "--cpu-offload-gb=0", "--cpu-offload-gb=0.0"}
)


@dataclass(frozen=True)
class Facts:
    """What a row states, as far as it can be used at all.

    architecture: of the model as its config says. architectures: as its weights may be stored;
    none if `format` says why that cannot be told. versions, splits, accelerators: all that the row
    may mean, one if it is known. physical: bytes of one GPU if they are known, reported or by the
    GPU's name. settings: what is said; whole: what they leave unsaid is at its default. unknown:
    names of inputs that are unknown. features: flags that touch memory and are not modelled.
    """

    engine: Engine
    architecture: Architecture
    architectures: tuple[Architecture, ...]
    format: str
    versions: tuple[str, ...]
    splits: tuple[Parallelism, ...]
    accelerators: tuple[Accelerator, ...]
    physical: int | None
    settings: EngineSettings
    whole: bool
    unknown: frozenset[str]
    features: tuple[str, ...]


NOT_MODELLED: Final = "not modelled: "
"""How a reason begins that is ours: the row has the inputs."""


def facts(row: Row, configs: Configs) -> Facts | str:
    """What a row states, or why none of its terms can be compared."""
    why = _left_out(row)
    if why:
        return why
    name = _engine_name(row.engine)
    if not name:
        return f"{NOT_MODELLED}engine {row.engine[:32]}"
    engine = registry.engine(name)
    if "model" in row.inferred or "config_id" in row.inferred:
        return "model inferred"
    if not row.config_id:
        return "model: no config_id"
    architecture = configs.architecture(row.config_id)
    if isinstance(architecture, str):
        return architecture
    longest = row.max_model_len
    if longest is not None and architecture.max_model_len < longest:
        # The engine took that length, so the row's own config allows it.
        architecture = replace(architecture, max_model_len=longest)
    form = stored(row, architecture)
    architectures = (architecture,) if isinstance(form, str) else form
    meant = versions.candidates(name, row.version)
    if not meant:
        return "version older than the engine's model"
    settings, split, problem = _said(row, engine, architectures[0])
    if problem:
        return problem
    splits = _splits(row, split, architectures[0])
    accelerators = gpus.possible(row.gpu, row.total)
    physical = _physical(row, accelerators)
    features = (*settings.unread, *row.arguments.features)
    return Facts(
        engine=engine,
        architecture=architecture,
        architectures=architectures,
        format=form if isinstance(form, str) else "",
        versions=meant,
        splits=splits,
        accelerators=accelerators,
        physical=physical,
        settings=replace(settings, unread=()),
        whole=row.arguments.whole,
        unknown=_unknown(row, settings, splits, physical, row.arguments.whole),
        features=tuple(f for f in features if f not in _NO_OP),
    )


def _engine_name(text: str) -> str:
    """The engine that a text names, in whichever way it is spelled; empty for none."""
    plain = {re.sub(r"[^a-z0-9]", "", name): name for name in registry.NAMES}
    return plain.get(re.sub(r"[^a-z0-9]", "", text), "")


def _left_out(row: Row) -> str:
    if row.wrong:
        return row.wrong
    if row.trust not in ("A", "B"):
        return "trust C: second-hand or a fixture" if row.trust == "C" else "trust not stated"
    if row.outcome == CONTENTION:
        return "contention: another process held the GPU"
    if gpus.UNIFIED.search(row.gpu_said):
        return "unified memory"
    if gpus.OTHER_HARDWARE.search(f"{row.gpu_said} {row.version_text}"):
        return "hardware without a memory model"
    if row.version.fork:
        return f"not the engine as released: {row.version.fork}"
    return ""


def _said(
    row: Row, engine: Engine, architecture: Architecture
) -> tuple[EngineSettings, AskedSplit, str]:
    """Fields and flags together: settings, the split as far as said, and what speaks against."""
    if row.kv_dtype and row.kv_dtype not in KNOWN_KV_DTYPES:
        return EngineSettings(), NOTHING_ASKED, f"{NOT_MODELLED}kv_cache_dtype {row.kv_dtype[:32]}"
    at_load = (
        row.quantization
        if row.quantization in AT_LOAD and architecture.quantization is None
        else ""
    )
    eager = True if row.arguments.no_graphs and row.eager is None else row.eager
    typed = EngineSettings(
        name=engine.name,
        dtype=_DTYPES.get(row.dtype, ""),
        quantization=at_load,
        max_model_len=row.max_model_len,
        max_num_seqs=row.seqs,
        max_num_batched_tokens=row.batched_tokens,
        kv_cache_dtype=row.kv_dtype,
        utilization=row.utilization,
        enforce_eager=eager,
        block_size=row.block_size,
    )
    asked = AskedSplit(row.tensor, row.pipeline, row.data, row.expert)
    reading = engine.read_arguments(list(row.arguments.flags), typed, asked)
    return reading.settings, reading.split, ""


def _physical(row: Row, accelerators: tuple[Accelerator, ...]) -> int | None:
    if row.total is not None:
        return row.total
    if not row.gpu or gpus.named(row.gpu) is None:
        return None
    from plimsoll.engines.layers.gpu_memory import visible_memory

    return visible_memory(accelerators[0])


def _splits(row: Row, asked: AskedSplit, architecture: Architecture) -> tuple[Parallelism, ...]:
    """Every way in which the replica may have been spread; none if that is open."""
    whole, gpus_ = row.arguments.whole, row.gpus
    tensor, pipeline, data = asked.tensor, asked.pipeline, asked.data
    if tensor is None:
        if not whole and gpus_ != 1:
            return ()
        tensor = 1
    if whole:
        pipeline, data = pipeline or 1, data or 1
    rest = max(1, gpus_ // tensor) if gpus_ is not None else None
    ways: list[tuple[int, int]] = []
    if pipeline is not None and data is not None:
        ways = [(pipeline, data)]
    elif pipeline is not None:
        ways = [(pipeline, max(1, rest // pipeline))] if rest else []
        if not ways and not _has_experts(architecture):
            ways = [(pipeline, 1)]
    elif rest is not None:
        ways = [(max(1, rest // data), data)] if data else [(rest, 1), (1, rest)]
    expert = asked.expert
    splits = []
    for stages, copies in dict.fromkeys(ways):
        both = expert is None and not whole and _has_experts(architecture) and tensor * copies > 1
        splits += [
            Parallelism(tensor, stages, copies, e)
            for e in ((False, True) if both else (bool(expert) and _has_experts(architecture),))
        ]
    return tuple(splits)


def _has_experts(architecture: Architecture) -> bool:
    return any(b.feed_forward is not None and b.feed_forward.experts for b in architecture.blocks)


def _unknown(
    row: Row,
    settings: EngineSettings,
    splits: tuple[Parallelism, ...],
    physical: int | None,
    whole: bool,
) -> frozenset[str]:
    """The inputs that are unknown, by the names that reasons use."""
    unknown = set() if splits else {"split"}
    if not row.version.known:
        unknown.add("version")
    if physical is None:
        unknown.add("physical")
    if not row.gpu or gpus.named(row.gpu) is None:
        unknown.add("gpu")
    if whole:
        return frozenset(unknown)
    unsaid = {
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "gpu_memory_utilization": settings.utilization,
        "enforce_eager": settings.enforce_eager,
        "kv_cache_dtype": settings.kv_cache_dtype or None,
        "block_size": settings.block_size,
    }
    return frozenset(unknown | {name for name, value in unsaid.items() if value is None})


MOST: Final = 2048
"""Variants for one term at most; beyond, too much is unknown for a range to be narrow."""
_BF16_FROM: Final = (8, 0)
_BESIDE_GRAPHS: Final = (
    TermId.WEIGHTS, TermId.ACTIVATION, TermId.NON_TORCH, TermId.TOKENS_GIVEN_GIB
)  # fmt: skip
_SPARED: Final[dict[str, tuple[TermId, ...]]] = {
    "--kv-transfer-config": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--kv-offloading-size": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--kv-offloading-backend": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--decode-context-parallel-size": (TermId.WEIGHTS,),
    "--enable-lora": (TermId.TOKENS_GIVEN_GIB,),
    "--cpu-offload-gb": (TermId.TOKENS_GIVEN_GIB,),
    "--moe-backend": (TermId.TOKENS_GIVEN_GIB, TermId.NON_TORCH),
    "--linear-backend": (TermId.TOKENS_GIVEN_GIB, TermId.NON_TORCH),
    "--kernel-config": (TermId.TOKENS_GIVEN_GIB, TermId.NON_TORCH),
    "--attention-backend": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--attention-config": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--mm-encoder-attn-backend": (
        TermId.WEIGHTS,
        TermId.NON_TORCH,
        TermId.GRAPHS,
        TermId.GRAPHS_CHARGED,
        TermId.TOKENS_GIVEN_GIB,
    ),
    "--all2all-backend": (TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB),
    "--compilation-config": (TermId.WEIGHTS, TermId.NON_TORCH, TermId.TOKENS_GIVEN_GIB),
    "--optimization-level": (TermId.WEIGHTS, TermId.NON_TORCH, TermId.TOKENS_GIVEN_GIB),
    "--max-cudagraph-capture-size": _BESIDE_GRAPHS,
    "--max-seq-len-to-capture": _BESIDE_GRAPHS,
    "--cuda-graph-backend-decode": _BESIDE_GRAPHS,
    "--cuda-graph-backend-prefill": _BESIDE_GRAPHS,
    "--cuda-graph-bs-decode": _BESIDE_GRAPHS,
    "--cuda-graph-bs-prefill": _BESIDE_GRAPHS,
    "--cuda-graph-config": _BESIDE_GRAPHS,
}
"""Terms that a flag does not touch though it touches memory: a backend of experts or linears may
repack their weights, one of attention has buffers beside them, graphs are their own term."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One start-up about which everything is known."""

    architecture: Architecture
    settings: EngineSettings
    parallelism: Parallelism
    accelerator: Accelerator


@dataclass(frozen=True, slots=True)
class Axes:
    """What a term hangs on. needed: inputs without which it is not predicted at all.

    tried: inputs that are tried at every plausible value if they are unknown; what is in
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
    TermId.WEIGHTS: Axes(_SPLIT, frozenset({"version", "gpu"})),
    TermId.ACTIVATION: Axes(_SPLIT, _BATCH | {"gpu"}),
    TermId.NON_TORCH: Axes(_SPLIT, frozenset({"version", "gpu"})),
    TermId.GRAPHS: Axes(_SPLIT, _LEFT | {"gpu"}),
    TermId.GRAPHS_CHARGED: Axes(_SPLIT, _LEFT | {"gpu"}),
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
"""Of the verdict. If a needed input is unknown, it is given only if all values give the same."""


def missing(known: Facts, axes: Axes) -> str:
    """Which needed inputs are unknown, in words; empty if none is."""
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


def variants(known: Facts, axes: Axes, *, stored_as: bool = True) -> list[Variant] | str:
    """Every start-up that a row may have been, as far as a term hangs on it.

    stored_as: whether it matters how the weights are stored.
    """
    architectures = known.architectures if stored_as else (known.architecture,)
    open_axes = [
        (field, values)
        for name, field, values in _PLAUSIBLE
        if name in axes.tried and name in known.unknown
    ]
    version = known.versions if "version" in axes.tried | axes.needed else known.versions[-1:]
    kinds = known.accelerators if axes.tried & {"gpu", "physical"} else known.accelerators[:1]
    count = len(architectures) * len(version) * len(known.splits) * len(kinds)
    for _, values in open_axes:
        count *= len(values)
    if count > MOST:
        return "too many inputs unknown"
    combinations = itertools.product(architectures, version, known.splits, kinds)
    return [
        Variant(architecture, _settings(settings, release, architecture, kind), split, kind)
        for architecture, release, split, kind in combinations
        for settings in _varied(known.settings, open_axes, architecture)
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
"""Input, field of the settings, and the values at which it is tried if it is unknown."""


def _varied(
    settings: EngineSettings, axes: list[tuple[str, tuple[object, ...]]], architecture: Architecture
) -> Iterator[EngineSettings]:
    """The settings with every combination of values for what is open."""
    names = [name for name, _ in axes]
    seen = set()
    for values in itertools.product(*(values for _, values in axes)):
        changes = dict(zip(names, values, strict=True))
        length = changes.get("max_model_len")
        if isinstance(length, int):
            changes["max_model_len"] = min(length, architecture.max_model_len)
        key = tuple(changes.items())
        if key not in seen:
            seen.add(key)
            yield replace(settings, **changes)  # type: ignore[arg-type]


def _can(settings: EngineSettings, kind: Accelerator) -> bool:
    """Whether a GPU has the cache dtype that is tried on it."""
    return settings.kv_cache_dtype != "fp8" or not (0, 0) < kind.compute < _BF16_FROM


def _settings(
    settings: EngineSettings, version: str, architecture: Architecture, kind: Accelerator
) -> EngineSettings:
    """The settings in one version; 16-bit floats as the GPU can compute with them."""
    dtype = settings.dtype
    if not dtype and (0, 0) < kind.compute < _BF16_FROM and architecture.dtype == "bfloat16":
        dtype = "float16"
    return replace(settings, version=version, dtype=dtype)
