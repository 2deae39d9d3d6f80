"""One start-up as a measured row: the keys that `plimsoll accuracy` reads, null where unsaid.

It must not guess: a value is in the log, given by the user, or follows from the log by arithmetic:

    rank               of several the one with the least left for the KV cache, which decides; what
                       it did not print is the most that another printed (the least, for the cache)
    activation         peak_torch_memory - weights, where the log has only the peak (0.6.4)
    non-torch          consumed memory - weights, where the log has only the sum (0.25 on)
    block size, V0     the power of two at which blocks x size / length is the concurrency printed
    tokens, V0         blocks x block size
    weights_format     ``none`` where the log says that nothing is quantized, or where the config
                       that is compared with is the checkpoint's own
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.measured.logs.vllm import UNQUANTIZED
from plimsoll.measured.values import number, whole, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.measured.logs.facts import StartUp

KEYS: Final = (
    "id", "engine", "engine_version", "model", "config_id", "architecture_family", "family_group",
    "gpu", "gpu_group", "gpu_total_gib", "num_gpus", "tensor_parallel", "pipeline_parallel",
    "data_parallel", "expert_parallel", "dtype", "quantization", "quant_group", "weights_format",
    "kv_cache_dtype", "block_size", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
    "gpu_memory_utilization", "enforce_eager", "other_args", "weights_gib_per_gpu",
    "activation_peak_gib", "non_torch_gib", "cuda_graph_gib", "kv_cache_gib_per_gpu",
    "num_gpu_blocks", "kv_cache_tokens", "max_concurrency", "derived_budget_residual_gib",
    "derived_kv_bytes_per_token_per_gpu", "outcome", "trust", "inferred_fields", "unit_note",
    "notes", "source_url",
)  # fmt: skip
_HUB_CACHE: Final = re.compile(r"models--([\w.-]+?)--([\w.-]+?)(?:/|$)")
_HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
_FROM_ARGS: Final = {
    "tensor_parallel_size": "tensor_parallel", "pipeline_parallel_size": "pipeline_parallel",
    "data_parallel_size": "data_parallel", "max_model_len": "max_model_len",
    "max_num_seqs": "max_num_seqs", "max_num_batched_tokens": "max_num_batched_tokens",
    "gpu_memory_utilization": "gpu_memory_utilization", "block_size": "block_size",
    "kv_cache_dtype": "kv_cache_dtype", "enforce_eager": "enforce_eager",
    "enable_expert_parallel": "expert_parallel", "model": "model", "model_tag": "model",
}  # fmt: skip
"""vLLM's own arguments, by the name that a row has for them."""
_SGLANG_FEATURES: Final = frozenset(
    {"speculative_algorithm", "lora_paths", "cpu_offload_gb", "disaggregation_mode", "dcp_size",
     "moe_a2a_backend", "ep_num_redundant_experts", "kt_weight_path", "dllm_algorithm",
     "json_model_override_args", "hisparse_config"}
)  # fmt: skip
"""SGLang's arguments with a value that touch memory once they are not as `_SGLANG_OFF` has them."""
_SGLANG_OFF: Final = (None, "null", "none", "{}", 1)
_UNITS: Final = {"vllm": "GiB, also where the log prints GB", "sglang": "GB in the log is GiB"}


@dataclass(frozen=True, slots=True)
class Filled:
    """What the user says that the log does not.

    model: its name, where the log has none. config_id: what its structure is kept under.
    as_config: the config that it is compared with is the checkpoint's own.
    """

    model: str = ""
    config_id: str = ""
    gpu: str = ""
    as_config: bool = False


def row_of(found: StartUp, name: str, filled: Filled = Filled()) -> dict[str, Any]:
    """The row of a start-up. name: what to call it."""
    said = _inputs(found)
    row: dict[str, Any] = dict.fromkeys(KEYS)
    model = str(said.get("model") or "") or filled.model
    quantization = said.get("quantization")
    unquantized = quantization == UNQUANTIZED
    row |= {
        "id": name,
        "engine": found.engine,
        "engine_version": _version(said),
        "model": model or None,
        "config_id": filled.config_id or hub_name(model) or None,
        "architecture_family": said.get("architecture_family"),
        "gpu": filled.gpu or said.get("gpu"),
        "gpu_total_gib": number(said.get("gpu_total_gib")),
        "dtype": _word(said.get("dtype")),
        "quantization": _word(quantization),
        "weights_format": "none" if filled.as_config or unquantized else None,
        "kv_cache_dtype": _word(said.get("kv_cache_dtype")),
        "gpu_memory_utilization": number(
            said.get("gpu_memory_utilization", said.get("share_rounded"))
        ),
        "enforce_eager": yes_or_no(said.get("enforce_eager")),
        "expert_parallel": yes_or_no(said.get("expert_parallel")),
        "other_args": other_args(found) if found.whole else None,
        "outcome": _outcome(found),
        "trust": "A-full-log",
        "inferred_fields": [],
        "unit_note": _UNITS.get(found.engine),
        "source_url": None,
    }
    for key in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size",
                "tensor_parallel", "pipeline_parallel", "data_parallel"):  # fmt: skip
        row[key] = whole(said.get(key))
    _split(row)
    row |= _measured(found, row)
    _derived(row)
    row["notes"] = "; ".join(_notes(found)) or None
    return row


def hub_name(model: str) -> str:
    """The id on a hub that a model's name or path says; empty for any other path."""
    cached = _HUB_CACHE.search(model)
    if cached:
        return f"{cached[1]}/{cached[2]}"
    return model if _HUB_NAME.fullmatch(model) and not model.startswith(".") else ""


def _inputs(found: StartUp) -> dict[str, Any]:
    """What lines and arguments say; an argument is exact where a line rounds, or the reverse."""
    said = dict(found.said)
    if found.engine != "vllm":
        return said
    for name, key in _FROM_ARGS.items():
        value = found.args.get(name)
        if value is not None and (key not in said or key == "gpu_memory_utilization"):
            said[key] = value
    if found.whole:
        said.setdefault("expert_parallel", False)
        for key in ("tensor_parallel", "pipeline_parallel", "data_parallel"):
            said.setdefault(key, 1)
    return said


def _version(said: dict[str, Any]) -> str | None:
    """The version; the second engine before it was the default is said to be that."""
    version = str(said.get("engine_version") or "")
    early = re.match(r"0\.[67]\.", version)
    return f"{version} (V1)" if early and said.get("v1") else version or None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value and value.lower() != "none" else None


def _outcome(found: StartUp) -> str:
    if found.failure[0]:
        return found.failure[0]
    return "ok" if found.started else "unknown"


def _split(row: dict[str, Any]) -> None:
    sizes = [row[key] for key in ("tensor_parallel", "pipeline_parallel", "data_parallel")]
    if all(size is not None for size in sizes):
        row["num_gpus"] = sizes[0] * sizes[1] * sizes[2]


def other_args(found: StartUp) -> dict[str, object]:
    """The arguments that touch memory; a key, a host or a name of a user's own is none of them."""
    kept = dict(_memory_args(found))
    return {name: _plain(value) for name, value in sorted(kept.items())}


def _memory_args(found: StartUp) -> Iterator[tuple[str, object]]:
    from plimsoll.engines.flags import Role, Shape

    if found.engine == "vllm":
        from plimsoll.engines.vllm.arguments import GRAMMAR as grammar
    else:
        from plimsoll.engines.sglang.arguments import GRAMMAR as grammar
    for name, value in found.args.items():
        flag, _ = grammar.find("--" + name.replace("_", "-"))
        touches = flag.role not in (Role.HARMLESS, Role.MODEL, Role.UNKNOWN)
        if found.engine != "vllm":
            feature = name in _SGLANG_FEATURES and value not in _SGLANG_OFF
            switch = value is True and flag.role is Role.MEMORY and flag.shape is Shape.SWITCH
            touches = flag.role in (Role.FIELD, Role.OPTION) or feature or switch
        if touches:
            yield name, value


def _plain(value: object) -> object:
    """A value that JSON can hold: mappings as JSON text, as a command line has them."""
    import json

    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, (list, tuple)):
        return [item if isinstance(item, (str, int, float)) else str(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _measured(found: StartUp, row: dict[str, Any]) -> dict[str, Any]:
    """The figures of the rank that decides, and what the engine says of all ranks."""
    ranks = found.ranks
    own = _deciding(found)

    def of(name: str) -> float | None:
        values = [figures[name] for figures in ranks.values() if name in figures]
        return own.get(name, max(values, default=None))

    def least(name: str) -> float | None:
        return min((f[name] for f in ranks.values() if name in f), default=None)

    weights = of("weights") if of("weights") is not None else of("weights_used")
    activation, non_torch = of("activation"), of("non_torch")
    peak, consumed = of("peak_torch"), of("consumed")
    if activation is None and peak is not None and weights is not None:
        activation = round(peak - weights, 4)
    if non_torch is None and consumed is not None and weights is not None:
        non_torch = round(consumed - weights, 4)
    blocks, tokens, concurrency = least("blocks"), least("tokens"), least("concurrency")
    block_size = row["block_size"]
    if block_size is None and blocks and concurrency and row["max_model_len"]:
        block_size = _block_size(blocks, concurrency, row["max_model_len"])
    if tokens is None and blocks is not None and block_size is not None:
        tokens = blocks * block_size
    if tokens is None and found.engine == "sglang" and "states" not in own:
        tokens = least("pool_tokens")
    kv = least("kv")
    if found.engine == "sglang" and "states" in own:
        # Its pools hold states beside keys and values.
        kv = None if kv is None else round(kv + own["states"], 2)
    return {
        "weights_gib_per_gpu": weights,
        "activation_peak_gib": activation,
        "non_torch_gib": non_torch,
        "cuda_graph_gib": of("graphs"),
        "kv_cache_gib_per_gpu": kv,
        "num_gpu_blocks": None if blocks is None else int(blocks),
        "kv_cache_tokens": None if tokens is None else int(tokens),
        "max_concurrency": concurrency,
        "block_size": block_size,
    }


def _deciding(found: StartUp) -> dict[str, float]:
    """The figures of the rank with least left, else of the one with most weights."""
    figured = [figures for rank, figures in found.ranks.items() if "weights" in figures or rank]
    with_cache = [f for f in figured if "kv" in f]
    if with_cache:
        return min(with_cache, key=lambda f: f["kv"])
    return max(figured, key=lambda f: f.get("weights", 0.0), default={})


def _block_size(blocks: float, concurrency: float, length: int) -> int | None:
    sizes = [2**power for power in range(11)]
    fitting = [s for s in sizes if abs(blocks * s / length - concurrency) <= 0.00501]
    return fitting[0] if len(fitting) == 1 else None


def _derived(row: dict[str, Any]) -> None:
    gib, tokens = row["kv_cache_gib_per_gpu"], row["kv_cache_tokens"]
    if gib and tokens:
        row["derived_kv_bytes_per_token_per_gpu"] = round(gib * 2**30 / tokens)
    parts = [row[key] for key in ("weights_gib_per_gpu", "activation_peak_gib", "non_torch_gib",
                                  "kv_cache_gib_per_gpu")]  # fmt: skip
    total, share = row["gpu_total_gib"], row["gpu_memory_utilization"]
    if total and share and all(part is not None for part in parts):
        row["derived_budget_residual_gib"] = round(total * share - sum(parts), 2)


def _notes(found: StartUp) -> Iterator[str]:
    free = number(found.said.get("free_gib"))
    if free is not None:
        yield f"free at start {free:g} GiB"
    if found.failure[1]:
        yield found.failure[1]
    named = [rank for rank, figures in found.ranks.items() if "weights" in figures]
    if len(named) > 1:
        sizes = [found.ranks[rank]["weights"] for rank in named]
        yield f"{len(named)} ranks, weights {min(sizes):g} to {max(sizes):g} GiB"
    if found.said.get("speculative"):
        yield "speculative decoding"
    yield from found.notes
