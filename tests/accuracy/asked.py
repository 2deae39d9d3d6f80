"""The questions that `make peers` asks AIConfigurator about the measured start-ups.

It prints a line for every start-up whose inputs are all known, whose model is stored as its config
says, and whose GPU AIConfigurator has tables of: the config, the GPU and its memory as the row's
machine reports it, the share of that, the split, and the tokens and sequences of a batch.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from accuracy.versus import cases
from plimsoll.models import catalogue
from plimsoll.models.storage import stored_bytes

if TYPE_CHECKING:
    from accuracy.peers import Case

SYSTEMS: Final = {
    "nvidia-a100-80gb": "a100_sxm",
    "nvidia-a100-40gb": "a100_sxm",
    "nvidia-h100-80gb": "h100_sxm",
    "nvidia-h200-141gb": "h200_sxm",
    "nvidia-b200": "b200_sxm",
    "nvidia-l4": "l4",
    "nvidia-l40s": "l40s",
    "nvidia-rtx-pro-6000": "rtx_pro_6000_server",
}
"""Its names of the GPUs that it has tables of."""


def questions() -> list[dict[str, Any]]:
    """One for each such start-up, by its row."""
    found: dict[str, dict[str, Any]] = {}
    for told in cases().values():
        question = _question(told.case)
        if question is not None:
            found[question["row"]] = question
    return [found[row] for row in sorted(found)]


def _question(case: Case) -> dict[str, Any] | None:
    start = case.start
    entry = catalogue.load().find(start.config_id) if start is not None else None
    if start is None or entry is None or not case.budget:
        return None
    system = SYSTEMS.get(start.accelerator.name)
    if system is None or stored_bytes(entry.architecture) != case.file:
        return None
    question = {
        "row": start.row,
        "model": start.config_id,
        "config": entry.config,
        "system": system,
        "memory": start.accelerator.memory,
        "share": round(case.budget / start.accelerator.memory, 6),
        "tensor": case.split.tensor,
        "pipeline": case.split.pipeline,
        "expert": case.split.expert,
        "tokens": start.tokens,
        "sequences": start.sequences,
        "kv_dtype": case.kv_dtype,
    }
    text = json.dumps(question, sort_keys=True)
    return {**question, "digest": hashlib.sha256(text.encode()).hexdigest()[:12]}


if __name__ == "__main__":
    for question in questions():
        print(json.dumps(question, separators=(",", ":")))
