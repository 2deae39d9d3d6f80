"""A measured row beside its prediction, and what of its inputs is missing.

It must not predict or judge: `plimsoll.measured` does both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.measured import rows, score
from plimsoll.measured.logs.row import KEYS
from plimsoll.measured.models import Configs
from plimsoll.models import catalogue

if TYPE_CHECKING:
    from plimsoll.measured.score import Scored
    from plimsoll.models.architecture import Architecture

NO_MODEL: Final = "the structure of the model is not known"
_MODEL: Final = "--model or --config"
_ADD: Final = {
    "model": _MODEL, "config_id": _MODEL, "weights_format": _MODEL, "gpu": "--gpu",
    "gpu_total_gib": "--gpu",
}  # fmt: skip
"""Options of the command that fill in what a log does not say."""
_WORDS: Final = {
    "model": "the model", "gpu": "the GPU", "engine_version": "the engine's version",
    "gpu_memory_utilization": "the memory utilization", "max_model_len": "the context length",
    "max_num_seqs": "the number of sequences", "max_num_batched_tokens": "the tokens of a batch",
    "enforce_eager": "whether CUDA graphs are on", "kv_cache_dtype": "the dtype of the KV cache",
    "tensor_parallel": "the tensor-parallel size",
}  # fmt: skip
_AT_DEFAULT: Final = frozenset(
    {"gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
     "enforce_eager", "kv_cache_dtype"}
)  # fmt: skip
"""Inputs that need not be said where the log prints every argument that is not default."""


def scored(row: dict[str, Any], architecture: Architecture | None) -> Scored:
    """The row beside its prediction; without an architecture every term says why it has none."""
    configs = Configs()
    name = row.get("config_id")
    if architecture is not None and isinstance(name, str):
        configs.made[name] = architecture
    found = score.score_row(rows.row_of(row, str(row.get("id"))), configs)
    if architecture is None:
        return replace(found, left_out=dict.fromkeys(found.left_out, NO_MODEL))
    return found


def missing(row: dict[str, Any], architecture: Architecture | None) -> str:
    """One sentence on the inputs that the log does not say; empty where it says all."""
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
        near = catalogue.load().suggest(model.rstrip("/").rpartition("/")[2], 1)
        like = f" (--model {near[0]}?)" if near else ""
        parts.append(f"the structure of {model} is not known: add {_MODEL}{like}")
    return "; ".join(parts)


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
