"""Weights of one rank under SGLang: vLLM's sharding, and where the two differ.

It must not know requests.

    same          linears, KV heads, vocabulary padded to 64, experts, pipeline stages, MLA's
                  kv_b_proj kept twice (sglang/srt/layers/{linear,vocab_parallel_embedding}.py and
                  layers/moe, which descend from vLLM's)
    data parallel a replica of its own per rank: experts are not cut over data ranks
    with data-parallel attention (``--enable-dp-attention``): attention is cut by its own ranks
                  only and experts by all; the embedding is whole on every rank
    rotary        tables are float32, twice vLLM's
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.layers.sharding import rotary_elements, stage_weights
from plimsoll.models.architecture import Part

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.sglang.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_WORDS: Final = MappingProxyType(
    {
        "w8a8_int8": "int8_per_channel_weight_only",
        "w8a8_fp8": "ptpc_fp8",
        "modelopt_fp8": "modelopt",
        "petit_nvfp4": "modelopt_fp4",
        "auto-round": "gptq",
        "w4afp8": "awq",
    }
)
"""SGLang's words for what vLLM calls otherwise."""


def load_quantization(word: str) -> str:
    """A ``--quantization`` word in vLLM's spelling."""
    return _WORDS.get(word, word)


def weights(
    architecture: Architecture, quantization: str, resolved: Resolved, parallelism: Parallelism
) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage."""
    key = ("sglang.weights", resolved.dtype, quantization, resolved.attention_ranks, parallelism)
    return remembered(
        architecture, key, lambda: _weights(architecture, quantization, resolved, parallelism)
    )


def _weights(
    architecture: Architecture, quantization: str, resolved: Resolved, parallelism: Parallelism
) -> tuple[int, ...]:
    split = parallelism if resolved.attention_ranks > 1 else replace(parallelism, data=1)
    word = load_quantization(quantization)
    found = list(stage_weights(architecture, resolved.dtype, word, split))
    more = max(0, 4 - resolved.element) * rotary_elements(architecture)
    found = [size + more for size in found]
    if resolved.attention_ranks > 1 and parallelism.tensor > 1:
        table = sum(
            t.elements * resolved.element for t in architecture.outside if t.part is Part.EMBEDDING
        )
        found[0] += table - table // parallelism.tensor
    return tuple(found)
