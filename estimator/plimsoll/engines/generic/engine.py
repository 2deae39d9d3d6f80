"""An engine that is not known here, as an `Engine`: what any engine would need, said as assumed.

Nothing is certain except the weights:

    weights     as vLLM shards them, linear by linear; at least 0.97 of them
    KV cache    every token in every layer, for one request of max_model_len or the workload;
                at least nothing, since the engine may keep it elsewhere
    activation  1 GiB + 2 x T x hidden size x 8 bytes, T = 8192 batched tokens where unsaid
    non-torch   0.75 GiB, 2 GiB with several GPUs; graphs: counted there
    usable      physical x 0.9 where no share is said

Every term but the weights may turn out to be nothing, so that a misfit is certain only where the
weights alone exceed the GPU: that is what the low ends of the bands say.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from plimsoll.engines.assemble import (
    Engine,
    held_at_once,
    room_for_cache,
    stored_by_name,
    uncounted,
    weights_term,
    worst_stage,
)
from plimsoll.engines.base import Estimate, Known, Reading, Term, TermName, Terms, Workload
from plimsoll.engines.layers import faults
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.layers.gpu_memory import free_memory
from plimsoll.engines.layers.plain_cache import holds, least, need, plain_cache
from plimsoll.engines.layers.sharding import quantization_in_force, stage_weights
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import AskedSplit, EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_SHARE: Final = Decimal("0.9")
_SURE: Final = 0.97
"""The share of the weights that any engine must hold; packing and padding differ in the rest."""
_TOKENS: Final = 8192
_SEQUENCES: Final = 256
_ALONE: Final = 3 * GIB // 4
_TOGETHER: Final = 2 * GIB
_TOUCHES: Final = (
    "quant", "offload", "cpu", "memory", "mem-", "gpu", "kv", "cache", "lora", "adapter", "draft",
    "specul", "dtype", "layer", "context", "length", "batch", "parallel", "tensor", "shard", "load",
    "graph", "eager", "token",
)  # fmt: skip


class Generic(Engine):
    """An engine that is not known here; see `plimsoll.engines.assemble.Engine`."""

    name = "generic"
    title = "an engine that is not known here"

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """What the worst rank of one replica may need; everything but the weights is assumed."""
        dtype = weight_dtype(architecture, settings.dtype)
        element = WEIGHT_BYTES.get(dtype, 2)
        cache_dtype = kv_dtype(architecture, settings.kv_cache_dtype)
        length = max(1, settings.max_model_len or architecture.max_model_len)
        tokens = max(1, settings.max_num_batched_tokens or _TOKENS)
        share = settings.utilization if settings.utilization is not None else _SHARE
        physical = free_memory(accelerator)
        usable = int(physical * share)
        weights = stage_weights(architecture, dtype, settings.quantization, parallelism)
        stages = plain_cache(architecture, parallelism, cache_dtype, element)
        held = held_at_once(workload, length, parallelism.data)
        beside = _beside(architecture, tokens, element, parallelism)
        basis = f"{held}, {dtype if cache_dtype == 'auto' else cache_dtype}"
        terms = []
        for size, stage in zip(weights, stages, strict=True):
            cache = need(stage, held.requests, held.tokens)
            weight = _weights(size, architecture, settings, dtype, physical, usable)
            kv_cache = Term(TermName.KV_CACHE, cache, 0, cache, Known.ASSUMED, basis)
            terms.append(Terms((weight, kv_cache, *beside)))
        worst = worst_stage(terms)
        room = room_for_cache(usable, terms)
        fit = holds(stages, room)
        most = max(length, architecture.max_model_len)
        own = [least(stage, 1, length) for stage in stages]
        slots = [max(0, r) / size for r, size in zip(room, own, strict=True) if size]
        return Estimate(
            parallelism=parallelism,
            terms=terms[worst],
            stage=worst,
            stage_needs=tuple(one.bytes for one in terms),
            physical=physical,
            usable=usable,
            utilization=share,
            version=settings.version,
            max_model_len=length,
            max_num_seqs=max(1, settings.max_num_seqs or _SEQUENCES),
            max_num_batched_tokens=tokens,
            kv_cache_dtype=cache_dtype,
            kv_capacity=room[worst],
            kv_tokens=fit * parallelism.data,
            max_concurrency=min(slots, default=0.0) * parallelism.data,
            largest_max_model_len=(
                min(most, fit) if any(stage.token for stage in stages) else most
            ),
            notes=tuple(_notes(architecture, settings, accelerator)),
        )

    def check(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding, ...]:
        """What no engine would accept: more pipeline stages than layers, MIG slices together."""
        found = [*faults.groups(architecture)]
        if parallelism is not None:
            found += faults.stages(architecture, parallelism)
        if parallelism is not None and accelerator is not None:
            found += faults.slices(parallelism, accelerator)
        return tuple(found)

    def read(self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
        """Nothing of a command line is known: flags that sound of memory count as unread."""
        unread, flags = list(settings.unread), list(settings.flags)
        kept, at = flags, 0
        while at < len(args):
            taken = 1
            if _is_flag(args[at]):
                kept = unread if _touches(args[at]) else flags
                alone = "=" in args[at] or at + 1 == len(args) or _is_flag(args[at + 1])
                taken = 1 if alone else 2
            kept.append(" ".join(args[at : at + taken]))
            at += taken
        return Reading(
            replace(settings, unread=tuple(unread), shrinking=tuple(unread), flags=tuple(flags)),
            asked,
        )

    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The user's own flags and nothing else: which others the engine has is not known."""
        return tuple(
            part
            for flag in (*settings.unread, *settings.flags)
            for part in (flag.split(" ", 1) if _is_flag(flag) else [flag])
        )

    def constants_digest(self, version: str) -> str:
        """Short hash of what is assumed; the same for every version."""
        assumed = (str(_SHARE), _SURE, _TOKENS, _SEQUENCES, _ALONE, _TOGETHER)
        return hashlib.sha256(repr(assumed).encode()).hexdigest()[:12]


_WORDS: Final = (
    "aqlm", "auto-round", "autoround", "awq", "bitblas", "bitsandbytes", "bnb",
    "compressed-tensors", "cpu_awq", "deepspeedfp", "eetq", "exl2", "exl3", "experts_int8",
    "fbgemm_fp8", "gguf", "gptq", "hqq", "inc", "ipex", "marlin", "modelopt", "modelslim",
    "moe_wna16", "neuron_quant", "petit_nvfp4", "ptpc_fp8", "qoq", "qqq", "quark", "quip", "rtn",
    "smoothquant", "squeezellm", "torchao", "tpu_int8",
)  # fmt: skip
_SOME_ENGINES: Final = re.compile(
    rf"(?:{'|'.join(_WORDS)})|(?:i?q|tq)\d|(?:int|uint|fp|bf|f|nf|w|mx|mxfp|nvfp|e)\d|none$|auto$"
)
"""Words of quantizations that engines have, and the ways in which they are made."""


def _is_flag(text: str) -> bool:
    return len(text) > 1 and text[0] == "-" and text[1] not in "0123456789."


def _touches(flag: str) -> bool:
    name = flag.partition("=")[0].lower().replace("_", "-")
    return any(word in name for word in _TOUCHES)


def _weights(
    size: int,
    architecture: Architecture,
    settings: EngineSettings,
    dtype: str,
    physical: int,
    usable: int,
) -> Term:
    """The weights; their low end rules the GPU out only where it exceeds all of its memory."""
    in_force = quantization_in_force(architecture, settings.quantization)
    low = size // 4 if settings.quantization and in_force is None else int(size * _SURE)
    band = (low if low > physical else min(low, usable), round(size * (2 - _SURE)))
    word = settings.quantization
    return weights_term(architecture, size, band, Known.MODELLED, dtype, in_force, word)


def _beside(
    architecture: Architecture, tokens: int, element: int, parallelism: Parallelism
) -> tuple[Term, Term, Term]:
    """Activation, non-torch and graphs, each between nothing and twice what is assumed."""
    forward = GIB + 8 * tokens * architecture.hidden_size * element
    other = _TOGETHER if parallelism.tensor * parallelism.pipeline > 1 else _ALONE
    assumed, a = Known.ASSUMED, f"{tokens} batched tokens"
    return (
        Term(TermName.ACTIVATION, forward, 0, 2 * forward, assumed, a),
        Term(TermName.NON_TORCH, other, 0, 2 * other, assumed, "context and libraries"),
        Term(TermName.CUDA_GRAPHS, 0, 0, 0, assumed, "counted with the libraries"),
    )


def _notes(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Finding]:
    yield finding(Rule.ENGINE_ASSUMED, Field.ENGINE)
    word = settings.quantization.lower()
    if word and not _SOME_ENGINES.match(word):
        near = tuple(get_close_matches(word, _WORDS)) or ("fp8", "awq")
        yield finding(Rule.QUANTIZATION_NOBODY_KNOWS, Field.QUANTIZATION, word=word, near=near)
    yield from stored_by_name(architecture)
    yield from uncounted(settings, accelerator)
