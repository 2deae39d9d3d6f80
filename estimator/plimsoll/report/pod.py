"""What a pod needs beside GPUs, in sentences with their reasons, and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.pod import Share
from plimsoll.units import ceil_div, ceil_mib, counted, gib_up

if TYPE_CHECKING:
    from plimsoll.decision.pod import PodNeeds

_SHARES: Final = {
    Share.PROCESSES: "the engine's processes",
    Share.SHARED: "/dev/shm",
    Share.OFFLOADED: "weights that are offloaded",
    Share.MEDIA: "caches of images",
    Share.OFF_GPU: "layers that stay off the GPU",
}


def pod_reasons(needs: PodNeeds) -> tuple[str, ...]:
    """One sentence for each need, without a full stop."""
    parts = " + ".join(f"{gib_up(size)} for {_SHARES[share]}" for share, size in needs.memory)
    found = [f"memory {gib_up(needs.memory_bytes)} = {parts}"]
    if needs.needs_shared:
        ranks = f"{needs.ranks} ranks that exchange data there"
        by = "the engine's own documentation" if needs.own_shared else ranks
        found.append(f"/dev/shm {gib_up(needs.shared)}: {by}; a container has 64 MiB otherwise")
    found.append(
        f"CPU {needs.cpus}: a process for each of {counted(needs.ranks, 'GPU')}, "
        "and those beside them"
    )
    if needs.checkpoint is None or needs.disk is None or needs.start is None:
        found.append("disk and time to start: not known, as the size of the checkpoint is not")
        return tuple(found)
    size = gib_up(needs.checkpoint)
    found.append(
        f"disk {gib_up(needs.disk, 0)}: a checkpoint of {size}, tokenizer and compilers' caches"
    )
    said = "assumed" if needs.assumed else "given"
    found.append(
        f"time to start {needs.start} s: {size} at {needs.rate / 1e6:,.0f} MB/s ({said}) + "
        f"{needs.fixed} s to compile, capture graphs and warm up"
    )
    return tuple(found)


def pod_dict(needs: PodNeeds) -> dict[str, Any]:
    """The needs as Kubernetes quantities, each rounded up, with the reasons."""
    found: dict[str, Any] = {"memory": ceil_mib(needs.memory_bytes), "cpu": str(needs.cpus)}
    if needs.needs_shared:
        found["sharedMemory"] = ceil_mib(needs.shared)
    if needs.disk is not None and needs.start is not None:
        found["storage"] = f"{ceil_div(needs.disk, 1 << 30)}Gi"
        found["startSeconds"] = needs.start
    return {**found, "reasons": list(pod_reasons(needs))}
