"""Make this process ready for cases of one GPU: torch, NVML, the engine, its seams; in that order."""

from __future__ import annotations

import gc
import importlib

from plimsoll_drystart import seams, torch_api, vllm_start
from plimsoll_drystart.card import Card
from plimsoll_drystart.device import GPU0
from plimsoll_drystart.memory import Memory

_BEFORE = ("torch._dynamo", "torch.distributed.tensor", "torch.testing._internal.distributed.fake_pg")
"""What asks for a GPU when it is imported is imported before there is one."""


def ready(card: Card, device: GPU0, memory: Memory) -> tuple[str, list[str]]:
    """Import the engine as on that GPU. Returns its version, and the seams that it lacks."""
    for name in _BEFORE:
        importlib.import_module(name)
    importlib.import_module("vllm")
    seams.before_import(card)
    torch_api.install(card, memory)
    torch_api.silence_triton(card)
    seams.Bodies(device.bodies)
    version = vllm_start.prepare()
    moved = seams.after_import(card, device, version)
    gc.collect()
    gc.freeze()  # cases are forks: what is imported is not looked at again, and stays shared
    return version, moved
