"""Asks AIConfigurator the questions on standard input and prints its answers, a line each.

It runs in an environment of its own (requirements/peers.lock), with nothing of Plimsoll's: see
`make peers` and `accuracy.asked`. What it refuses is an answer too, with its words.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from aiconfigurator_core.sdk.memory import estimate_kv_cache

GIB: Final = 1 << 30
LONGEST: Final = 240
"""Characters kept of a refusal."""
CACHE: Final = {"fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}


def asked(question: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What it says of one start-up: the model it ships, else the one in the folder."""
    (folder / "config.json").write_text(json.dumps(question["config"]), "utf-8")
    refused = ""
    for model in (question["model"], str(folder)):
        try:
            return _estimated(question, model)
        except Exception as error:  # whatever it raises is its answer
            refused = f"{type(error).__name__}: {error}".replace(str(folder), "config.json")
    return {"refused": refused[:LONGEST]}


def _estimated(question: dict[str, Any], model: str) -> dict[str, Any]:
    expert = question["tensor"] if question["expert"] else 1
    found = estimate_kv_cache(
        model,
        question["system"],
        "vllm",
        "current",
        max_num_tokens=question["tokens"],
        max_batch_size=question["sequences"],
        memory_fraction_kind="of_total",
        memory_fraction_value=question["share"],
        tp_size=question["tensor"],
        pp_size=question["pipeline"],
        moe_tp_size=question["tensor"] // expert,
        moe_ep_size=expert,
        kvcache_quant_mode=CACHE.get(question["kv_dtype"]),
        gpu_memory_capacity_bytes_override=question["memory"],
    )
    parts = found["memory_breakdown"]
    return {
        "weights": round(parts["weights_bytes"] / GIB, 4),
        "activation": round(parts["activations_bytes"] / GIB, 4),
        "cache": round(found["total_kv_size_bytes"] / GIB, 4),
        "tokens": found["total_kv_size_tokens"],
    }


def main() -> None:
    """Answer every question in order."""
    release = version("aiconfigurator-core")
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            question = json.loads(line)
            own = Path(folder, question["row"])  # it remembers a config by its path
            own.mkdir()
            answer = asked(question, own)
            said = {"row": question["row"], "asked": question["digest"], "release": release}
            print(json.dumps({**said, **answer}), flush=True)


if __name__ == "__main__":
    main()
