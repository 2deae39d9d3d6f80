"""What holds where the user says nothing: lengths, batch, utilization and dtypes of one start-up.

    max_model_len             the model's own; from 0.11.1 on, of a LongRoPE model, the one from
                              before it was lengthened; 2,048 where the config names none
    batched tokens, seqs      by GPU memory: from 160 GiB, from 70 GiB (A100 excepted), below;
                              0.8 has rules of its own
    batched tokens            at most seqs x max_model_len; without chunked prefill at least
                              max_model_len, and in the first engine 32,768 for models that pool
                              and 5,120 for those that see
    chunked prefill           off for encoders, encoder-decoders and --no-enable-chunked-prefill;
                              in the first engine on where it is said or above 32,768 tokens
    seqs                      at most batched tokens

Source: vLLM 0.33.0, vllm/engine/arg_utils.py (get_batch_defaults and what follows it),
vllm/config/model.py (_get_and_verify_max_len).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.vllm.compressed import is_compressed
from plimsoll.engines.vllm.traits import is_pooling, traits
from plimsoll.models.architecture import UNBOUNDED
from plimsoll.units import GIB

if TYPE_CHECKING:
    from decimal import Decimal

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

_HUGE: Final = 160 * GIB
_LARGE: Final = 70 * GIB
_A100_EXCEPTED, _BY_NAME, _FROM_70 = 1, 2, 3
"""Values of the figure ``scheduler_tiers``."""
BFLOAT16_FROM: Final = (8, 0)
"""Compute capability from which a GPU has bfloat16; (0, 0) is another vendor's."""
SECOND_ENGINE: Final = (8, 0)
"""Compute capability from which 0.8 starts the second engine."""
_UNNAMED: Final = 2048
"""The context where the config names none."""
_LONGEST_FIRST_ENGINE: Final = 32768
"""The first engine chunks prompts by itself where max_model_len is above this."""
_POOLING: Final = 32768
_MULTIMODAL: Final = 5120
"""The least batched tokens of the first engine for models that pool, and for those that see."""
_ALL_POOLING, _ENCODERS = 2, 1
"""Values of the figure ``pooling_first_engine``."""
CHUNKED, NOT_CHUNKED = "--enable-chunked-prefill", "--no-enable-chunked-prefill"


@dataclass(frozen=True, slots=True)
class Resolved:
    """One start-up with everything said. dtype: of unquantized weights; element: its bytes.

    first_engine: vLLM's first engine runs it. whole_prompts: prompts are not cut in chunks.
    """

    max_model_len: int
    seqs: int
    batched_tokens: int
    utilization: Decimal
    dtype: str
    element: int
    kv_dtype: str
    eager: bool
    first_engine: bool
    whole_prompts: bool


def resolve(
    architecture: Architecture,
    settings: EngineSettings,
    accelerator: Accelerator,
    constants: Constants,
) -> Resolved:
    """The settings with the engine's defaults filled in for one kind of GPU."""
    length = max(1, settings.max_model_len or default_length(architecture, constants))
    pools = is_pooling(architecture, settings)
    first = _first_engine(architecture, accelerator, constants, pools=pools)
    tokens, seqs = _batch(accelerator, constants, first=first)
    if settings.max_num_seqs is not None:
        seqs = max(1, settings.max_num_seqs)
    whole = _whole_prompts(architecture, settings, length, constants, first=first, pools=pools)
    if settings.max_num_batched_tokens is not None:
        tokens = max(1, settings.max_num_batched_tokens)
    else:
        if whole:
            floor = first or constants.flag("whole_prompts_floor")
            tokens = max(tokens, length) if floor else length
            if first:
                tokens = max(tokens, _POOLING if pools else 0)
                tokens = max(tokens, _MULTIMODAL if architecture.multimodal else 0)
        tokens = min(tokens, seqs * length)
    if settings.max_num_seqs is None:
        seqs = min(seqs, tokens)
    dtype = started_dtype(architecture, settings, accelerator, constants)
    return Resolved(
        length,
        seqs,
        tokens,
        settings.utilization if settings.utilization is not None else constants.utilization,
        dtype,
        WEIGHT_BYTES.get(dtype, 2),
        _cache_dtype(architecture, settings),
        bool(settings.enforce_eager),
        first,
        whole,
    )


def started_dtype(
    architecture: Architecture,
    settings: EngineSettings,
    accelerator: Accelerator,
    constants: Constants,
) -> str:
    """The dtype of what is not quantized: as said, else the config's if the GPU has it.

    A GPU without bfloat16 starts in float16, and models whose numbers are too large for that in
    float32; before 0.9 the config's dtype holds whatever the GPU has.
    """
    dtype, rule = weight_dtype(architecture, settings.dtype), constants["auto_dtype"]
    if settings.dtype in WEIGHT_BYTES or not rule.value:
        return dtype
    has = ["float16", "float32"]
    if architecture.model_type in rule.names:
        has.remove("float16")
    if accelerator.compute >= BFLOAT16_FROM or accelerator.compute == (0, 0):
        has.insert(0, "bfloat16")
    return dtype if dtype in has else has[0]


def _cache_dtype(architecture: Architecture, settings: EngineSettings) -> str:
    """The cache's dtype in force; compressed keys (DeepSeek V4) are in 8 bits whatever is said."""
    dtype = kv_dtype(architecture, settings.kv_cache_dtype)
    return "fp8" if dtype == "auto" and is_compressed(architecture) else dtype


def default_length(architecture: Architecture, constants: Constants) -> int:
    """The context, in tokens, of a start-up that says none."""
    if architecture.original_model_len and constants.flag("original_length"):
        return architecture.original_model_len
    unnamed = not architecture.heads and architecture.max_model_len == UNBOUNDED
    return _UNNAMED if unnamed else architecture.max_model_len


def _first_engine(
    architecture: Architecture, accelerator: Accelerator, constants: Constants, *, pools: bool
) -> bool:
    """Whether the first engine runs, which went with 0.11."""
    if not constants.flag("chunked_prefill"):
        return True
    if constants.flag("first_engine_too") and accelerator.compute < SECOND_ENGINE:
        return True
    figure = constants["first_engine_models"]
    if architecture.model_type in figure.names or (figure.value and traits(architecture).states):
        return True
    which = int(constants.number("pooling_first_engine")) if pools else 0
    return which == _ALL_POOLING or (which == _ENCODERS and traits(architecture).encoder)


def _whole_prompts(
    architecture: Architecture,
    settings: EngineSettings,
    length: int,
    constants: Constants,
    *,
    first: bool,
    pools: bool,
) -> bool:
    """Whether prompts are not cut in chunks, so that the batch must hold a whole one."""
    own = traits(architecture)
    if own.crosses or own.encoder:
        return True
    if first:
        chunked = CHUNKED in settings.flags or (length > _LONGEST_FIRST_ENGINE and not pools)
        return NOT_CHUNKED in settings.flags or not chunked
    return NOT_CHUNKED in settings.flags and constants.flag("whole_prompts_floor")


def default_sequences(accelerator: Accelerator, constants: Constants, *, first: bool) -> int:
    """Sequences that the API server starts with on a GPU if none are said."""
    return _batch(accelerator, constants, first=first)[1]


def _batch(accelerator: Accelerator, constants: Constants, *, first: bool) -> tuple[int, int]:
    """Batched tokens and sequences that the API server starts with on a GPU."""
    tier, rule = "small", int(constants.number("scheduler_tiers"))
    if first:
        rule = 0
    if rule == _BY_NAME:
        tier = "large" if accelerator.family == "hopper" else "small"
    elif rule:
        if accelerator.memory >= _HUGE and constants.flag("scheduler_tier_160"):
            tier = "huge"
        elif accelerator.memory >= _LARGE:
            slow = rule == _A100_EXCEPTED and _is_slow_for_its_size(accelerator)
            tier = "small" if slow else "large"
    seqs = "small_seqs" if tier == "small" and rule != _BY_NAME else "large_seqs"
    return int(constants.number(f"{tier}_batched_tokens")), int(constants.number(seqs))


def _is_slow_for_its_size(accelerator: Accelerator) -> bool:
    """A100 (by name, as the engine does it) and GB10 (compute capability 12.1)."""
    names = (accelerator.name, accelerator.title, *accelerator.products)
    return any("a100" in name.lower() for name in names) or accelerator.compute == (12, 1)
