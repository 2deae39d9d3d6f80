"""Lines of a vLLM log, 0.4 to current: which say an input, which a measured figure.

It must not choose between ranks, and it must not compute a figure but by the log's own arithmetic.

What the versions print, one line each (GB and GiB are both 2**30 bytes):

    Loading model weights took 14.99 GB                                              0.2 - 0.8 (V0)
    Model loading took 14.99 GiB and 3.1 seconds / GiB memory and ...                0.7 on
    Memory profiling results: total_gpu_memory=79.15GiB ... peak_torch_memory=...    0.6.4
    ... total_gpu_memory (79.15GiB) x gpu_memory_utilization (0.90) = 71.23GiB       0.6.5 - 0.9 V0
    model weights take ...; non_torch_memory takes ...; PyTorch activation peak ...  0.6.5 - 0.9 V0
    # GPU blocks: 1234, # CPU blocks: 2048 (CUDA, cuda, rocm in place of GPU)        0.2 - 0.9
    Maximum concurrency for 8192 tokens per request: 5.59x                           0.6 on
    Available KV cache memory: 43.61 GiB                                             0.8 on (V1)
    GPU KV cache size: 123,456 tokens                                                0.8 on (V1)
    Graph capturing finished in 20 secs, took 0.56 GiB                               0.6.3 on
    Estimated CUDA graph memory: 0.79 GiB total                                      0.19 on
    The current --gpu-memory-utilization=0.9000 is equivalent to ...=0.8667 without  0.20 on
    Free memory on device (78.6/79.2 GiB) on startup. ... Actual usage is ...        0.10.2 on
    ... weights memory: 2.32GiB                                                      V1, debug

Sources: vllm/worker/worker.py, vllm/executor/executor_base.py (V0); vllm/v1/worker/gpu_worker.py,
vllm/v1/worker/gpu_model_runner.py, vllm/v1/core/kv_cache_utils.py (V1); vllm/utils (arguments).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from plimsoll.measured.printed import enum_value, printed_settings

if TYPE_CHECKING:
    from plimsoll.measured.log_lines import Line, StartUp


SHARE_TAKEN: Final = 0.05
"""Share of a GPU that is taken at start from which another process is at work, not the driver."""
LEAST_TAKEN_GIB: Final = 2.0
UNQUANTIZED: Final = "none"
"""What stands for a log that says that nothing is quantized."""
_N: Final = r"-?\d{1,9}(?:\.\d{1,9})?"

_NEEDLES: Final = re.compile(
    r"took |finished in|blocks: |KV Cache|KV cache|Maximum concurrency|total_gpu_memory"
    r"|model weights take|weights memory|on startup|LLM engine|API server|args: |max model len"
    r"|max_num_batched_tokens=|Resolved architecture|block size to|startup complete|Uvicorn running"
    r"|is equivalent to|version |cache blocks|serve at least|max seq len|Processed prompts"
    r"|CUDA graph memory"
)
"""Every line that is read holds one of these words."""

_MEASURED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:Loading model weights|Model loading) took (?P<weights>{_N}) Gi?B",
        rf"model weights take (?P<weights>{_N})\s?GiB; non_torch_memory takes (?P<non_torch>{_N})"
        rf"\s?GiB; PyTorch activation peak memory takes (?P<activation>{_N})\s?GiB; the rest of the"
        rf" memory reserved for KV Cache is (?P<kv>{_N})\s?GiB",
        rf"total_gpu_memory \((?P<total>{_N})\s?GiB\) x gpu_memory_utilization"
        rf" \((?P<share_rounded>{_N})\)",
        rf"total_gpu_memory=(?P<total>{_N})GiB .{{0,400}}?peak_torch_memory=(?P<peak_torch>{_N})GiB"
        rf" .{{0,400}}?non_torch_memory=(?P<non_torch>{_N})GiB kv_cache_size=(?P<kv>{_N})GiB"
        rf" gpu_memory_utilization=(?P<share_rounded>{_N})",
        r"# (?!CPU)\w{2,16} blocks: (?P<blocks>\d{1,12})",
        rf"Maximum concurrency for (?P<max_len>[\d,]{{1,16}}) tokens per request:"
        rf" (?P<concurrency>{_N})x",
        rf"Available KV cache memory: (?P<kv>{_N}) GiB",
        r"\b(?!CPU)\w{2,16} KV cache size: (?P<tokens>[\d,]{1,20}) tokens",
        rf"Graph capturing finished in {_N} secs?, took (?P<graphs>{_N}) GiB",
        rf"torch peak memory increase: (?P<activation>{_N})GiB; non-torch forward increase memory:"
        rf" (?P<non_torch>{_N})GiB; weights memory: (?P<weights>{_N})GiB",
        rf"torch peak memory increase: (?P<activation>{_N})GiB; total consumed"
        rf" \(from mem_get_info\): (?P<consumed>{_N})GiB; weights memory: (?P<weights>{_N})GiB",
        rf"Estimated CUDA graph memory: (?P<graphs_estimate>{_N}) GiB",
        rf"reserved (?P<kv>{_N}) GiB memory for KV Cache",
    )
)
_BUDGET: Final = re.compile(
    rf"Free memory on device(?: [\w:]+)? \((?P<free>{_N})/(?P<total>{_N}) GiB\) on startup"
    rf"(?P<short> is less than desired GPU memory utilization|\. Desired GPU memory utilization is)"
    rf" \((?P<share>{_N}), {_N} GiB\)"
)
_USAGE: Final = re.compile(
    rf"Actual usage is (?P<first>{_N}) GiB for (?P<what>weight|consumed memory)\b.{{0,400}}?, "
    rf"(?P<activation>{_N}) GiB for peak activation, "
    rf"(?:(?P<non_torch>{_N}) GiB for non-torch memory, )?"
    rf"and (?P<graphs>{_N}) GiB for CUDAGraph memory"
)
_IN_USE: Final = re.compile(
    rf"Current kv cache memory in use is (?:(?P<bytes>\d{{4,16}}) bytes|(?P<gib>{_N}) GiB)"
)
_NEEDED: Final = re.compile(
    rf"max seq len \((?P<length>\d+)\), \(?(?P<needed>{_N}) GiB KV cache is needed, which is larger"
    rf" than the available KV cache memory \((?P<kv>{_N}) GiB\)"
)
_TOO_LONG: Final = re.compile(
    r"max seq len \((?P<length>\d+)\) is larger than the maximum number of tokens that can be"
    r" stored in KV cache \((?P<tokens>\d+)\)"
)
_ENGINE: Final = re.compile(
    r"Initializing an? (?:V(?P<number>[01]) )?LLM engine \(v(?P<version>[^)\s]{1,64})\)"
    r" with config:(?P<config>.*)"
)
_SERVER: Final = re.compile(r"vLLM (?:\w+ )?API server version (?P<version>[\w.+\-]{3,64})")
_BANNER: Final = re.compile(r"[█▀▄].*\bversion (?P<version>\d+\.\d+\.\d+[\w.+\-]{0,48})")
_ADVICE: Final = re.compile(
    rf"--gpu-memory-utilization=(?P<said>{_N}) is equivalent to"
    rf" --gpu-memory-utilization=(?P<without>{_N}) without CUDA graph memory profiling"
)
_SAID: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("max_num_batched_tokens", r"is enabled with max_num_batched_tokens=(\d{1,9})\b"),
        ("max_model_len", r"Using max model len (\d{1,9})\b"),
        ("architecture_family", r"Resolved architecture: (\w{2,80})"),
        ("block_size", r"Setting attention block size to (\d{1,7}) tokens"),
    )
)
_ARGS: Final = re.compile(r"\b(?P<what>non-default args: \{|args: Namespace\()(?P<text>.*)")
_STARTED: Final = re.compile(
    r"Application startup complete|Starting vLLM API server(?! version)|Uvicorn running on"
    r"|init engine \(profile, create kv cache, warmup model\) took|Processed prompts"
)
_CAPTURED: Final = "Graph capturing finished in"
"""The last line of the first engine's start-up."""
_CONFIG: Final = {
    "model": "model", "dtype": "dtype", "max_seq_len": "max_model_len",
    "tensor_parallel_size": "tensor_parallel", "pipeline_parallel_size": "pipeline_parallel",
    "data_parallel_size": "data_parallel", "quantization": "quantization",
    "enforce_eager": "enforce_eager", "kv_cache_dtype": "kv_cache_dtype",
}  # fmt: skip
"""What the engine's own line of its config says, by the name that a row has for it."""
_FROM_ARGS: Final = {
    "tensor_parallel_size": "tensor_parallel", "pipeline_parallel_size": "pipeline_parallel",
    "data_parallel_size": "data_parallel", "max_model_len": "max_model_len",
    "max_num_seqs": "max_num_seqs", "max_num_batched_tokens": "max_num_batched_tokens",
    "gpu_memory_utilization": "gpu_memory_utilization", "block_size": "block_size",
    "kv_cache_dtype": "kv_cache_dtype", "enforce_eager": "enforce_eager",
    "enable_expert_parallel": "expert_parallel", "model": "model", "model_tag": "model",
}  # fmt: skip
"""The same of the line of arguments."""
_LEAST: Final = frozenset({"kv", "blocks", "tokens", "concurrency"})
"""Figures that count at their least: one process may print them for every rank."""
_ALL_ARGS: Final = {
    "max_seq_len_to_capture": 8192,
    "device": "auto",
    "lora_dtype": "auto",
    "max_loras": 1,
    "max_lora_rank": 16,
    "lora_extra_vocab_size": 256,
    "model_impl": "auto",
    "task": "auto",
    "use_v2_block_manager": True,
    "load_format": "auto",
    "dtype": "auto",
    "block_size": 16,
    "spec_decoding_acceptance_method": "rejection_sampler",
}
"""Defaults of arguments in the line that prints all of them (0.4 to 0.8)."""


def inputs(start_up: StartUp) -> dict[str, Any]:
    """What lines and arguments say. What a line says counts, except for the utilization: the line
    rounds it and the argument does not."""
    stated: dict[str, Any] = dict(start_up.said)
    for name, key in _FROM_ARGS.items():
        value = start_up.args.get(name)
        if value is not None and (key not in stated or key == "gpu_memory_utilization"):
            stated[key] = value
    if start_up.whole:
        stated.setdefault("expert_parallel", False)
        for key in ("tensor_parallel", "pipeline_parallel", "data_parallel"):
            stated.setdefault(key, 1)
    return stated


def restarts(line: Line, start_up: StartUp) -> bool:
    """Whether a line begins a start-up of its own after one that is known already."""
    if "LLM engine (v" in line.text:
        return line.rank in start_up.ranks and bool(_ENGINE.search(line.text))
    return bool(_SERVER.search(line.text)) and start_up.told


def take(line: Line, start_up: StartUp) -> bool:
    """Take what a line says; whether it is a line of this engine at all."""
    text = line.text
    if not _NEEDLES.search(text):
        return False
    known = _inputs(line, start_up)
    for pattern in _MEASURED:
        match = pattern.search(text)
        if match:
            known = True
            _figures(line.rank, match.groupdict(), start_up)
    known = _usage(line, start_up) or known
    known = _failed(text, start_up) or known
    if _STARTED.search(text) or (_CAPTURED in text and start_up.said.get("v1") is False):
        # Other servers say the same, so it does not make this one of vLLM's lines.
        start_up.started = not start_up.failure[0]
    return known


def _inputs(line: Line, start_up: StartUp) -> bool:
    text = line.text
    engine = _ENGINE.search(text)
    if engine:
        second = engine["number"] == "1"
        _version(start_up, engine["version"], second)
        for name, value in printed_settings(engine["config"]).items():
            if name == "quantization" and value is None:
                start_up.say("quantization", UNQUANTIZED)
            elif name in _CONFIG:
                start_up.say(_CONFIG[name], enum_value(value))
            elif name in ("speculative_config", "speculative_model") and value is not None:
                start_up.say("speculative", True)
        if not second:
            # The first engine has no data parallelism.
            start_up.say("data_parallel", 1)
        return True
    server = _SERVER.search(text) or _BANNER.search(text)
    if server:
        _version(start_up, server["version"], None)
        return True
    args = _ARGS.search(text)
    if args:
        _arguments(start_up, args["what"], args["text"])
        return True
    advice = _ADVICE.search(text)
    if advice:
        start_up.say("share_of_graphs", float(advice["said"]) - float(advice["without"]))
        return True
    known = False
    for name, pattern in _SAID:
        match = pattern.search(text)
        if match:
            known = True
            figure: Any = int(match[1]) if match[1].isdigit() else match[1]
            if name == "block_size":
                start_up.said[name] = figure
            start_up.say(name, figure)
    return known


def _version(start_up: StartUp, version: str, first: bool | None) -> None:
    start_up.say("engine_version", version.removeprefix("v"))
    if first is not None:
        start_up.say("v1", first)


def _arguments(start_up: StartUp, what: str, text: str) -> None:
    """The command line as the server prints it: what is not default (0.9 on), or everything."""
    if start_up.args:
        return
    everything = what.startswith("args")
    stated = printed_settings(("(" if everything else "{") + text)
    for name, value in stated.items():
        plain = enum_value(value)
        if not everything or (plain and _ALL_ARGS.get(name) != plain):
            start_up.args[name] = plain
    start_up.whole = True


def _figures(rank: str, stated: dict[str, str | None], start_up: StartUp) -> None:
    for name, text in stated.items():
        if text is None:
            continue
        value = float(text.replace(",", ""))
        if name == "total":
            start_up.say("gpu_total_gib", value)
        elif name == "share_rounded":
            start_up.say("share_rounded", value)
        elif name == "max_len":
            start_up.say("max_model_len", int(value))
        else:
            start_up.measure(rank, name, value, least=name in _LEAST)


def _usage(line: Line, start_up: StartUp) -> bool:
    """The line that adds the budget up once graphs are captured, or refuses it at the start."""
    budget = _BUDGET.search(line.text)
    if not budget:
        return False
    free, total = float(budget["free"]), float(budget["total"])
    start_up.say("gpu_total_gib", total)
    start_up.say("gpu_memory_utilization", budget["share"])
    start_up.say("free_gib", free)
    if "less than" in budget["short"]:
        taken = total - free
        if taken > max(LEAST_TAKEN_GIB, SHARE_TAKEN * total):
            start_up.fail("contention", f"{taken:.2f} GiB of the GPU were taken at the start")
        else:
            start_up.fail("oom", "the GPU has less free memory than its share at the start")
        return True
    usage = _USAGE.search(line.text)
    if usage:
        figure = "weights_used" if usage["what"] == "weight" else "consumed"
        start_up.measure(line.rank, figure, float(usage["first"]))
        for name in ("activation", "graphs", "non_torch"):
            if usage[name] is not None:
                start_up.measure(line.rank, name, float(usage[name]))
    use = _IN_USE.search(line.text)
    if use:
        gib = float(use["gib"]) if use["gib"] else int(use["bytes"]) / 2**30
        start_up.measure(line.rank, "kv", round(gib, 2))
    return True


def _failed(text: str, start_up: StartUp) -> bool:
    needed = _NEEDED.search(text)
    if needed:
        start_up.say("max_model_len", int(needed["length"]))
        start_up.measure("", "kv", float(needed["kv"]))
        start_up.fail("kv-too-small", f"one request needs {needed['needed']} GiB of KV cache")
        return True
    long = _TOO_LONG.search(text)
    if long:
        start_up.say("max_model_len", int(long["length"]))
        start_up.measure("", "tokens", int(long["tokens"]))
        start_up.fail("kv-too-small", "the longest request does not fit in the KV cache")
        return True
    if "No available memory for the cache blocks" in text:
        start_up.fail("kv-too-small", "no memory is left for the KV cache")
        return True
    return False
