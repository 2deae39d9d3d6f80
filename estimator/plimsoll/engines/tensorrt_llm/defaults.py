"""What holds where the user says nothing: lengths, batch, fraction, dtypes of one start-up.

It must not judge what the user said; `plimsoll.engines.tensorrt_llm.checks` does.

    max_model_len     --max_seq_len; unsaid the model's own
    seqs              --max_batch_size; unsaid 2,048 (1 up to 0.10, 256 in 0.11)
    batched tokens    --max_num_tokens; unsaid 8,192
    utilization       --kv_cache_free_gpu_memory_fraction; unsaid 0.9
    backend           PyTorch from 1.0 on, a built engine before

Source: tensorrt_llm/commands/serve.py, tensorrt_llm/builder.py, tensorrt_llm/llmapi/llm_args.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Options
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.tables import VersionTable

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

TABLE: Final = VersionTable("TensorRT-LLM", Path(__file__).parent / "data/constants.json")
KNOWN_KV_DTYPES: Final = ("auto", "fp8", "nvfp4", "bfloat16", "float16", "float32")
"""Cache dtypes of ``KvCacheConfig.dtype``, and what a checkpoint's own may be called."""
_MOST_BEAMS: Final = 99_999
ENGINE_BACKENDS: Final = ("tensorrt", "trt")


@dataclass(frozen=True, slots=True)
class TensorRTLLMOptions(Options):
    """What only TensorRT-LLM can be told."""

    backend: str | None = None
    enable_attention_dp: bool | None = None
    ep_size: int | None = None
    max_beam_width: int | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """One start-up with everything said.

    element: bytes of an unquantized weight. block: tokens of a cache block. beams: of a request.
    pytorch: the PyTorch backend; else a built engine. attention_dp: attention is replicated and
    requests are shared out. graphs: CUDA graphs are captured.
    """

    max_model_len: int
    seqs: int
    batched_tokens: int
    utilization: Decimal
    dtype: str
    element: int
    kv_dtype: str
    block: int
    beams: int
    pytorch: bool
    attention_dp: bool
    graphs: bool


def resolve(architecture: Architecture, settings: EngineSettings, figures: Constants) -> Resolved:
    """The settings with the defaults of a release filled in; total."""
    options = TensorRTLLMOptions.of(settings)
    length = max(1, settings.max_model_len or architecture.max_model_len)
    dtype = weight_dtype(architecture, settings.dtype)
    pytorch = figures.flag("pytorch_backend")
    if options.backend:
        pytorch = options.backend not in ENGINE_BACKENDS
    return Resolved(
        length,
        max(1, settings.max_num_seqs or int(figures.number("batch_size"))),
        max(1, settings.max_num_batched_tokens or int(figures.number("num_tokens"))),
        settings.utilization if settings.utilization is not None else _fraction(figures),
        dtype,
        WEIGHT_BYTES.get(dtype, 2),
        kv_dtype(architecture, settings.kv_cache_dtype),
        settings.block_size or int(figures.number("tokens_per_block")),
        min(options.max_beam_width or 1, _MOST_BEAMS),
        pytorch,
        bool(options.enable_attention_dp),
        pytorch and not settings.enforce_eager,
    )


def _fraction(figures: Constants) -> Decimal:
    return Decimal(str(figures.number("fraction")))
