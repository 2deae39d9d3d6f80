"""Start-up logs of vLLM's first engine, each cut down to the lines that matter, as rows.

The lines are written from the formats in vLLM's sources; models, sizes and machines are made up.
"""

from __future__ import annotations

from log_rows import has, row

V0_4_2 = """\
INFO 05-02 09:00:01 api_server.py:151] vLLM API server version 0.4.2
INFO 05-02 09:00:01 api_server.py:152] args: Namespace(host=None, port=8000, \
api_key='sk-secret', model='test/llama-8b', dtype='auto', max_model_len=None, swap_space=4, \
tensor_parallel_size=1, pipeline_parallel_size=1, block_size=16, gpu_memory_utilization=0.85, \
max_num_batched_tokens=None, max_num_seqs=256, enforce_eager=False, kv_cache_dtype='auto', \
max_seq_len_to_capture=8192, enable_lora=False, max_loras=1, max_lora_rank=16, device='auto')
INFO 05-02 09:00:02 llm_engine.py:100] Initializing an LLM engine (v0.4.2) with config: \
model='test/llama-8b', speculative_config=None, tokenizer='test/llama-8b', \
dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, quantization=None, \
enforce_eager=False, kv_cache_dtype=auto, seed=0, served_model_name=test/llama-8b)
INFO 05-02 09:00:20 model_runner.py:175] Loading model weights took 14.9595 GB
INFO 05-02 09:00:22 gpu_executor.py:114] # GPU blocks: 24000, # CPU blocks: 2048
INFO 05-02 09:00:30 model_runner.py:937] Graph capturing finished in 8 secs.
INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)
"""


def test_0_4_names_weights_and_blocks_and_its_namespace_is_every_argument() -> None:
    found = row(V0_4_2)
    has(
        found,
        engine="vllm",
        engine_version="0.4.2",
        model="test/llama-8b",
        config_id="test/llama-8b",
        dtype="bfloat16",
        weights_format="none",
        quantization=None,
        max_model_len=8192,
        max_num_seqs=256,
        gpu_memory_utilization=0.85,
        tensor_parallel=1,
        pipeline_parallel=1,
        data_parallel=1,
        num_gpus=1,
        enforce_eager=False,
        weights_gib_per_gpu=14.9595,
        num_gpu_blocks=24000,
        kv_cache_gib_per_gpu=None,
        activation_peak_gib=None,
        gpu_total_gib=None,
        outcome="ok",
    )
    assert found["other_args"] == {
        "gpu_memory_utilization": 0.85,
        "kv_cache_dtype": "auto",
        "max_num_seqs": 256,
        "pipeline_parallel_size": 1,
        "tensor_parallel_size": 1,
    }
    assert "sk-secret" not in str(found)


V0_5_4 = """\
INFO 08-09 13:55:56 llm_engine.py:174] Initializing an LLM engine (v0.5.4) with config: \
model='/models/llama-70b', speculative_config=None, tokenizer='/models/llama-70b', \
dtype=torch.float16, max_seq_len=4096, load_format=LoadFormat.AUTO, tensor_parallel_size=4, \
pipeline_parallel_size=1, quantization=None, enforce_eager=True, kv_cache_dtype=auto, seed=0)
(VllmWorkerProcess pid=101) INFO 08-09 13:56:40 model_runner.py:732] \
Loading model weights took 32.8894 GB
INFO 08-09 13:56:41 model_runner.py:732] Loading model weights took 32.8894 GB
(VllmWorkerProcess pid=102) INFO 08-09 13:56:41 model_runner.py:732] \
Loading model weights took 32.8894 GB
(VllmWorkerProcess pid=103) INFO 08-09 13:56:41 model_runner.py:732] \
Loading model weights took 32.8894 GB
INFO 08-09 13:56:50 distributed_gpu_executor.py:56] # GPU blocks: 30000, # CPU blocks: 3276
"""


def test_0_5_with_four_ranks_gives_one_rank_and_a_path_is_no_config_id() -> None:
    found = row(V0_5_4)
    has(
        found,
        engine_version="0.5.4",
        model="/models/llama-70b",
        config_id=None,
        dtype="float16",
        tensor_parallel=4,
        num_gpus=4,
        enforce_eager=True,
        weights_gib_per_gpu=32.8894,
        num_gpu_blocks=30000,
        kv_cache_tokens=None,
        other_args=None,
        max_num_seqs=None,
        outcome="unknown",
    )
    assert "4 ranks, weights 32.8894 to 32.8894 GiB" in found["notes"]


V0_6_4 = """\
INFO 11-30 13:57:00 llm_engine.py:249] Initializing an LLM engine (v0.6.4.post1) with config: \
model='test/small-3b', dtype=torch.bfloat16, max_seq_len=4096, tensor_parallel_size=1, \
pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto)
INFO 11-30 13:57:05 model_runner.py:1077] Loading model weights took 6.0160 GB
INFO 11-30 13:57:06 worker.py:232] Memory profiling results: total_gpu_memory=79.15GiB \
initial_memory_usage=6.50GiB peak_torch_memory=7.21GiB memory_usage_post_profile=6.60GiB \
non_torch_memory=0.47GiB kv_cache_size=63.55GiB gpu_memory_utilization=0.90
INFO 11-30 13:57:07 gpu_executor.py:113] # GPU blocks: 37187, # CPU blocks: 2340
INFO 11-30 13:57:07 gpu_executor.py:117] Maximum concurrency for 4096 tokens per request: 145.26x
INFO 11-30 13:57:20 model_runner.py:1518] Graph capturing finished in 13 secs, took 0.29 GiB
INFO 11-30 13:57:20 llm_engine.py:446] init engine (profile, create kv cache, warmup model) \
took 15.20 seconds
"""


def test_0_6_4_activation_is_the_peak_without_the_weights() -> None:
    has(
        row(V0_6_4),
        engine_version="0.6.4.post1",
        gpu_total_gib=79.15,
        gpu_memory_utilization=0.9,
        weights_gib_per_gpu=6.016,
        activation_peak_gib=1.194,
        non_torch_gib=0.47,
        kv_cache_gib_per_gpu=63.55,
        cuda_graph_gib=0.29,
        num_gpu_blocks=37187,
        block_size=16,
        kv_cache_tokens=594992,
        max_concurrency=145.26,
        outcome="ok",
    )


V0_6_6_TP = """\
INFO 12-22 10:55:30 llm_engine.py:234] Initializing an LLM engine (v0.6.6) with config: \
model='test/llama-8b', dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=2, \
pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto)
(RayWorkerWrapper pid=630, ip=10.0.0.7) INFO 12-22 10:55:34 model_runner.py:1097] \
Loading model weights took 7.5122 GB
INFO 12-22 10:55:34 model_runner.py:1097] Loading model weights took 7.5122 GB
INFO 12-22 10:55:40 worker.py:241] the current vLLM instance can use total_gpu_memory \
(44.42GiB) x gpu_memory_utilization (0.90) = 39.98GiB
INFO 12-22 10:55:40 worker.py:241] model weights take 7.51GiB; non_torch_memory takes 0.93GiB; \
PyTorch activation peak memory takes 0.71GiB; the rest of the memory reserved for KV Cache is \
30.83GiB.
(RayWorkerWrapper pid=630, ip=10.0.0.7) INFO 12-22 10:55:40 worker.py:241] model weights take \
7.51GiB; non_torch_memory takes 1.15GiB; PyTorch activation peak memory takes 0.70GiB; the rest \
of the memory reserved for KV Cache is 30.62GiB.
INFO 12-22 10:55:41 distributed_gpu_executor.py:57] # GPU blocks: 31354, # CPU blocks: 4096
INFO 12-22 10:55:41 distributed_gpu_executor.py:61] Maximum concurrency for 8192 tokens per \
request: 61.24x
"""


def test_0_6_6_over_ray_gives_the_rank_with_the_least_left_for_the_cache() -> None:
    has(
        row(V0_6_6_TP),
        weights_gib_per_gpu=7.5122,
        non_torch_gib=1.15,
        activation_peak_gib=0.7,
        kv_cache_gib_per_gpu=30.62,
        num_gpu_blocks=31354,
        block_size=16,
        num_gpus=2,
        kv_cache_tokens=501664,
        gpu_total_gib=44.42,
        derived_budget_residual_gib=0.0,
    )


V0_8 = """\
INFO 07-02 17:08:00 llm_engine.py:240] Initializing a V0 LLM engine (v0.8.5) with config: \
model='test/llama-8b', dtype=torch.bfloat16, max_seq_len=512, tensor_parallel_size=1, \
pipeline_parallel_size=1, quantization=bitsandbytes, enforce_eager=False, kv_cache_dtype=fp8)
INFO 07-02 17:08:01 [model_runner.py:1146] Model loading took 5.6253 GiB and 7.670299 seconds
INFO 07-02 17:08:07 [worker.py:287] Memory profiling takes 5.35 seconds
INFO 07-02 17:08:07 [worker.py:287] the current vLLM instance can use total_gpu_memory \
(79.15GiB) x gpu_memory_utilization (0.70) = 55.40GiB
INFO 07-02 17:08:07 [worker.py:287] model weights take 5.63GiB; non_torch_memory takes 0.09GiB; \
PyTorch activation peak memory takes 1.16GiB; the rest of the memory reserved for KV Cache is \
48.53GiB.
INFO 07-02 17:08:07 [executor_base.py:112] # cuda blocks: 49695, # CPU blocks: 4096
INFO 07-02 17:08:07 [executor_base.py:117] Maximum concurrency for 512 tokens per request: 1552.97x
INFO 07-02 17:08:20 [model_runner.py:1598] Graph capturing finished in 13 secs, took 0.24 GiB
"""


def test_0_8_with_the_first_engine_keeps_a_quantization_that_the_log_says() -> None:
    has(
        row(V0_8),
        engine_version="0.8.5",
        quantization="bitsandbytes",
        weights_format=None,
        kv_cache_dtype="fp8",
        weights_gib_per_gpu=5.6253,
        activation_peak_gib=1.16,
        kv_cache_gib_per_gpu=48.53,
        num_gpu_blocks=49695,
        block_size=16,
        outcome="ok",
        data_parallel=1,
    )
