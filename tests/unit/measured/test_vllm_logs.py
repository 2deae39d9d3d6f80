"""Start-up logs of vLLM's second engine, each cut down to the lines that matter, as rows.

The lines are written from the formats in vLLM's sources; models, sizes and machines are made up.
"""

from __future__ import annotations

import io

import pytest

from log_rows import has, row
from plimsoll.measured import logs
from plimsoll.measured.log_row import row_of

V1_0_7 = """\
INFO 02-10 08:00:00 core.py:50] Initializing a V1 LLM engine (v0.7.3) with config: \
model='test/llama-8b', dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, \
pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto)
INFO 02-10 08:00:09 gpu_model_runner.py:1060] Loading model weights took 14.9888 GB
INFO 02-10 08:00:30 kv_cache_utils.py:522] # GPU blocks: 24321
INFO 02-10 08:00:30 kv_cache_utils.py:525] Maximum concurrency for 8192 tokens per request: 47.50x
INFO 02-10 08:00:50 gpu_model_runner.py:1339] Graph capturing finished in 20 secs, took 0.56 GiB
INFO 02-10 08:00:50 core.py:116] init engine (profile, create kv cache, warmup model) took 41.0 s
"""


def test_0_7_with_the_second_engine_says_so_in_its_version() -> None:
    has(
        row(V1_0_7),
        engine_version="0.7.3 (V1)",
        weights_gib_per_gpu=14.9888,
        num_gpu_blocks=24321,
        block_size=16,
        kv_cache_tokens=389136,
        cuda_graph_gib=0.56,
        data_parallel=None,
        outcome="ok",
    )


V1_0_8 = """\
INFO 04-24 16:32:40 [api_server.py:1034] vLLM API server version 0.8.5
INFO 04-24 16:32:40 [api_server.py:1035] args: Namespace(subparser='serve', \
model_tag='test/llama-8b', host=None, chat_template="{% if messages[0]['role'] == 'x' %}(", \
model='test/llama-8b', task='auto', dtype='auto', max_model_len=32768, \
tensor_parallel_size=1, enable_expert_parallel=False, data_parallel_size=1, \
gpu_memory_utilization=0.9, max_num_batched_tokens=None, max_num_seqs=None, enable_lora=True, \
max_loras=1, max_lora_rank=32, dispatch_function=<function serve at 0x7f>)
INFO 04-24 16:32:50 [config.py:2003] Chunked prefill is enabled with max_num_batched_tokens=2048.
INFO 04-24 16:32:55 [core.py:58] Initializing a V1 LLM engine (v0.8.5) with config: \
model='test/llama-8b', dtype=torch.bfloat16, max_seq_len=32768, tensor_parallel_size=1, \
pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto)
INFO 04-24 16:33:00 [gpu_model_runner.py:1316] Model loading took 14.9889 GiB and 3.652170 seconds
INFO 04-24 16:33:13 [kv_cache_utils.py:634] GPU KV cache size: 158,656 tokens
INFO 04-24 16:33:13 [kv_cache_utils.py:637] Maximum concurrency for 32,768 tokens per request: 4.84x
INFO 04-24 16:33:40 [gpu_model_runner.py:1686] Graph capturing finished in 27 secs, took 0.52 GiB
INFO 04-24 16:33:40 [core.py:159] init engine (profile, create kv cache, warmup model) took 40.1 s
INFO 04-24 16:33:41 [api_server.py:1081] Starting vLLM API server on http://0.0.0.0:8000
"""


def test_0_8_with_the_second_engine_counts_tokens_and_a_template_does_not_end_the_arguments() -> (
    None
):
    found = row(V1_0_8)
    has(
        found,
        engine_version="0.8.5",
        weights_gib_per_gpu=14.9889,
        kv_cache_tokens=158656,
        max_concurrency=4.84,
        max_model_len=32768,
        max_num_batched_tokens=2048,
        expert_parallel=False,
        num_gpus=1,
        kv_cache_gib_per_gpu=None,
        cuda_graph_gib=0.52,
        outcome="ok",
        block_size=None,
    )
    assert found["other_args"] == {
        "data_parallel_size": 1,
        "enable_lora": True,
        "gpu_memory_utilization": 0.9,
        "max_lora_rank": 32,
        "max_model_len": 32768,
        "tensor_parallel_size": 1,
    }


V1_0_9 = """\
INFO 06-17 15:32:00 [api_server.py:1287] vLLM API server version 0.9.1
INFO 06-17 15:32:01 [cli_args.py:309] non-default args: {'model': 'test/llama-8b', \
'max_model_len': 16384, 'tensor_parallel_size': 2, 'speculative_config': {'method': 'ngram', \
'num_speculative_tokens': 3}}
INFO 06-17 15:32:20 [core.py:70] Initializing a V1 LLM engine (v0.9.1) with config: \
model='test/llama-8b', speculative_config=SpeculativeConfig(method='ngram', model=None, \
num_spec_tokens=3), tokenizer='test/llama-8b', dtype=torch.bfloat16, max_seq_len=16384, \
tensor_parallel_size=2, pipeline_parallel_size=1, quantization=None, enforce_eager=False, \
kv_cache_dtype=auto)
(VllmWorker rank=1 pid=3275251) INFO 06-17 15:32:29 [gpu_model_runner.py:1624] \
Model loading took 7.5123 GiB and 3.1 seconds
(VllmWorker rank=0 pid=3275250) INFO 06-17 15:32:29 [gpu_model_runner.py:1624] \
Model loading took 7.5123 GiB and 3.2 seconds
(VllmWorker rank=0 pid=3275250) INFO 06-17 15:32:50 [gpu_worker.py:227] \
Available KV cache memory: 61.02 GiB
(VllmWorker rank=1 pid=3275251) INFO 06-17 15:32:50 [gpu_worker.py:227] \
Available KV cache memory: 60.98 GiB
INFO 06-17 15:32:50 [kv_cache_utils.py:715] GPU KV cache size: 999,760 tokens
INFO 06-17 15:32:50 [kv_cache_utils.py:719] Maximum concurrency for 16,384 tokens per request: \
61.02x
INFO 06-17 15:32:50 [kv_cache_utils.py:715] GPU KV cache size: 999,104 tokens
INFO 06-17 15:32:50 [kv_cache_utils.py:719] Maximum concurrency for 16,384 tokens per request: \
60.98x
INFO:     Application startup complete.
"""


def test_0_9_with_two_ranks_has_the_tokens_of_the_smaller_cache_and_speculation_as_json() -> None:
    found = row(V1_0_9)
    has(
        found,
        tensor_parallel=2,
        num_gpus=2,
        kv_cache_gib_per_gpu=60.98,
        kv_cache_tokens=999104,
        max_concurrency=60.98,
        weights_gib_per_gpu=7.5123,
        gpu_memory_utilization=None,
        expert_parallel=False,
        outcome="ok",
    )
    assert found["other_args"]["speculative_config"] == (
        '{"method": "ngram", "num_speculative_tokens": 3}'
    )
    assert "speculative decoding" in found["notes"]


V1_0_10 = """\
(APIServer pid=1) INFO 09-15 04:42:00 [api_server.py:1896] vLLM API server version 0.10.2
(APIServer pid=1) INFO 09-15 04:42:00 [utils.py:328] non-default args: {'model_tag': \
'test/next-80b', 'model': 'test/next-80b', 'tensor_parallel_size': 4, 'api_key': ['sk-secret']}
(APIServer pid=1) INFO 09-15 04:42:10 [__init__.py:742] Resolved architecture: NextForCausalLM
(APIServer pid=1) INFO 09-15 04:42:11 [__init__.py:1815] Using max model len 262144
(APIServer pid=1) INFO 09-15 04:42:12 [config.py:310] Setting attention block size to 544 tokens \
to ensure that attention page size is >= mamba page size.
(EngineCore_DP0 pid=300) INFO 09-15 04:42:20 [core.py:76] Initializing a V1 LLM engine (v0.10.2) \
with config: model='test/next-80b', dtype=torch.bfloat16, max_seq_len=262144, \
tensor_parallel_size=4, pipeline_parallel_size=1, data_parallel_size=1, quantization=None, \
enforce_eager=False, kv_cache_dtype=auto)
(Worker_TP0 pid=400) WARNING 09-15 04:43:00 [fused_moe.py:727] Using default MoE config. Config \
file not found at ['/usr/configs/E=512,N=128,device_name=NVIDIA_H100_80GB_HBM3.json']
(Worker_TP0 pid=400) INFO 09-15 04:43:20 [gpu_model_runner.py:2392] Model loading took 37.2186 \
GiB and 50.1 seconds
(Worker_TP1 pid=401) INFO 09-15 04:43:20 [gpu_model_runner.py:2392] Model loading took 37.2186 \
GiB and 50.3 seconds
(Worker_TP0 pid=400) INFO 09-15 04:44:00 [gpu_worker.py:298] Available KV cache memory: 26.74 GiB
(EngineCore_DP0 pid=300) INFO 09-15 04:44:00 [kv_cache_utils.py:864] GPU KV cache size: \
1,168,000 tokens
(EngineCore_DP0 pid=300) INFO 09-15 04:44:00 [kv_cache_utils.py:868] Maximum concurrency for \
262,144 tokens per request: 17.10x
(Worker_TP0 pid=400) INFO 09-15 04:44:40 [gpu_model_runner.py:3118] Graph capturing finished in \
30 secs, took 1.84 GiB
(Worker_TP0 pid=400) INFO 09-15 04:44:40 [gpu_worker.py:391] Free memory on device (78.6/79.2 \
GiB) on startup. Desired GPU memory utilization is (0.9, 71.28 GiB). Actual usage is 37.99 GiB \
for weight, 4.71 GiB for peak activation, 1.84 GiB for non-torch memory, and 1.84 GiB for \
CUDAGraph memory. Replace gpu_memory_utilization config with `--kv-cache-memory=26500000000` to \
fit into requested memory. Current kv cache memory in use is 28711856312 bytes.
(APIServer pid=1) INFO:     Application startup complete.
"""


def test_0_10_adds_its_budget_up_and_names_the_gpu_of_its_kernels() -> None:
    found = row(V1_0_10)
    has(
        found,
        gpu="NVIDIA H100 80GB HBM3",
        gpu_total_gib=79.2,
        gpu_memory_utilization=0.9,
        weights_gib_per_gpu=37.2186,
        activation_peak_gib=4.71,
        non_torch_gib=1.84,
        cuda_graph_gib=1.84,
        kv_cache_gib_per_gpu=26.74,
        kv_cache_tokens=1168000,
        block_size=544,
        max_model_len=262144,
        architecture_family="NextForCausalLM",
        outcome="ok",
        num_gpus=4,
    )
    assert found["other_args"] == {"tensor_parallel_size": 4}
    assert "free at start 78.6 GiB" in found["notes"]
    assert "sk-secret" not in str(found)


V1_0_11 = (
    V1_0_10.replace("0.10.2", "0.11.0")
    .replace("\n(", "\n2025-10-23T15:14:55.123456Z stderr F (")
    .replace("(Worker_TP0 pid=400)", "\x1b[1;36m(Worker_TP0 pid=400)\x1b[0;0m")
)


def test_0_11_through_kubectl_and_with_colours_reads_the_same() -> None:
    assert row(V1_0_11) == row(V1_0_10) | {"engine_version": "0.11.0"}


V1_0_13 = """\
(EngineCore_DP0 pid=12) INFO 12-20 08:00:00 [core.py:93] Initializing a V1 LLM engine (v0.13.0) \
with config: model='/root/.cache/huggingface/hub/models--test--llama-8b/snapshots/8cde5ca8380496', \
speculative_config=None, dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, \
pipeline_parallel_size=1, data_parallel_size=2, quantization=fp8, enforce_eager=True, \
kv_cache_dtype=fp8_e4m3)
DEBUG 12-20 08:00:20 [gpu_worker.py:265] Initial free memory: 43.82 GiB; Requested memory: 0.90 \
(util), 39.88 GiB
(EngineCore_DP0 pid=12) INFO 12-20 08:00:20 [gpu_model_runner.py:3549] Model loading took 8.49 \
GiB memory and 5.4 seconds
(EngineCore_DP1 pid=13) INFO 12-20 08:00:21 [gpu_model_runner.py:3549] Model loading took 8.49 \
GiB memory and 5.5 seconds
(EngineCore_DP0 pid=12) DEBUG 12-20 08:00:40 [gpu_worker.py:278] Memory profiling takes 7.26 \
seconds. Total non KV cache memory: 10.1GiB; torch peak memory increase: 1.45GiB; non-torch \
forward increase memory: 0.12GiB; weights memory: 8.49GiB.
(EngineCore_DP0 pid=12) INFO 12-20 08:00:40 [gpu_worker.py:375] Available KV cache memory: 29.82 \
GiB
(EngineCore_DP0 pid=12) INFO 12-20 08:00:41 [kv_cache_utils.py:1291] GPU KV cache size: 488,560 \
tokens
(EngineCore_DP0 pid=12) INFO 12-20 08:00:41 [kv_cache_utils.py:1296] Maximum concurrency for \
8,192 tokens per request: 59.64x
(EngineCore_DP0 pid=12) INFO 12-20 08:00:45 [core.py:259] init engine (profile, create kv cache, \
warmup model) took 24.9 seconds
"""


def test_0_13_names_the_model_of_a_hub_cache_and_debug_lines_say_the_profile() -> None:
    has(
        row(V1_0_13),
        config_id="test/llama-8b",
        data_parallel=2,
        num_gpus=2,
        quantization="fp8",
        weights_format=None,
        kv_cache_dtype="fp8_e4m3",
        activation_peak_gib=1.45,
        non_torch_gib=0.12,
        weights_gib_per_gpu=8.49,
        kv_cache_gib_per_gpu=29.82,
        kv_cache_tokens=488560,
        enforce_eager=True,
        cuda_graph_gib=None,
        outcome="ok",
    )


V1_0_19 = """\
(APIServer pid=1) INFO 04-10 10:00:00 [utils.py:299]        █     █     █▄   ▄█
(APIServer pid=1) INFO 04-10 10:00:00 [utils.py:299]  ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.19.0
(APIServer pid=1) INFO 04-10 10:00:00 [utils.py:299]   █▄█▀ █     █     █     █  model   test/m
(APIServer pid=1) INFO 04-10 10:00:00 [utils.py:233] non-default args: {'model': 'test/m', \
'gpu_memory_utilization': 0.95, 'enable_expert_parallel': True, 'pipeline_parallel_size': 2}
(Worker_PP0_EP0 pid=7) INFO 04-10 10:01:00 [gpu_model_runner.py:4879] Model loading took 29.43 \
GiB memory and 12.1 seconds
(Worker_PP1_EP0 pid=8) INFO 04-10 10:01:00 [gpu_model_runner.py:4879] Model loading took 30.1 \
GiB memory and 12.1 seconds
(Worker_PP0_EP0 pid=7) INFO 04-10 10:01:30 [gpu_worker.py:440] Available KV cache memory: 43.61 GiB
(Worker_PP1_EP0 pid=8) INFO 04-10 10:01:29 [gpu_model_runner.py:5740] Estimated CUDA graph memory: \
0.44 GiB total
(Worker_PP1_EP0 pid=8) INFO 04-10 10:01:30 [gpu_worker.py:440] Available KV cache memory: 42.9 GiB
(EngineCore pid=6) INFO 04-10 10:01:31 [kv_cache_utils.py:1319] GPU KV cache size: 1,481,040 tokens
(EngineCore pid=6) INFO 04-10 10:01:31 [kv_cache_utils.py:1324] Maximum concurrency for 8,192 \
tokens per request: 180.79x
(APIServer pid=1) INFO:     Application startup complete.
"""


def test_0_19_takes_its_version_from_the_banner_and_the_stage_that_has_least_left() -> None:
    found = row(V1_0_19)
    assert found["notes"] == "2 ranks, weights 29.43 to 30.1 GiB"
    assert found["cuda_graph_estimate_gib"] == 0.44
    has(
        found,
        engine_version="0.19.0",
        pipeline_parallel=2,
        num_gpus=2,
        expert_parallel=True,
        weights_gib_per_gpu=30.1,
        kv_cache_gib_per_gpu=42.9,
        kv_cache_tokens=1481040,
        gpu_memory_utilization=0.95,
        outcome="ok",
    )


V1_0_26 = """\
(APIServer pid=1) INFO 10-06 17:00:00 [api_utils.py:286] non-default args: {'model_tag': \
'test/llama-8b', 'model': 'test/llama-8b', 'kv_transfer_config': \
KVTransferConfig(kv_connector='Some', kv_connector_extra_config={'a': 1, 'b': '}'}, kv_rank=None)}
(EngineCore pid=326) INFO 10-06 17:00:05 [core.py:120] Initializing a V1 LLM engine \
(v0.26.1rc1.dev8+g4b7f5ea1a) with config: model='test/llama-8b', dtype=torch.bfloat16, \
max_seq_len=131072, tensor_parallel_size=1, data_parallel_size=1, quantization=None, \
enforce_eager=False, kv_cache_dtype=auto)
(EngineCore pid=326) INFO 10-06 17:00:11 [model_runner.py:407] Model loading took 15.0 GiB memory \
and 5.420225 seconds
(EngineCore pid=326) INFO 10-06 17:00:33 [gpu_worker.py:692] Available KV cache memory: 56.21 GiB
(EngineCore pid=326) INFO 10-06 17:00:33 [kv_cache_utils.py:2464] GPU KV cache size: 460,496 \
tokens, Maximum concurrency for 131,072 tokens per request: 3.51x
(EngineCore pid=326) INFO 10-06 17:00:40 [model_runner.py:747] Graph capturing finished in 7 \
secs, took 0.23 GiB
(EngineCore pid=326) INFO 10-06 17:00:41 [gpu_worker.py:955] Free memory on device (78.84/79.25 \
GiB) on startup. Desired GPU memory utilization is (0.92, 72.91 GiB). Actual usage is 15.26 GiB \
for consumed memory (weights + non-torch), 1.44 GiB for peak activation, and 0.23 GiB for \
CUDAGraph memory. Current kv cache memory in use is 56.21 GiB.
(EngineCore pid=326) INFO 10-06 17:00:41 [core.py:340] init engine (profile, create kv cache, \
warmup model) took 30.1 s
"""


def test_0_26_says_tokens_and_concurrency_in_one_line_and_non_torch_with_the_weights() -> None:
    found = row(V1_0_26)
    has(
        found,
        engine_version="0.26.1rc1.dev8+g4b7f5ea1a",
        weights_gib_per_gpu=15.0,
        non_torch_gib=0.26,
        activation_peak_gib=1.44,
        cuda_graph_gib=0.23,
        kv_cache_gib_per_gpu=56.21,
        kv_cache_tokens=460496,
        max_concurrency=3.51,
        gpu_memory_utilization=0.92,
        gpu_total_gib=79.25,
        derived_budget_residual_gib=0.0,
        derived_kv_bytes_per_token_per_gpu=131065,
        pipeline_parallel=1,
        outcome="ok",
    )
    assert found["other_args"]["kv_transfer_config"].startswith("KVTransferConfig(")


def test_a_fixed_cache_is_what_was_reserved() -> None:
    found = row(
        "INFO [gpu_worker.py:330] Initial free memory 44.16 GiB, reserved 5.5 GiB memory for KV "
        "Cache as specified by kv_cache_memory_bytes config and skipped memory profiling.\n"
    )
    has(found, kv_cache_gib_per_gpu=5.5, outcome="unknown")


@pytest.mark.parametrize(
    ("line", "outcome", "measured"),
    [
        pytest.param(
            "ValueError: No available memory for the cache blocks. Try increasing "
            "`gpu_memory_utilization` when initializing the engine.",
            "kv-too-small", {"kv_cache_gib_per_gpu": -2.14}, id="nothing is left",
        ),
        pytest.param(
            "ValueError: To serve at least one request with the models's max seq len (40960), "
            "(10.00 GiB KV cache is needed, which is larger than the available KV cache memory "
            "(1.25 GiB). Based on the available memory, the estimated maximum model length is 5104",
            "kv-too-small", {"max_model_len": 40960}, id="one request, 0.8.5 on",
        ),
        pytest.param(
            "ValueError: To serve at least one request with the model's max seq len (131072), "
            "9.5 GiB KV cache is needed, which is larger than the available KV cache memory "
            "(6.91 GiB). Based on the available memory, ...",
            "kv-too-small", {"max_model_len": 131072}, id="one request, 0.2x",
        ),
        pytest.param(
            "ValueError: The model's max seq len (32768) is larger than the maximum number of "
            "tokens that can be stored in KV cache (3040). Try increasing ...",
            "kv-too-small", {"max_model_len": 32768, "kv_cache_tokens": 3040}, id="too long, V0",
        ),
        pytest.param(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a "
            "total capacity of 79.15 GiB of which 1.06 GiB is free. Including non-PyTorch memory, "
            "this process has 78.08 GiB memory in use.",
            "oom", {"gpu_total_gib": 79.15}, id="torch 2.1 on",
        ),
        pytest.param(
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB (GPU 0; "
            "14.75 GiB total capacity; 13.42 GiB already allocated; 500.81 MiB free)",
            "oom", {"gpu_total_gib": 14.75}, id="torch before 2.1",
        ),
        pytest.param(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a "
            "total capacity of 79.15 GiB of which 1.06 GiB is free. Process 77 has 60.00 GiB "
            "memory in use. Process 88 has 18.00 GiB memory in use.",
            "contention", {"gpu_total_gib": 79.15}, id="two processes on one GPU",
        ),
        pytest.param(
            "ValueError: Free memory on device (60.87/79.19 GiB) on startup is less than desired "
            "GPU memory utilization (0.95, 75.23 GiB). Decrease GPU memory utilization or reduce",
            "contention", {"gpu_total_gib": 79.19, "gpu_memory_utilization": 0.95},
            id="another process is at work",
        ),
        pytest.param(
            "ValueError: Free memory on device cuda:0 (31.06/31.86 GiB) on startup is less than "
            "desired GPU memory utilization (0.98, 31.22 GiB).",
            "oom", {"gpu_total_gib": 31.86, "gpu_memory_utilization": 0.98},
            id="a share that no empty GPU has",
        ),
    ],
)  # fmt: skip
def test_a_failed_start_up_says_how_it_failed(
    line: str, outcome: str, measured: dict[str, float]
) -> None:
    before = (
        "(EngineCore_DP0 pid=9) INFO [gpu_model_runner.py:1] Model loading took 14.99 GiB and 3 s\n"
        "(EngineCore_DP0 pid=9) INFO [gpu_worker.py:1] Available KV cache memory: -2.14 GiB\n"
    )
    found = row(f"{before}(EngineCore_DP0 pid=9) ERROR 06-02 [core.py:387] {line}\n")
    has(found, outcome=outcome, weights_gib_per_gpu=14.99, **measured)


def test_out_of_memory_while_serving_is_no_failed_start_up() -> None:
    found = row(V1_0_26 + "ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate\n")
    has(found, outcome="ok")


def test_of_a_crash_loop_the_last_start_up_counts() -> None:
    failed = V1_0_10.replace("37.2186", "30.0").partition(
        "(EngineCore_DP0 pid=300) INFO 09-15 04:44"
    )
    log = logs.read(io.BytesIO((failed[0] * 3 + V1_0_10).encode()))
    assert len(log.start_ups) == 4
    assert log.last is not None
    assert row_of(log.last, "log")["weights_gib_per_gpu"] == 37.2186
