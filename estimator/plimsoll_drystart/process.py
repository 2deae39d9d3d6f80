"""Make this process ready for the cases of one GPU: torch, NVML, the engine, its seams."""

from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING

from plimsoll_drystart import seams, torch_api, vllm_start

if TYPE_CHECKING:
    from plimsoll_drystart.card import Card
    from plimsoll_drystart.device import GPU0
    from plimsoll_drystart.memory import Memory

_BEFORE = (
    "torch._dynamo",
    "torch.distributed.tensor",
    "torch.testing._internal.distributed.fake_pg",
    "transformers.models.auto",
)
"""What asks for a GPU when it is imported is imported before there is one, and what is the same for
every GPU is imported once."""


def common() -> None:
    """Import what is the same for every GPU."""
    for name in _BEFORE:
        importlib.import_module(name)


def ready(card: Card, device: GPU0, memory: Memory) -> tuple[str, list[str]]:
    """Import the engine as on that GPU. Returns its version, and the seams that it lacks."""
    common()
    seams.before_import(card)
    importlib.import_module("vllm")
    seams.no_second_process()
    torch_api.install(card, memory)
    torch_api.silence_triton(card)
    seams.Bodies(device.bodies)
    version = vllm_start.prepare()
    moved = seams.after_import(card, device, version)
    gc.collect()
    gc.freeze()  # cases are forks: what is imported is not looked at again, and stays shared
    return version, moved
