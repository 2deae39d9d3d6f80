"""SGLang's start-up logs of several versions, cut down to the lines that matter, as rows.

The lines are written from the formats in SGLang's sources; models and sizes are made up.
"""

from __future__ import annotations

import io

from log_rows import has, row
from plimsoll.measured import logs
from plimsoll.measured.log_row import row_of

V0_4_1 = """\
[2025-01-04 05:20:00] server_args=ServerArgs(model_path='test/llama-8b', dtype='auto', \
trust_remote_code=False, context_length=None, quantization=None, kv_cache_dtype='auto', \
mem_fraction_static=0.88, max_running_requests=None, max_total_tokens=None, \
chunked_prefill_size=8192, max_prefill_tokens=16384, tp_size=2, dp_size=1, api_key='sk-secret', \
lora_paths=None, max_loras_per_batch=8, disable_cuda_graph=True, cpu_offload_gb=0)
[2025-01-04 05:21:00 TP0] Load weight begin. avail mem=78.57 GB
[2025-01-04 05:21:00 TP1] Load weight begin. avail mem=78.43 GB
[2025-01-04 05:21:05 TP0] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, \
avail mem=71.05 GB
[2025-01-04 05:21:05 TP1] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, \
avail mem=70.91 GB
[2025-01-04 05:21:05 TP0] KV Cache is allocated. K size: 30.74 GB, V size: 30.74 GB.
[2025-01-04 05:21:05 TP1] KV Cache is allocated. K size: 30.74 GB, V size: 30.74 GB.
[2025-01-04 05:21:05 TP1] Memory pool end. avail mem=8.90 GB
[2025-01-04 05:21:06 TP0] max_total_num_tokens=1007288, max_prefill_tokens=16384, \
max_running_requests=4097, context_len=131072
[2025-01-04 05:21:10] The server is fired up and ready to roll!
"""


def test_sglang_0_4_1_weights_are_what_free_memory_fell_by() -> None:
    found = row(V0_4_1)
    has(
        found,
        engine="sglang",
        engine_version=None,
        model="test/llama-8b",
        dtype="bfloat16",
        architecture_family="LlamaForCausalLM",
        tensor_parallel=2,
        data_parallel=1,
        num_gpus=2,
        gpu_memory_utilization=0.88,
        max_model_len=131072,
        max_num_batched_tokens=8192,
        max_num_seqs=None,
        enforce_eager=True,
        kv_cache_dtype="auto",
        weights_gib_per_gpu=7.52,
        kv_cache_gib_per_gpu=61.48,
        kv_cache_tokens=1007288,
        activation_peak_gib=None,
        quantization=None,
        weights_format=None,
        outcome="ok",
    )
    assert found["other_args"] == {
        "chunked_prefill_size": 8192,
        "disable_cuda_graph": True,
        "dp_size": 1,
        "max_prefill_tokens": 16384,
        "mem_fraction_static": 0.88,
        "tp_size": 2,
    }
    assert "sk-secret" not in str(found)


V0_4_9 = """\
[2025-07-10 12:00:00] server_args=ServerArgs(model_path='test/mla', dtype='auto', \
quantization='fp8', mem_fraction_static=0.85, kv_cache_dtype='fp8_e4m3', tp_size=8, dp_size=4, \
enable_dp_attention=True, ep_size=8, page_size=64, context_length=65536, \
speculative_algorithm='EAGLE', speculative_num_steps=3, json_model_override_args='{}')
[2025-07-10 12:01:00 DP0 TP0 EP0] Load weight begin. avail mem=139.21 GB
[2025-07-10 12:02:00 DP0 TP0 EP0] Load weight end. type=DeepseekV3ForCausalLM, \
dtype=torch.bfloat16, avail mem=56.11 GB, mem usage=83.10 GB.
[2025-07-10 12:02:01 DP0 TP0 EP0] KV Cache is allocated. #tokens: 524288, KV size: 17.16 GB
[2025-07-10 12:02:01 DP0 TP0 EP0] Memory pool end. avail mem=37.00 GB
[2025-07-10 12:02:05 DP0 TP0 EP0] Load weight begin. avail mem=37.00 GB
[2025-07-10 12:02:09 DP0 TP0 EP0] Load weight end. type=DeepseekV3ForCausalLMNextN, \
dtype=torch.bfloat16, avail mem=35.40 GB, mem usage=1.60 GB.
[2025-07-10 12:02:09 DP0 TP0 EP0] KV Cache is allocated. #tokens: 524288, KV size: 0.28 GB
[2025-07-10 12:02:09 DP0 TP0 EP0] Memory pool end. avail mem=34.00 GB
[2025-07-10 12:02:20 DP0 TP0 EP0] Capture cuda graph end. Time elapsed: 7.02 s. \
mem usage=1.51 GB. avail mem=32.4 GB.
[2025-07-10 12:02:21 DP0 TP0 EP0] max_total_num_tokens=524288, chunked_prefill_size=8192, \
max_prefill_tokens=16384, max_running_requests=512, context_len=65536, available_gpu_mem=32.4 GB
[2025-07-10 12:02:30] The server is fired up and ready to roll!
"""


def test_sglang_0_4_9_data_parallel_attention_lies_inside_and_the_draft_model_does_not_count() -> (
    None
):
    found = row(V0_4_9)
    has(
        found,
        tensor_parallel=2,
        data_parallel=4,
        num_gpus=8,
        quantization="fp8",
        block_size=64,
        weights_gib_per_gpu=83.1,
        kv_cache_gib_per_gpu=17.16,
        kv_cache_tokens=524288,
        cuda_graph_gib=1.51,
        max_model_len=65536,
        enforce_eager=False,
        outcome="ok",
    )
    assert found["other_args"]["speculative_algorithm"] == "EAGLE"
    assert "json_model_override_args" not in found["other_args"]


V0_5 = """\
[2026-01-31 13:50:00] INFO engine.py:177: server_args=ServerArgs(model_path='test/swa', \
mem_fraction_static=0.7, tp_size=4, pp_size=1, dp_size=1, page_size=64, cuda_graph_bs=[1, 2, 4])
[2026-01-31 13:50:30 TP1] Load weight end. elapsed=1.25 s, type=SwaForCausalLM, quant=fp8, \
avail mem=50.10 GB, mem usage=42.77 GB.
[2026-01-31 13:50:39 TP1] Use sliding window memory pool. full_layer_tokens=375360, \
swa_layer_tokens=300288
[2026-01-31 13:50:39 TP1] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 300288, \
K size: 8.38 GB, V size: 5.59 GB
[2026-01-31 13:50:39 TP1] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 375360, \
K size: 2.10 GB, V size: 1.40 GB
[2026-01-31 13:50:39 TP1] Memory pool end. avail mem=27.21 GB
[2026-01-31 13:50:50 TP1] Capture target decode CUDA graph end. elapsed=12.47 s, \
mem usage=1.26 GB, avail mem=25.90 GB.
[2026-01-31 13:50:55 TP1] Capture draft decode CUDA graph end. elapsed=1.47 s, \
mem usage=0.26 GB, avail mem=25.60 GB.
[2026-01-31 13:50:56 TP1] max_total_num_tokens=375360, chunked_prefill_size=8192, \
max_prefill_tokens=16384, max_running_requests=128, context_len=32768, available_gpu_mem=25.6 GB
[2026-01-31 13:51:00] The server is fired up and ready to roll!
"""


def test_sglang_0_5_two_pools_are_one_cache_and_a_draft_s_graphs_are_not_its_own() -> None:
    found = row(V0_5)
    has(
        found,
        kv_cache_gib_per_gpu=17.47,
        kv_cache_tokens=375360,
        cuda_graph_gib=1.26,
        weights_gib_per_gpu=42.77,
        tensor_parallel=4,
        max_model_len=32768,
        outcome="ok",
    )
    assert "KV cache in bfloat16" in found["notes"]
    assert "cuda_graph_bs" not in found["other_args"]


V0_5_STATES = """\
[2026-02-01 00:05:03 TP0] Load weight end. elapsed=1.25 s, type=HybridForCausalLM, \
dtype=torch.bfloat16, avail mem=9.26 GB, mem usage=5.98 GB.
[2026-02-01 00:05:03 TP0] Mamba Cache is allocated. max_mamba_cache_size: 38, conv_state size: \
0.03GB, ssm_state size: 2.74GB
[2026-02-01 00:05:03 TP0] KV Cache is allocated. #tokens: 399740, K size: 1.52 GB, V size: 1.52 GB
[2026-02-01 00:05:03 TP0] Memory pool end. avail mem=3.42 GB
"""


def test_sglang_states_are_part_of_its_pools_and_lines_alone_leave_the_outcome_open() -> None:
    has(
        row(V0_5_STATES),
        kv_cache_gib_per_gpu=5.81,
        kv_cache_tokens=None,
        tensor_parallel=None,
        other_args=None,
        outcome="unknown",
    )


def test_sglang_without_memory_for_its_pools_is_a_failed_start_up() -> None:
    found = row(
        V0_4_9.partition("[2025-07-10 12:02:01")[0]
        + "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current "
        "value: mem_fraction_static=0.5\n"
    )
    has(found, outcome="kv-too-small", weights_gib_per_gpu=83.1, kv_cache_gib_per_gpu=None)


def test_sglang_out_of_memory_while_graphs_are_captured_is_a_failed_start_up() -> None:
    found = row(
        V0_5.partition("[2026-01-31 13:50:50")[0]
        + "Exception: Capture cuda graph failed: CUDA out of memory. Tried to allocate 2.00 GiB. "
        "GPU 3 has a total capacity of 95.00 GiB of which 1.00 GiB is free.\n"
    )
    has(found, outcome="oom", gpu_total_gib=95.0)


def test_sglang_that_is_started_again_gives_the_last_start_up() -> None:
    log = logs.read(io.BytesIO((V0_4_1 + V0_5).encode()))
    assert len(log.start_ups) == 2
    assert log.last is not None
    assert row_of(log.last, "x")["model"] == "test/swa"
