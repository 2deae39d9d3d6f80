"""What TensorRT-LLM is told and what holds otherwise: flags, options, defaults of a release.

If the user says nothing:

    max_model_len     --max_seq_len; unsaid the model's own
    seqs              --max_batch_size; unsaid 2,048 (1 up to 0.10, 256 in 0.11)
    batched tokens    --max_num_tokens; unsaid 8,192
    utilization       --kv_cache_free_gpu_memory_fraction; unsaid 0.9
    backend           PyTorch from 1.0 on, a built engine before

Source: tensorrt_llm/commands/serve.py, tensorrt_llm/builder.py, tensorrt_llm/llmapi/llm_args.py.

The options file (``--config``, ``--extra_llm_api_options``) is not read: it may set anything, so
that a denial becomes a warning that names it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Options, Reading
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.tables import VersionTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate
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


GRAMMAR: Final = flags.grammar("TensorRT-LLM", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and the typed split; never raises.

    ``--ep_size`` above 1 keeps experts whole; how many ranks share one is the tensor size's rest.
    """
    command = flags.read(GRAMMAR, args, settings, asked)
    options, split = TensorRTLLMOptions(**command.options), command.split
    if options.ep_size is not None and split.expert is None:
        split = replace(split, expert=options.ep_size > 1)
    settings = replace(command.settings, options=options.or_none())
    return command.reading(settings, split)


def write_arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``trtllm-serve`` that make it run as estimated, the user's own last."""
    values = flags.values_to_write(estimate, settings)
    if not TABLE.or_newest(settings.version).flag("cache_dtype_flag"):
        values["kv_cache_dtype"] = None
    options = TensorRTLLMOptions.of(settings).as_mapping()
    split = estimate.parallelism
    options["ep_size"] = options["ep_size"] or split.tensor if split.expert else None
    return (*GRAMMAR.write(values, options), *GRAMMAR.passed_on(settings))
