"""One start-up of a log as a measured row, null if unsaid, and beside its prediction.

It must not guess: a value is in the log, given by the user, or follows from the log by arithmetic:

    rank               of several the one with the least left for the KV cache, which decides; what
                       it did not print is the most that another printed (the least, for the cache)
    activation         peak_torch_memory - weights, if the log has only the peak (0.6.4)
    non-torch          consumed memory - weights, if the log has only the sum (0.25 on)
    GPU memory         graphs' estimate / (utilization - the one that the engine's advice says is
                       the same without it), if one kind of GPU alone has that much
    block size, V0     the power of two at which blocks x size / length is the concurrency printed
    tokens, V0         blocks x block size
    weights_format     ``none`` if the log says that nothing is quantized, or if the config that is
                       compared with is the checkpoint's own
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators import catalogue as accelerators
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.measured import log_vllm, rows, score
from plimsoll.measured.models import Configs
from plimsoll.measured.printed import number, whole, yes_or_no
from plimsoll.models import catalogue
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.measured.log_lines import StartUp
    from plimsoll.measured.score import Scored
    from plimsoll.models.architecture import Architecture


KEYS: Final = (
    "id", "engine", "engine_version", "model", "config_id", "architecture_family", "family_group",
    "gpu", "gpu_group", "gpu_total_gib", "num_gpus", "tensor_parallel", "pipeline_parallel",
    "data_parallel", "expert_parallel", "dtype", "quantization", "quant_group", "weights_format",
    "kv_cache_dtype", "block_size", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
    "gpu_memory_utilization", "enforce_eager", "other_args", "weights_gib_per_gpu",
    "activation_peak_gib", "non_torch_gib", "cuda_graph_gib", "cuda_graph_estimate_gib",
    "kv_cache_gib_per_gpu", "num_gpu_blocks", "kv_cache_tokens", "max_concurrency",
    "derived_budget_residual_gib",
    "derived_kv_bytes_per_token_per_gpu", "outcome", "trust", "inferred_fields", "unit_note",
    "notes", "source_url",
)  # fmt: skip
_SIZES: Final = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size")
_SPLIT: Final = ("tensor_parallel", "pipeline_parallel", "data_parallel")
_BUDGET: Final = (
    "weights_gib_per_gpu",
    "activation_peak_gib",
    "non_torch_gib",
    "kv_cache_gib_per_gpu",
)
"""What shares the memory that the engine may use."""
_HUB_CACHE: Final = re.compile(r"models--([\w.-]+?)--([\w.-]+?)(?:/|$)")
_HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
_SGLANG_FEATURES: Final = frozenset(
    {
        "speculative_algorithm",
        "lora_paths",
        "cpu_offload_gb",
        "disaggregation_mode",
        "dcp_size",
        "moe_a2a_backend",
        "ep_num_redundant_experts",
        "kt_weight_path",
        "dllm_algorithm",
        "json_model_override_args",
        "hisparse_config",
    }
)
"""SGLang's arguments with a value that touch memory once they are not as `_SGLANG_OFF` has them."""
_SGLANG_OFF: Final = (None, "null", "none", "{}", 1)
_UNITS: Final = {"vllm": "GiB, also where the log prints GB", "sglang": "GB in the log is GiB"}


@dataclass(frozen=True, slots=True)
class Filled:
    """What the user says that the log does not.

    model: its name, if the log has none. config_id: what its structure is kept under.
    as_config: the config that it is compared with is the checkpoint's own.
    """

    model: str = ""
    config_id: str = ""
    gpu: str = ""
    as_config: bool = False


def row_of(start_up: StartUp, name: str, filled: Filled = Filled()) -> dict[str, Any]:
    """The row of a start-up. name: what to call it."""
    stated = log_vllm.inputs(start_up) if start_up.engine == "vllm" else dict(start_up.said)
    row: dict[str, Any] = dict.fromkeys(KEYS)
    model = str(stated.get("model") or "") or filled.model
    quantization = stated.get("quantization")
    unquantized = quantization == log_vllm.UNQUANTIZED
    row |= {
        "id": name,
        "engine": start_up.engine,
        "engine_version": _version(stated),
        "model": model or None,
        "config_id": filled.config_id or hub_name(model) or None,
        "architecture_family": stated.get("architecture_family"),
        "gpu": filled.gpu or stated.get("gpu"),
        "dtype": _word(stated.get("dtype")),
        "quantization": _word(quantization),
        "weights_format": "none" if filled.as_config or unquantized else None,
        "kv_cache_dtype": _word(stated.get("kv_cache_dtype")),
        "gpu_memory_utilization": number(
            stated.get("gpu_memory_utilization", stated.get("share_rounded"))
        ),
        "enforce_eager": yes_or_no(stated.get("enforce_eager")),
        "expert_parallel": yes_or_no(stated.get("expert_parallel")),
        "other_args": other_args(start_up) if start_up.whole else None,
        "outcome": _outcome(start_up),
        "trust": "A-full-log",
        "inferred_fields": [],
        "unit_note": _UNITS.get(start_up.engine),
        "source_url": None,
    }
    row |= {key: whole(stated.get(key)) for key in (*_SIZES, *_SPLIT)}
    _split(row)
    row |= _measured(start_up, row)
    row["gpu_total_gib"] = _total(stated, row["cuda_graph_estimate_gib"])
    _derived(row)
    row["notes"] = "; ".join(_notes(start_up)) or None
    return row


def hub_name(model: str) -> str:
    """The id on a hub that a model's name or path says: a hub's cache, an id, or a path that ends
    in one that is known, or in the name of one alone; empty for any other path.
    """
    cached = _HUB_CACHE.search(model)
    if cached:
        return f"{cached[1]}/{cached[2]}"
    known = catalogue.load()
    # ModelScope writes a point as three underscores.
    parts = [part for part in model.replace("___", ".").split("/") if part not in ("", ".", "..")]
    ending = "/".join(parts[-2:])
    if known.find(ending) is not None:
        return ending
    if _HUB_NAME.fullmatch(model) and not model.startswith("."):
        return model
    alike = known.named(parts[-1]) if parts else None
    return alike.id if alike is not None else ""


def _total(stated: dict[str, Any], estimate: float | None) -> float | None:
    """GiB of one GPU: as printed, else the one amount that GPUs have and the advice allows."""
    printed = number(stated.get("gpu_total_gib"))
    share = stated.get("share_of_graphs")
    if printed is not None or not estimate or not share:
        return printed
    off = _ROUNDED_GIB / estimate + _ROUNDED_SHARE / share
    known = {round(visible_memory(a) / GIB, 2) for a in accelerators.full_gpus()}
    near = [total for total in known if abs(total * share / estimate - 1) <= off]
    return near[0] if len(near) == 1 else None


_ROUNDED_GIB: Final = 0.005
_ROUNDED_SHARE: Final = 0.0001
"""By how much the two figures of the engine's advice are rounded, at most."""
_SIZE: Final = re.compile(r"(?<![a-z0-9.])(?:\d+x)?(\d+(?:\.\d+)?)([bmt])(?![a-z0-9])")


def _sizes(name: str) -> frozenset[str]:
    """The numbers of parameters in a model's name (``30b`` of ``Qwen3-30B-A3B``)."""
    return frozenset(match[0] for match in _SIZE.finditer(name.lower()))


def _version(stated: dict[str, Any]) -> str | None:
    """The version; the second engine before it was the default is said to be that."""
    version = str(stated.get("engine_version") or "")
    early = re.match(r"0\.[67]\.", version)
    return f"{version} (V1)" if early and stated.get("v1") else version or None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value and value.lower() != "none" else None


def _outcome(start_up: StartUp) -> str:
    if start_up.failure[0]:
        return start_up.failure[0]
    return "ok" if start_up.started else "unknown"


def _split(row: dict[str, Any]) -> None:
    sizes = [row[key] for key in _SPLIT]
    if all(size is not None for size in sizes):
        row["num_gpus"] = sizes[0] * sizes[1] * sizes[2]


def other_args(start_up: StartUp) -> dict[str, object]:
    """The arguments that touch memory; a key, a host or a name of a user's own is none of them."""
    kept = dict(_memory_args(start_up))
    return {name: _plain(value) for name, value in sorted(kept.items())}


def _memory_args(start_up: StartUp) -> Iterator[tuple[str, object]]:
    from plimsoll.engines.flags import FlagRole, FlagShape

    if start_up.engine == "vllm":
        from plimsoll.engines.vllm.arguments import GRAMMAR as grammar
    else:
        from plimsoll.engines.sglang.settings import GRAMMAR as grammar
    for name, value in start_up.args.items():
        flag, _ = grammar.find("--" + name.replace("_", "-"))
        touches = flag.role not in (FlagRole.HARMLESS, FlagRole.MODEL, FlagRole.UNKNOWN)
        if start_up.engine != "vllm":
            feature = name in _SGLANG_FEATURES and value not in _SGLANG_OFF
            switch = (
                value is True and flag.role is FlagRole.MEMORY and flag.shape is FlagShape.SWITCH
            )
            touches = flag.role in (FlagRole.FIELD, FlagRole.OPTION) or feature or switch
        if touches:
            yield name, value


def _plain(value: object) -> object:
    """A value that JSON can hold: mappings as JSON text, as a command line has them."""
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, (list, tuple)):
        return [item if isinstance(item, (str, int, float)) else str(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _measured(start_up: StartUp, row: dict[str, Any]) -> dict[str, Any]:
    """The figures of the rank that decides, and what the engine says of all ranks."""
    ranks = start_up.ranks
    deciding = _deciding(start_up)

    def of(name: str) -> float | None:
        values = [figures[name] for figures in ranks.values() if name in figures]
        return deciding.get(name, max(values, default=None))

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
    if tokens is None and start_up.engine == "sglang" and "states" not in deciding:
        tokens = least("pool_tokens")
    kv = least("kv")
    if start_up.engine == "sglang" and "states" in deciding:
        # Its pools hold states beside keys and values.
        kv = None if kv is None else round(kv + deciding["states"], 2)
    return {
        "weights_gib_per_gpu": weights,
        "activation_peak_gib": activation,
        "non_torch_gib": non_torch,
        "cuda_graph_gib": of("graphs"),
        "cuda_graph_estimate_gib": of("graphs_estimate"),
        "kv_cache_gib_per_gpu": kv,
        "num_gpu_blocks": None if blocks is None else int(blocks),
        "kv_cache_tokens": None if tokens is None else int(tokens),
        "max_concurrency": concurrency,
        "block_size": block_size,
    }


def _deciding(start_up: StartUp) -> dict[str, float]:
    """The figures of the rank with least left, else of the one with most weights."""
    figured = [figures for rank, figures in start_up.ranks.items() if "weights" in figures or rank]
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
    parts = [row[key] for key in _BUDGET]
    total, share = row["gpu_total_gib"], row["gpu_memory_utilization"]
    if total and share and all(part is not None for part in parts):
        row["derived_budget_residual_gib"] = round(total * share - sum(parts), 2)


def _notes(start_up: StartUp) -> Iterator[str]:
    free = number(start_up.said.get("free_gib"))
    if free is not None:
        yield f"free at start {free:g} GiB"
    if start_up.failure[1]:
        yield start_up.failure[1]
    named = [rank for rank, figures in start_up.ranks.items() if "weights" in figures]
    if len(named) > 1:
        sizes = [start_up.ranks[rank]["weights"] for rank in named]
        yield f"{len(named)} ranks, weights {min(sizes):g} to {max(sizes):g} GiB"
    if start_up.said.get("speculative"):
        yield "speculative decoding"
    yield from start_up.notes


NO_MODEL: Final = "the structure of the model is not known"
_MODEL: Final = "--model or --config"
_ADD: Final = {
    "model": _MODEL,
    "config_id": _MODEL,
    "weights_format": _MODEL,
    "gpu": "--gpu",
    "gpu_total_gib": "--gpu",
}
"""Options of the command that fill in what a log does not say."""
_WORDS: Final = {
    "model": "the model",
    "gpu": "the GPU",
    "engine_version": "the engine's version",
    "gpu_memory_utilization": "the memory utilization",
    "max_model_len": "the context length",
    "max_num_seqs": "the number of sequences",
    "max_num_batched_tokens": "the tokens of a batch",
    "enforce_eager": "whether CUDA graphs are on",
    "kv_cache_dtype": "the dtype of the KV cache",
    "tensor_parallel": "the tensor-parallel size",
}
_AT_DEFAULT: Final = frozenset(
    {
        "gpu_memory_utilization",
        "max_model_len",
        "max_num_seqs",
        "max_num_batched_tokens",
        "enforce_eager",
        "kv_cache_dtype",
    }
)
"""Inputs that need not be said if the log prints every argument that is not default."""


def scored(row: dict[str, Any], architecture: Architecture | None) -> Scored:
    """The row beside its prediction; without an architecture every term says why it has none."""
    configs = Configs()
    name = row.get("config_id")
    if architecture is not None and isinstance(name, str):
        configs.made[name] = architecture
    scored_row = score.score_row(rows.row_of(row, str(row.get("id"))), configs)
    if architecture is None:
        return replace(scored_row, left_out=dict.fromkeys(scored_row.left_out, NO_MODEL))
    return scored_row


def missing(row: dict[str, Any], architecture: Architecture | None) -> str:
    """One sentence on the inputs that the log does not say; empty if it says all."""
    lacking = [key for key in _WORDS if key in KEYS and row.get(key) is None]
    if row.get("other_args") is not None:
        lacking = [key for key in lacking if key not in _AT_DEFAULT]
    if row.get("engine") == "sglang":
        lacking = [key for key in lacking if key != "max_num_seqs"]
    parts = []
    if lacking:
        options = list(dict.fromkeys(_ADD[key] for key in lacking if key in _ADD))
        words = _joined([_WORDS[key] for key in lacking])
        add = f": add {_joined(options)}" if options else ""
        parts.append(f"the log does not say {words}{add}")
    if architecture is None and row.get("model"):
        model = str(row["model"])
        name = model.rstrip("/").rpartition("/")[2]
        near = [one for one in catalogue.load().suggest(name) if _sizes(name) <= _sizes(one)]
        like = f" (--model {near[0]}?)" if near else ""
        parts.append(f"the structure of {model} is not known: add {_MODEL}{like}")
    return "; ".join(parts)


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
