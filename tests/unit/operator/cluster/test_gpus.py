"""What is known of who takes GPUs: what it takes to know it, and whose answers it may change."""

from __future__ import annotations

import time
from typing import Any

from controlplane.nodes import gpu_node
from plimsoll.inventory.facts import Asked
from plimsoll.inventory.held import Claim
from plimsoll_operator.cluster.gpus import Freed, GpuNodes

GPU = "nvidia.com/gpu"
H100 = "nvidia-h100-80gb"


def pod(name: str, node: str, gpus: int, phase: str = "Running") -> dict[str, Any]:
    container = {"name": "a", "resources": {"limits": {GPU: str(gpus)}}}
    return {
        "metadata": {"namespace": "team", "name": name},
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": phase},
    }


def known(*nodes: str) -> GpuNodes:
    found = GpuNodes()
    for node in nodes:
        found.put(gpu_node(node, "h100-80gb"))
    found.pods_are_read(True)
    found.settle()
    return found


def left(gpus: GpuNodes) -> dict[int, int]:
    """How many nodes have so many free GPUs, once pods have settled; empty if nobody knows."""
    gpus.settle_free()
    (pool,) = gpus.inventory.pools
    return dict(pool.free or ())


def claimed(gpus: GpuNodes) -> list[str]:
    gpus.settle_free()
    return [claim.name for claim in gpus.inventory.claims]


def test_a_pod_changes_the_answers_of_what_is_placed_on_its_kind_of_gpu_alone() -> None:
    gpus = known("h0", "h1")
    version = gpus.version
    assert gpus.free.put(pod("a", "h0", 8))
    assert not gpus.free.put(pod("a", "h0", 8))
    assert not gpus.free.put(pod("web", "h0", 0))
    assert gpus.settle_free() == Freed(frozenset({H100}))
    assert not gpus.settle_free()
    assert gpus.freed_at(H100, "team") == gpus.turn == 1
    assert gpus.freed_at("nvidia-l4", "team") == 0
    assert not gpus.settle()
    assert gpus.version == version
    assert left(gpus) == {0: 1, 8: 1}
    assert gpus.free.put(pod("a", "h0", 8, phase="Succeeded"))
    assert left(gpus) == {8: 2}
    assert len(gpus.free) == 0


def asking(name: str, node: str, memory: str) -> dict[str, Any]:
    """A pod without a GPU that asks for so much memory."""
    made = pod(name, node, 0)
    made["spec"]["containers"] = [{"resources": {"requests": {"memory": memory, "cpu": "100m"}}}]
    return made


def test_what_all_pods_of_a_node_ask_for_is_kept_and_a_large_one_is_news() -> None:
    gpus = known("h0", "h1")
    assert not gpus.free.put(asking("agent", "h0", "100Mi"))  # counts with the next change
    assert not gpus.settle_free()
    assert gpus.free.put(asking("batch", "h0", "64Gi"))
    assert not gpus.free.put(asking("batch", "h0", "64Gi"))
    assert gpus.settle_free() == Freed(frozenset({H100}))
    asked = {fact.name: fact.asked for fact in gpus.inventory.facts}
    assert asked["h0"] == Asked(cpu=200, memory=(64 << 30) + (100 << 20), pods=2)
    assert asked["h1"] == Asked()
    assert gpus.free.put(asking("batch", "h1", "64Gi"))
    assert gpus.free.drop(("team", "batch"))
    assert not gpus.free.drop(("team", "batch"))
    gpus.settle_free()
    left_over = {fact.name: fact.asked for fact in gpus.inventory.facts}
    assert left_over == {"h0": Asked(cpu=100, memory=100 << 20, pods=1), "h1": Asked()}


def test_a_pod_that_is_known_before_its_node_counts_once_that_is_there() -> None:
    gpus = known("h0")
    gpus.free.put(pod("a", "h1", 3))
    gpus.settle_free()
    gpus.put(gpu_node("h1", "h100-80gb"))
    assert gpus.settle()
    assert left(gpus) == {5: 1, 8: 1}


def test_placements_come_in_their_turn_and_go() -> None:
    gpus = known("h0")
    late = Claim("team/a", "2026-02-01", H100, GPU, 1, 8, ())
    early = Claim("team/b", "2026-01-01", H100, GPU, 1, 8, ())
    for claim in (late, early):
        assert gpus.free.claim(("team", claim.name[-1]), claim)
        assert not gpus.free.claim(("team", claim.name[-1]), claim)
    assert gpus.settle_free() == Freed(frozenset({H100}))
    assert claimed(gpus) == ["team/b", "team/a"]
    assert gpus.free.claim(("team", "b"), None)
    assert claimed(gpus) == ["team/a"]


def test_nobody_knows_what_is_free_while_pods_may_not_be_read() -> None:
    gpus = known("h0")
    assert left(gpus) == {8: 1}
    assert gpus.pods_are_read(False)
    assert gpus.settle()
    assert left(gpus) == {}


def test_ten_thousand_pods_take_few_bytes_and_microseconds_each() -> None:
    import tracemalloc

    gpus = known(*(f"n{n}" for n in range(50)))
    pods = [pod(f"train-{n}", f"n{n % 50}", 1) for n in range(10_000)]
    tracemalloc.start()
    started = time.process_time()
    for one in pods:
        gpus.free.put(one)
    each = (time.process_time() - started) / len(pods)
    taken = tracemalloc.get_traced_memory()[0] / len(pods)
    tracemalloc.stop()
    assert taken < 1200, f"{taken:.0f} bytes a pod"
    assert each < 0.001, f"{each * 1e6:.0f} us a pod, traced"


def test_gpus_of_a_driver_count_whichever_of_node_slice_and_claim_comes_first() -> None:
    bare = gpu_node("d0", "h100-80gb", count=0)
    attributes = {"productName": {"string": "NVIDIA H100 80GB HBM3"}, "type": {"string": "gpu"}}
    capacity = {"memory": {"value": "81559Mi"}}
    names = [{"name": f"gpu-{n}", "attributes": attributes, "capacity": capacity} for n in "01"]
    pool = {"name": "d0", "generation": 1}
    page = {
        "spec": {"driver": "gpu.nvidia.com", "nodeName": "d0", "pool": pool, "devices": names},
    }
    result = {"driver": "gpu.nvidia.com", "pool": "d0", "device": "gpu-1"}
    claim = {
        "metadata": {"namespace": "team", "name": "c"},
        "status": {"allocation": {"devices": {"results": [result]}}},
    }
    for first in ("node", "slice", "claim"):
        gpus = GpuNodes()
        gpus.pods_are_read(True)
        steps = {
            "node": lambda known=gpus: known.put(bare),
            "slice": lambda known=gpus: known.slice("s", page),
            "claim": lambda known=gpus: known.free.use(("team", "c"), claim),
        }
        for step in (first, *(name for name in steps if name != first)):
            assert steps[step]()
            gpus.settle()
            gpus.settle_free()
        assert left(gpus) == {1: 1}
        assert not gpus.slice("s", page)
        assert gpus.free.use(("team", "c"), None)
        assert left(gpus) == {2: 1}
        assert gpus.slice("s", None)
        gpus.settle()
        assert gpus.inventory.pools == ()
        assert gpus.inventory.set_aside[0].node == "d0"
