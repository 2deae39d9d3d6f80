"""Which inputs a row states, and what each of the others may be.

It must not look at what was measured, and it must not fill in a default for what is unknown.

Where ``other_args`` is the engine's own line of arguments that are not default, what it does not
name is known: it is at its default. What else is unknown stays open (`plimsoll.measured.candidates`
tries it), and so do:

    version             every release that the text may mean at which a figure changes
    expert parallel     both, where there are experts and more than one GPU
    pipeline, data      every way in which ``num_gpus`` is the product
    GPU, memory known   the kinds of GPU with that memory
    weights' format     `plimsoll.measured.models.stored`
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines import registry
from plimsoll.engines.base import NOTHING_ASKED, AskedSplit, EngineSettings, Parallelism
from plimsoll.engines.layers.dtypes import KNOWN_KV_DTYPES
from plimsoll.measured import gpus, versions
from plimsoll.measured.models import AT_LOAD, stored
from plimsoll.measured.rows import CONTENTION

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import Engine
    from plimsoll.measured.models import Configs
    from plimsoll.measured.rows import Row
    from plimsoll.models.architecture import Architecture

_DTYPES: Final = {
    "bfloat16": "bfloat16", "bf16": "bfloat16", "float16": "float16", "fp16": "float16",
    "half": "float16", "float32": "float32", "fp32": "float32", "float": "float32",
}  # fmt: skip

_NO_OP: Final = frozenset(
    {"--decode-context-parallel-size=1", "--cpu-offload-gb=0", "--cpu-offload-gb=0.0"}
)


@dataclass(frozen=True)
class Facts:
    """What a row states, as far as it can be used at all.

    own: the model as its config says. architectures: as its weights may be stored; none where
    `format` says why that cannot be told. versions, splits, accelerators: all that the row may
    mean, one where it is known. physical: bytes of one GPU where they are known, reported or by
    the GPU's name. settings: what is said; whole: what they leave unsaid is at its default.
    unknown: names of inputs that are unknown. features: flags that touch memory and are not
    modelled.
    """

    engine: Engine
    own: Architecture
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
    own = configs.architecture(row.config_id)
    if isinstance(own, str):
        return own
    longest = row.max_model_len
    if longest is not None and own.max_model_len < longest:
        # The engine took that length, so the row's own config allows it.
        own = replace(own, max_model_len=longest, memo={})
    form = stored(row, own)
    architectures = (own,) if isinstance(form, str) else form
    meant = versions.candidates(name, row.version)
    if not meant:
        return "version older than the engine's model"
    settings, split, problem = _said(row, engine, architectures[0])
    if problem:
        return problem
    splits = _splits(row, split, architectures[0])
    accelerators = gpus.possible(row.gpu, row.total)
    physical = _physical(row, accelerators)
    features = (*settings.unread, *row.said.features)
    return Facts(
        engine,
        own,
        architectures,
        form if isinstance(form, str) else "",
        meant,
        splits,
        accelerators,
        physical,
        replace(settings, unread=()),
        row.said.whole,
        _unknown(row, settings, splits, physical, row.said.whole),
        tuple(f for f in features if f not in _NO_OP),
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


def _said(row: Row, engine: Engine, own: Architecture) -> tuple[EngineSettings, AskedSplit, str]:
    """Fields and flags together: settings, the split as far as said, and what speaks against."""
    if row.kv_dtype and row.kv_dtype not in KNOWN_KV_DTYPES:
        return EngineSettings(), NOTHING_ASKED, f"{NOT_MODELLED}kv_cache_dtype {row.kv_dtype[:32]}"
    at_load = row.quantization if row.quantization in AT_LOAD and own.quantization is None else ""
    eager = True if row.said.no_graphs and row.eager is None else row.eager
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
    reading = engine.read_arguments(list(row.said.args), typed, asked)
    return reading.settings, reading.split, ""


def _physical(row: Row, accelerators: tuple[Accelerator, ...]) -> int | None:
    if row.total is not None:
        return row.total
    if not row.gpu or gpus.named(row.gpu) is None:
        return None
    from plimsoll.engines.layers.visible import visible_memory

    return visible_memory(accelerators[0])


def _splits(row: Row, asked: AskedSplit, own: Architecture) -> tuple[Parallelism, ...]:
    """Every way in which the replica may have been spread; none where that is open."""
    whole, gpus_ = row.said.whole, row.gpus
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
        if not ways and not _has_experts(own):
            ways = [(pipeline, 1)]
    elif rest is not None:
        ways = [(max(1, rest // data), data)] if data else [(rest, 1), (1, rest)]
    expert = asked.expert
    found = []
    for stages, copies in dict.fromkeys(ways):
        both = expert is None and not whole and _has_experts(own) and tensor * copies > 1
        found += [
            Parallelism(tensor, stages, copies, e)
            for e in ((False, True) if both else (bool(expert) and _has_experts(own),))
        ]
    return tuple(found)


def _has_experts(own: Architecture) -> bool:
    return any(b.feed_forward is not None and b.feed_forward.experts for b in own.blocks)


def _unknown(
    row: Row,
    settings: EngineSettings,
    splits: tuple[Parallelism, ...],
    physical: int | None,
    whole: bool,
) -> frozenset[str]:
    """The inputs that are unknown, by the names that reasons use."""
    found = set() if splits else {"split"}
    if not row.version.known:
        found.add("version")
    if physical is None:
        found.add("physical")
    if not row.gpu or gpus.named(row.gpu) is None:
        found.add("gpu")
    if whole:
        return frozenset(found)
    unsaid = {
        "max_model_len": settings.max_model_len, "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "gpu_memory_utilization": settings.utilization, "enforce_eager": settings.enforce_eager,
        "kv_cache_dtype": settings.kv_cache_dtype or None, "block_size": settings.block_size,
    }  # fmt: skip
    return frozenset(found | {name for name, value in unsaid.items() if value is None})
