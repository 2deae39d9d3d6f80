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

from plimsoll.engines.base import Options
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.sglang.constants import tier
from plimsoll.engines.sglang.fraction import Asked, default_fraction
from plimsoll.units import MIB

if TYPE_CHECKING:
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
class SGLangOptions(Options):
    """What only SGLang can be told. chunked_prefill_size: 0 or less switches chunking off."""

    attention_backend: str | None = None
    chunked_prefill_size: int | None = None
    cuda_graph_max_bs: int | None = None
    disable_hybrid_swa_memory: bool | None = None
    disable_piecewise_cuda_graph: bool | None = None
    disable_radix_cache: bool | None = None
    enable_dp_attention: bool | None = None
    mamba_full_memory_ratio: str | None = None
    mamba_ssm_dtype: str | None = None
    max_mamba_cache_size: int | None = None
    max_prefill_tokens: int | None = None
    max_total_tokens: int | None = None
    swa_full_tokens_ratio: str | None = None


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
    return bool(SGLangOptions.of(settings).enable_dp_attention)


def resolve(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism,
    accelerator: Accelerator,
    figures: Constants,
) -> Resolved:
    """The settings with the engine's defaults filled in."""
    options = SGLangOptions.of(settings)
    start = tier(figures.version, accelerator.memory // MIB)
    ranks = parallelism.data if has_attention_ranks(settings) else 1
    tensor = parallelism.tensor * ranks
    chunk = settings.max_num_batched_tokens or start.chunk
    if (options.chunked_prefill_size or 0) < 0:
        chunk = options.max_prefill_tokens or DEFAULT_PREFILL
    graphs = options.cuda_graph_max_bs or (
        start.graphs_from_four if tensor >= _FOUR else start.graphs
    )
    requests = settings.max_num_seqs
    if (
        requests is not None
        and options.cuda_graph_max_bs is None
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
        not settings.enforce_eager and not options.disable_piecewise_cuda_graph,
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
        settings.block_size or _page(architecture, options.attention_backend),
        not options.disable_radix_cache,
        ranks,
    )


def _page(architecture: Architecture, backend: str | None) -> int:
    if any(m.index_dim for m in architecture.mixers()):
        return 64
    return _PAGES.get(backend or "", 1)
