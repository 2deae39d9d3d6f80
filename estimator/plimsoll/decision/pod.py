"""The whole pod around an engine: host memory, /dev/shm, disk, CPU and the time that a start takes.

With r ranks in a pod (GPUs of one node), c copies of the model in it (data parallelism), and the
figures of `data/pod.json`, each with its source there:

    /dev/shm  = 64 MiB                                 one rank: what a container has anyway
              = the engine's own figure, or            several ranks
                collectives + queue + r x answers
    memory    = r x process + /dev/shm + r x offloaded weights
              + media caches x (1 + c)                 a model that takes images
              + the checkpoint                         where layers stay off the GPU
    disk      = the checkpoint + what lies beside it   of every pod: each reads all of it
    CPU       = r + servers + c x engine cores (+ a coordinator where c > 1)
    start     = the checkpoint / read rate + 600 s

A need is rounded up. Page cache is in none of them: the kernel gives it back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.findings import Rule
from plimsoll.models.storage import stored_bytes
from plimsoll.units import GIB, MIB, ceil_div

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict
    from plimsoll.models.architecture import Model

_DATA: Final = Path(__file__).parent / "data" / "pod.json"
DEFAULT_BITS: Final = 16
"""Bits of a parameter of which nothing is known."""


class Share(StrEnum):
    """What host memory is needed for."""

    PROCESSES = "processes"
    SHARED = "shared"
    OFFLOADED = "offloaded"
    MEDIA = "media"
    OFF_GPU = "off-gpu"


@dataclass(frozen=True, slots=True)
class PodNeeds:
    """What one pod of a replica needs beside GPUs.

    ranks: GPUs of the pod. memory: bytes by what they are for. shared: bytes at /dev/shm, which
    are in memory too. own_shared: whether the engine's own page says so, else it is a sum.
    checkpoint: bytes; None if nothing is known of it, and `disk` and `start` neither.
    disk: bytes. cpus: whole ones. rate: bytes per second that the checkpoint is read with;
    assumed: whether nobody said that rate. start: seconds until it must answer.
    """

    ranks: int
    memory: tuple[tuple[Share, int], ...]
    shared: int
    own_shared: bool
    checkpoint: int | None
    disk: int | None
    cpus: int
    rate: int
    assumed: bool
    fixed: int
    start: int | None

    @property
    def memory_bytes(self) -> int:
        """Host memory of the pod."""
        return sum(size for _, size in self.memory)

    @property
    def needs_shared(self) -> bool:
        """Whether it needs more at /dev/shm than a container has anyway."""
        alone: int = _figures()["alone"]["bytes"]
        return self.shared > alone


@cache
def _figures() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_DATA.read_text("utf-8"))
    return data


def checkpoint_bytes(model: Model) -> int | None:
    """Bytes of the weights as they are stored; None if not even the number of them is known."""
    if model.architecture is not None:
        return stored_bytes(model.architecture)
    if model.parameters is None:
        return None
    bits = DEFAULT_BITS if model.bits is None else model.bits
    return ceil_div(int(model.parameters * bits), 8)


def pod_needs(request: Request, verdict: Verdict, rate: int | None = None) -> PodNeeds | None:
    """What each pod of a verdict's placement needs beside GPUs; None without a placement.

    rate: bytes per second with which a pod reads the checkpoint; None: as assumed.
    """
    placement = verdict.placement
    if placement is None:
        return None
    figures, own = _figures(), _figures()["engines"].get(request.engine.name)
    own = own or figures["engines"]["generic"]
    ranks = placement.gpus_per_node
    copies = ceil_div(placement.parallelism.data, placement.nodes_per_replica)
    shared, documented = _shared(figures, own, ranks)
    checkpoint = checkpoint_bytes(verdict.model)
    memory = [
        (Share.PROCESSES, own["process"]["bytes"] * (1 if own.get("single") else ranks)),
        (Share.SHARED, shared),
        (Share.OFFLOADED, (request.engine.cpu_offload or 0) * ranks),
        (Share.MEDIA, _media(request, verdict.model, own) * (1 + copies)),
        (Share.OFF_GPU, (checkpoint or 0) if _off_gpu(verdict) else 0),
    ]
    cpus = own["cpus"]
    fixed: int = figures["seconds"]["seconds"]
    read = rate or figures["read"]["bytes_per_second"]
    beside: int = figures["beside_weights"]["bytes"]
    return PodNeeds(
        ranks=ranks,
        memory=tuple((share, size) for share, size in memory if size),
        shared=shared,
        own_shared=documented,
        checkpoint=checkpoint,
        disk=None if checkpoint is None else _to_gib(checkpoint + beside),
        cpus=ranks
        + cpus["beside_ranks"]
        + copies * cpus["each_copy"]
        + (cpus["coordinator"] if copies > 1 else 0),
        rate=read,
        assumed=rate is None,
        fixed=fixed,
        start=None if checkpoint is None else fixed + ceil_div(checkpoint, read),
    )


def _shared(figures: dict[str, Any], own: dict[str, Any], ranks: int) -> tuple[int, bool]:
    """Bytes at /dev/shm, and whether the engine's own page says so."""
    if ranks == 1 or own.get("single"):
        return figures["alone"]["bytes"], False
    if "shared" in own:
        return own["shared"]["bytes"], True
    size = figures["collectives"]["bytes"]
    size += own.get("queue", {}).get("bytes", 0) + ranks * own.get("answers", {}).get("bytes", 0)
    return ceil_div(size, 256 * MIB) * 256 * MIB, False


def _media(request: Request, model: Model, own: dict[str, Any]) -> int:
    """Bytes of one cache of images; 0 for a model, or a request, without any."""
    takes = model.architecture is not None and model.architecture.multimodal
    none = request.engine.images == 0 and not request.engine.videos
    return own["media"]["bytes"] if takes and not none and "media" in own else 0


def _off_gpu(verdict: Verdict) -> bool:
    """Whether layers stay in host memory whose size nobody counted."""
    notes = verdict.estimate.notes if verdict.estimate is not None else ()
    return any(note.rule is Rule.MAIN_MEMORY_NOT_COUNTED for note in notes)


def _to_gib(size: int) -> int:
    return ceil_div(size, GIB) * GIB
