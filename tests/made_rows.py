"""Measured rows and models made up for tests of ``plimsoll accuracy``.

It must not hold a figure of a real start-up that a test would then be fitted to.
"""

from __future__ import annotations

from typing import Any

from configs import LLAMA_8B
from plimsoll.measured import rows, score
from plimsoll.measured.models import Configs

LLAMA: dict[str, Any] = LLAMA_8B | {"_model_id": "test/llama-8b"}
MIXTURE: dict[str, Any] = LLAMA | {
    "_model_id": "test/mixtral",
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
KNOWN: dict[str, Any] = {
    "id": "r1",
    "config_id": "test/llama-8b",
    "model": "test/llama-8b",
    "engine": "vllm",
    "engine_version": "0.19.0",
    "gpu": "NVIDIA H100 80GB HBM3",
    "gpu_total_gib": 79.19,
    "num_gpus": 1,
    "tensor_parallel": 1,
    "pipeline_parallel": 1,
    "data_parallel": 1,
    "max_model_len": 8192,
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 8192,
    "gpu_memory_utilization": 0.95,
    "dtype": "bfloat16",
    "kv_cache_dtype": "auto",
    "enforce_eager": False,
    "block_size": 16,
    "weights_format": "none",
    "inferred_fields": [],
    "trust": "A-full-log",
    "outcome": "ok",
    "weights_gib_per_gpu": 14.99,
    "activation_peak_gib": 1.89,
    "non_torch_gib": 0.25,
    "cuda_graph_gib": 0.93,
    "cuda_graph_estimate_gib": 0.84,
    "kv_cache_gib_per_gpu": 58.1,
    "num_gpu_blocks": 29747,
    "kv_cache_tokens": 475952,
    "max_concurrency": 58.1,
}
MEASURED = (
    "weights_gib_per_gpu",
    "activation_peak_gib",
    "non_torch_gib",
    "cuda_graph_gib",
    "cuda_graph_estimate_gib",
    "kv_cache_gib_per_gpu",
    "num_gpu_blocks",
    "kv_cache_tokens",
    "max_concurrency",
)
CONFIGS = Configs({LLAMA["_model_id"]: LLAMA, MIXTURE["_model_id"]: MIXTURE})


def scored(**changes: Any) -> score.Scored:
    """The known row with some fields changed, scored."""
    return score.score_row(rows.row_of(KNOWN | changes, "line 1"), CONFIGS)
