"""What holds where the user says nothing: one start-up of SGLang with everything said.

It must not judge what the user said; `plimsoll.engines.sglang.checks` does.

    context            as said, else the model's own
    chunk, graphs      by GPU memory and version (data/constants.json); with data-parallel
                       attention the chunk is divided by its ranks after the share is set
    page               as said, else 1; 64 for sparse attention and the backends that want it
    KV cache dtype     as said, else the checkpoint's, else the model's
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.sglang.constants import tier
from plimsoll.engines.sglang.fraction import Asked, default_fraction
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

DEFAULT_PREFILL: Final = 16384
"""Tokens of a prefill batch where chunking is off (``--max-prefill-tokens``)."""
_PAGES: Final = {"flashmla": 64, "cutlass_mla": 128, "trtllm_mla": 64, "trtllm_mha": 64}
_FOUR: Final = 4


@dataclass(frozen=True, slots=True)
class Resolved:
    """One start-up. chunk: prefill tokens at once; graphs: the largest captured batch (0: none).

    page: tokens of a page; radix: whether prefixes are kept; attention_ranks: ranks of
    data-parallel attention, else 1.
    """

    max_model_len: int
    chunk: int
    graphs: int
    fraction: Decimal
    dtype: str
    element: int
    kv_dtype: str
    page: int
    radix: bool
    attention_ranks: int


def has_attention_ranks(settings: EngineSettings) -> bool:
    """Whether attention is data-parallel within the tensor-parallel group."""
    return any(name == "enable-dp-attention" for name, _ in settings.own)


def resolve(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism,
    accelerator: Accelerator,
    figures: Constants,
) -> Resolved:
    """The settings with the engine's defaults filled in."""
    own = dict(settings.own)
    start = tier(figures.version, accelerator.memory // MIB)
    ranks = parallelism.data if has_attention_ranks(settings) else 1
    tensor = parallelism.tensor * ranks
    chunk = settings.max_num_batched_tokens or start.chunk
    if own.get("chunked-prefill-size", "").startswith("-"):
        chunk = whole(own, "max-prefill-tokens", DEFAULT_PREFILL)
    graphs = whole(
        own, "cuda-graph-max-bs", start.graphs_from_four if tensor >= _FOUR else start.graphs
    )
    requests = settings.max_num_seqs
    if (
        requests is not None
        and "cuda-graph-max-bs" not in own
        and figures.flag("graphs_capped_by_requests")
    ):
        graphs = min(graphs, requests)
    asked = Asked(
        accelerator.memory // MIB,
        tensor,
        tensor * parallelism.pipeline,
        chunk,
        0 if settings.enforce_eager and figures.flag("graphs_dropped_when_off") else graphs,
        ranks if ranks > 1 else 0,
        not settings.enforce_eager and "disable-piecewise-cuda-graph" not in own,
    )
    dtype = weight_dtype(architecture, settings.dtype)
    return Resolved(
        max(1, settings.max_model_len or architecture.max_model_len),
        max(1, chunk // ranks),
        0 if settings.enforce_eager else graphs,
        settings.utilization
        if settings.utilization is not None
        else default_fraction(architecture, asked, figures),
        dtype,
        WEIGHT_BYTES.get(dtype, 2),
        kv_dtype(architecture, settings.kv_cache_dtype),
        settings.block_size or _page(architecture, own),
        "disable-radix-cache" not in own,
        ranks,
    )


def whole(own: Mapping[str, str], name: str, default: int) -> int:
    """A whole number above 0 among an engine's own settings, else the default."""
    text = own.get(name, "")
    return int(text) if text.isdigit() and len(text) < 16 and int(text) > 0 else default


def _page(architecture: Architecture, own: Mapping[str, str]) -> int:
    if any(m.index_dim for m in architecture.mixers()):
        return 64
    return _PAGES.get(own.get("attention-backend", ""), 1)
