"""What only vLLM can be told, and the figures that change from release to release."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plimsoll.engines.base import Options
from plimsoll.engines.ranges import RangeTable
from plimsoll.engines.tables import VersionTable

_DATA: Final = Path(__file__).parent / "data"
TABLE: Final = VersionTable("vLLM", _DATA / "constants.json", numbers=2)
RANGES: Final = RangeTable.in_file(_DATA / "ranges.json")


@dataclass(frozen=True, slots=True)
class VLLMOptions(Options):
    """None: unsaid. JSON objects are kept as texts with sorted keys.

    speculative_config, limit_mm_per_prompt: what `EngineSettings` has no field for.
    """

    convert: str | None = None
    decode_context_parallel_size: int | None = None
    enable_moe_shared_loras: bool | None = None
    enable_prefix_caching: bool | None = None
    enable_sleep_mode: bool | None = None
    fully_sharded_loras: bool | None = None
    kv_transfer_config: str | None = None
    language_model_only: bool | None = None
    limit_mm_per_prompt: str | None = None
    lora_dtype: str | None = None
    lora_extra_vocab_size: int | None = None
    lora_target_modules: tuple[str, ...] | None = None
    mamba_cache_dtype: str | None = None
    mamba_ssm_cache_dtype: str | None = None
    mm_encoder_tp_mode: str | None = None
    mm_processor_kwargs: str | None = None
    num_gpu_blocks_override: int | None = None
    offload_backend: str | None = None
    offload_group_size: int | None = None
    offload_num_in_group: int | None = None
    offload_prefetch_step: int | None = None
    runner: str | None = None
    skip_mm_profiling: bool | None = None
    speculative_config: str | None = None
    task: str | None = None
