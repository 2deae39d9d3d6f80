"""Lines of an SGLang log, 0.3 to current: which say an input, which a measured figure.

It must not choose between ranks. A draft model is loaded and given pools after the first one, on
the same rank: the first is what is measured.

    server_args=ServerArgs(model_path='...', tp_size=8, ...)                 every argument
    Load weight begin. avail mem=92.50 GB
    Load weight end. type=..., dtype=..., avail mem=77.39 GB                 0.3 - 0.4.1
    Load weight end. elapsed=2.6 s, type=..., avail mem=..., mem usage=...   0.4.2 on
    KV Cache is allocated. #tokens: 1024, K size: 2.82 GB, V size: 2.82 GB   0.3 on; MLA: KV size
    Memory pool end. avail mem=12.13 GB
    Capture cuda graph end. Time elapsed: 1.0 s. mem usage=0.07 GB.          0.4.3 on
    Capture target decode CUDA graph end. elapsed=12.47 s, mem usage=1.26 GB 0.5.10 on
    max_total_num_tokens=20480, chunked_prefill_size=8192, ..., context_len=131072

GB is 2**30 bytes. Sources: python/sglang/srt/model_executor/model_runner.py,
python/sglang/srt/mem_cache/memory_pool.py, python/sglang/srt/managers/scheduler.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from plimsoll.measured.printed import enum_value, printed_settings

if TYPE_CHECKING:
    from plimsoll.measured.log_lines import Line, StartUp


_N: Final = r"-?\d{1,9}(?:\.\d{1,9})?"
_NEEDLES: Final = re.compile(
    r"server_args=|Load weight |Cache is allocated|Memory pool end|graph end\."
    r"|max_total_num_tokens=|fired up|increase --mem-fraction-static|SGLang|sglang"
)
_ARGS: Final = re.compile(r"server_args=(?P<text>ServerArgs\(.*|\{.*)")
_BEGIN: Final = re.compile(rf"Load weight begin\..{{0,400}}?avail mem=(?P<gib>{_N}) GB")
_END: Final = re.compile(r"Load weight end\. ?(?P<rest>.*)")
_AVAILABLE: Final = re.compile(rf"avail mem=(?P<gib>{_N}) GB")
_USED: Final = re.compile(rf"mem usage=(?P<gib>{_N}) GB")
_TYPE: Final = re.compile(r"\btype=(?P<name>\w{2,80})")
_DTYPE: Final = re.compile(r"\bdtype[=:] ?torch\.(?P<name>\w{2,40})")
_POOL: Final = re.compile(
    rf"KV Cache is allocated\.(?P<words>.{{0,400}}?)"
    rf"(?:K size: (?P<k>{_N}) GB, V size: (?P<v>{_N}) GB|KV size: (?P<kv>{_N}) GB)"
)
_TOKENS: Final = re.compile(r"#tokens: (\d{1,12})")
_STATES: Final = re.compile(
    rf"Mamba Cache is allocated\..{{0,400}}?conv_state size: (?P<conv>{_N}) ?GB, ssm_state size:"
    rf" (?P<ssm>{_N}) ?GB"
)
_GRAPHS: Final = re.compile(
    rf"Capture (?!draft)(?:[\w ]{{1,40}}? )?(?:cuda|CUDA|piecewise|npu) ?[\w ]{{0,20}}?graph end\."
    rf".{{0,400}}?mem usage=(?P<gib>{_N}) GB"
)
_LIMITS: Final = re.compile(
    r"max_total_num_tokens=(?P<tokens>\d{1,12}),.{0,400}?context_len=(?P<length>\d{1,9})"
)
_VERSION: Final = re.compile(
    r"\b(?:SGLang|sglang)(?: version|==| v)[ =:]*v?(?P<v>\d+\.\d+\.\d[\w.+]*)"
)
_SHORT: Final = "Please try to increase --mem-fraction-static"
_SAID: Final = {
    "model_path": "model",
    "context_length": "max_model_len",
    "quantization": "quantization",
    "mem_fraction_static": "gpu_memory_utilization",
    "dtype": "dtype",
    "max_running_requests": "max_num_seqs",
    "kv_cache_dtype": "kv_cache_dtype",
    "disable_cuda_graph": "enforce_eager",
    "page_size": "block_size",
}
"""What the line of arguments says, by the name that a row has for it."""


def restarts(line: Line, start_up: StartUp) -> bool:
    """Whether a line begins a start-up of its own after one that is known already."""
    return start_up.told and bool(_ARGS.search(line.text))


def take(line: Line, start_up: StartUp) -> bool:
    """Take what a line says; whether it is a line of this engine at all."""
    text, rank = line.text, line.rank
    if not _NEEDLES.search(text):
        return False
    args = _ARGS.search(text)
    if args:
        _arguments(start_up, args["text"])
        return True
    version = _VERSION.search(text)
    if version:
        start_up.say("engine_version", version["v"])
    known = _weights(text, rank, start_up)
    known = _pools(text, rank, start_up) or known
    if _SHORT in text:
        start_up.fail("kv-too-small", "no memory is left for the KV cache")
        known = True
    if "The server is fired up" in text:
        start_up.started = not start_up.failure[0]
        known = True
    return known


def _arguments(start_up: StartUp, text: str) -> None:
    if start_up.args:
        return
    for name, value in printed_settings(text).items():
        if value in (None, False, 0, "", "auto") or value == [] or value == {}:
            continue
        start_up.args[name] = enum_value(value)
        if name in _SAID:
            start_up.say(_SAID[name], enum_value(value))
    start_up.whole = True
    tp, pp, dp = (_size(start_up.args.get(name)) for name in ("tp_size", "pp_size", "dp_size"))
    inside = bool(start_up.args.get("enable_dp_attention"))
    start_up.say("tensor_parallel", tp // dp if inside and tp % dp == 0 else tp)
    start_up.say("pipeline_parallel", pp)
    start_up.say("data_parallel", dp)
    start_up.say("enforce_eager", False)
    start_up.say("kv_cache_dtype", "auto")
    chunk = start_up.args.get("chunked_prefill_size")
    if isinstance(chunk, int) and chunk > 0:
        start_up.say("max_num_batched_tokens", chunk)


def _size(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def _weights(text: str, rank: str, start_up: StartUp) -> bool:
    begin = _BEGIN.search(text)
    if begin:
        start_up.measure(rank, "before", float(begin["gib"]))
        start_up.say("free_gib", float(begin["gib"]))
        return True
    end = _END.search(text)
    if not end:
        return False
    kind, dtype = _TYPE.search(end["rest"]), _DTYPE.search(end["rest"])
    if kind:
        start_up.say("architecture_family", kind["name"])
    if dtype:
        start_up.say("dtype", dtype["name"])
    used, left = _USED.search(end["rest"]), _AVAILABLE.search(end["rest"])
    figures = start_up.ranks.get(rank, {})
    if used:
        start_up.measure(rank, "weights", float(used["gib"]))
    elif left and "before" in figures:
        start_up.measure(rank, "weights", round(figures["before"] - float(left["gib"]), 2))
    return True


def _pools(text: str, rank: str, start_up: StartUp) -> bool:
    figures = start_up.ranks.get(rank, {})
    pool, states = _POOL.search(text), _STATES.search(text)
    if pool and "pools_done" not in figures:
        gib = float(pool["kv"]) if pool["kv"] else float(pool["k"]) + float(pool["v"])
        start_up.measure(rank, "kv", round(figures.get("kv", 0.0) + gib, 2), again=True)
        tokens, dtype = _TOKENS.search(pool["words"]), _DTYPE.search(pool["words"])
        if tokens:
            start_up.measure(rank, "pool_tokens", int(tokens[1]))
        if dtype:
            start_up.note(f"KV cache in {dtype['name']}")
        return True
    if states and "pools_done" not in figures:
        start_up.measure(rank, "states", float(states["conv"]) + float(states["ssm"]))
        return True
    if "Memory pool end" in text:
        start_up.measure(rank, "pools_done", 1.0)
        return True
    graphs = _GRAPHS.search(text)
    if graphs:
        start_up.measure(
            rank, "graphs", round(figures.get("graphs", 0.0) + float(graphs["gib"]), 2), again=True
        )
        return True
    limits = _LIMITS.search(text)
    if limits:
        start_up.measure(rank, "tokens", int(limits["tokens"]))
        start_up.say("max_model_len", int(limits["length"]))
        return True
    return False
