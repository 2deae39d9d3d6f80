"""Claims about where a replica is placed, on an engine of plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_builders import (
    A100,
    BIG,
    GFD,
    H100,
    H200,
    L4,
    SLICE,
    SMALL,
    PlainEngine,
    cluster,
    gpu,
    model,
    on,
    pool,
    request,
    world,
)
from plimsoll.accelerators.types import Dialect, Labels
from plimsoll.decision.decide import decide
from plimsoll.decision.request import Prefer
from plimsoll.decision.splits import layout
from plimsoll.decision.verdict import Capacity, Decision, Placement, Reason, Verdict
from plimsoll.engines.base import Parallelism
from plimsoll.inventory.facts import NodeFacts, Offer
from plimsoll.inventory.pools import NO_INVENTORY, Inventory, SetAside, pools
from plimsoll.report.nodes import nodes_message, placement_reason
from worded import problems_in, warnings_in

if TYPE_CHECKING:
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request


def verdict(
    of: Request, inventory: Inventory = NO_INVENTORY, knowledge: Knowledge | None = None
) -> Verdict:
    return decide(of, inventory, knowledge=knowledge or world())


def placed(of: Request, inventory: Inventory = NO_INVENTORY) -> Placement:
    found = verdict(of, inventory).placement
    assert found is not None
    return found


def test_the_smallest_count_that_fits_is_planned_and_says_why_not_less() -> None:
    p = placed(on(L4))
    assert (p.gpus_per_replica, p.parallelism) == (8, Parallelism(8))
    assert placement_reason(p) == "smallest count that fits: 4 is short by 17.0 GiB per GPU, 8 fits"


def test_one_gpu_is_planned_if_one_is_enough() -> None:
    p = placed(on(H100, model=SMALL))
    assert p.gpus_per_replica == 1
    assert placement_reason(p).startswith("1 fits, with ")


def test_a_model_too_large_for_a_node_is_spread_over_whole_nodes() -> None:
    p = placed(on(L4, model=model(parameters=180_000_000_000)))
    assert p.parallelism == Parallelism(tensor=8, pipeline=3)
    assert (p.gpus_per_node, p.nodes_per_replica, p.gpus_per_replica) == (8, 3, 24)
    assert "16 is short by" in placement_reason(p)


def test_fewest_gpus_win_and_then_least_memory() -> None:
    assert placed(request(max_model_len=32768)).accelerator == "nvidia-h200"
    assert placed(request(SMALL, max_model_len=8192)).accelerator == "nvidia-l4"


def test_what_a_request_prefers_chooses_among_placements_that_fit() -> None:
    nodes = cluster(pool(A100, 2), pool(H200, 2), pool(L4, 2))
    of = on(A100, H200, L4)
    fewest = placed(of, nodes)
    assert (fewest.gpus_per_replica, fewest.accelerator) == (2, "nvidia-h200")
    smallest = placed(replace(of, wanted=replace(of.wanted, prefer=Prefer.SMALLEST)), nodes)
    assert (smallest.gpus_per_replica, smallest.accelerator) == (8, "nvidia-l4")
    for first in (A100, H200, L4):
        names = (first.name, *(a.name for a in (H200, L4, A100) if a is not first))
        wanted = replace(of.wanted, prefer=Prefer.FIRST_AVAILABLE, allowed=names)
        assert placed(replace(of, wanted=wanted), nodes).accelerator == first.name
        gone = cluster(*(pool(a, 2) for a in (A100, H200, L4) if a is not first))
        assert placed(replace(of, wanted=wanted), gone).accelerator == names[1]


def test_the_order_of_names_is_in_the_hash_only_if_it_means_something() -> None:
    def hashed(prefer: Prefer, *names: str) -> str:
        of = on(*names)
        wanted = replace(of.wanted, prefer=prefer)
        return verdict(replace(of, wanted=wanted)).request_hash

    both = (A100.name, H200.name)
    assert hashed(Prefer.SMALLEST, *both) == hashed(Prefer.SMALLEST, *reversed(both))
    first = Prefer.FIRST_AVAILABLE
    assert hashed(first, *both) != hashed(first, *reversed(both))


@given(
    st.sampled_from(Prefer),
    st.lists(st.sampled_from([A100, H100, H200, L4]), min_size=1, max_size=4, unique=True),
    st.integers(1, 400),
    st.integers(1024, 65536),
)
def test_no_other_candidate_is_better_by_what_is_preferred(
    prefer: Prefer, kinds: list[Any], billions: int, length: int
) -> None:
    of = on(*kinds, model=model(parameters=billions * 10**9), max_model_len=length)
    of = replace(of, wanted=replace(of.wanted, prefer=prefer))
    chosen = verdict(of).placement
    if chosen is None:
        return
    memory = {a.name: a.memory for a in kinds}
    ranks = {a.name: n for n, a in enumerate(kinds)}

    def cost(p: Placement) -> tuple[int, ...]:
        total = p.gpus_per_replica * memory[p.accelerator]
        if prefer is Prefer.SMALLEST:
            return (total, p.gpus_per_replica)
        first = (ranks[p.accelerator],) if prefer is Prefer.FIRST_AVAILABLE else ()
        return (*first, p.gpus_per_replica, total)

    for kind in kinds:
        alone = verdict(replace(of, wanted=replace(of.wanted, allowed=(kind.name,))))
        if alone.decision == "allow" and alone.placement is not None:
            assert cost(chosen) <= cost(alone.placement)


def test_pools_win_over_accelerators_that_the_cluster_does_not_have() -> None:
    p = placed(request(max_model_len=32768), cluster(pool(A100, 2), pool(L4, 2)))
    assert p.accelerator == "nvidia-a100-80gb"
    assert p.node_selector == ((GFD, "NVIDIA-A100-80GB"),)
    assert p.tolerations == (("nvidia.com/gpu", "Exists", "", "NoSchedule"),)
    assert p.resource == "nvidia.com/gpu"


def test_a_pool_with_too_few_nodes_is_taken_only_if_no_other_holds_it() -> None:
    small_nodes = pool(A100, nodes=1, gpus=2)
    of = request(max_model_len=32768)
    assert placed(of, cluster(small_nodes, pool(L4, 1))).accelerator == "nvidia-l4"
    alone = verdict(of, cluster(small_nodes))
    assert alone.placement is not None
    assert alone.placement.accelerator == "nvidia-a100-80gb"
    assert alone.placement.nodes_per_replica == 2
    assert alone.capacity is Capacity.TOO_FEW
    assert nodes_message(alone).startswith("2 nodes needed, 1 match")


def test_of_equal_pools_the_one_whose_nodes_are_ready_wins_then_the_name() -> None:
    other = replace(A100, name="nvidia-a100-80gb-b", labels=())
    of = request(max_model_len=32768)
    assert placed(of, cluster(pool(A100, ready=0), pool(other))).accelerator == other.name
    assert placed(of, cluster(pool(other), pool(A100))).accelerator == A100.name


def test_no_node_that_holds_it_is_no_refusal_and_names_labels_and_nearest_nodes() -> None:
    aside = SetAside("gpu-7", "its labels contradict its capacity")
    found = verdict(on(H200, tensor=1, model=SMALL), cluster(pool(L4), set_aside=(aside,)))
    assert found.decision == "allow"
    assert found.capacity is Capacity.NO_NODES
    assert found.placement is not None
    assert found.placement.node_selector == ()
    assert f"{GFD}=NVIDIA-H200" in nodes_message(found)
    assert "nvidia-l4-0" in nodes_message(found)
    assert "not among spec.accelerator.allowed" in nodes_message(found)
    assert "gpu-7 set aside: its labels contradict its capacity" in nodes_message(found)


def test_a_pool_that_is_too_small_says_by_how_much() -> None:
    found = verdict(request(max_model_len=32768, tensor=1), cluster(pool(L4)))
    assert "does not fit" not in nodes_message(found)
    assert found.decision == "deny"
    fits = verdict(request(max_model_len=32768, tensor=2), cluster(pool(L4)))
    assert fits.capacity is Capacity.NO_NODES
    assert "2 GPUs are short by" in nodes_message(fits)


def test_an_empty_cluster_says_that_it_has_no_gpu_node() -> None:
    found = verdict(on(H100), cluster())
    assert found.decision == "allow"
    assert "the cluster has no GPU node" in nodes_message(found)


def test_a_users_node_selector_chooses_among_pools_and_stays_in_the_selector() -> None:
    east = pool(A100, labels=frozenset({("zone", "east")}))
    west = pool(A100, labels=frozenset({("zone", "west")}), node_names=("west-0",))
    p = placed(on(A100, node_selector=(("zone", "west"),)), cluster(east, west))
    assert p.node_selector == ((GFD, "NVIDIA-A100-80GB"), ("zone", "west"))
    none = verdict(on(A100, node_selector=(("zone", "north"),)), cluster(east, west))
    assert none.capacity is Capacity.NO_NODES
    assert "lacks the label zone=north" in nodes_message(none)


def test_min_memory_leaves_out_smaller_accelerators() -> None:
    p = placed(request(SMALL, max_model_len=8192, min_memory=80 << 30))
    assert p.accelerator == "nvidia-a100-80gb"


def test_taints_of_trouble_and_preference_are_not_tolerated_and_values_are_kept() -> None:
    taints = (
        ("dedicated", "llm", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "", "NoExecute"),
        ("soft", "", "PreferNoSchedule"),
        ("nvidia.com/gpu", "true", "NoExecute"),
    )
    asked = (("dedicated", "Equal", "llm", ""),)
    p = placed(on(A100, tolerations=asked), cluster(pool(A100, taints=taints)))
    assert p.tolerations == (
        ("dedicated", "Equal", "llm", "NoSchedule"),
        ("nvidia.com/gpu", "Exists", "", "NoExecute"),
    )


def test_there_is_no_tensor_parallelism_across_slices() -> None:
    tiny = model("acme/tiny", parameters=500_000_000, layers=16)
    assert placed(on(SLICE, model=tiny, max_model_len=2048)).gpus_per_replica == 1
    found = verdict(on(SLICE, model=tiny, tensor=2))
    assert [p.path for p in problems_in(found)] == ["spec.engine.parallelism.tensor"]
    assert "MIG" in problems_in(found)[0].wanted


def test_what_a_user_gives_is_checked_as_it_stands() -> None:
    p = placed(on(A100, tensor=8))
    assert (p.gpus_per_replica, p.parallelism) == (8, Parallelism(8))
    assert verdict(on(H100, tensor=1)).decision == "deny"
    both = placed(on(L4, tensor=4, pipeline=4))
    assert (both.gpus_per_replica, both.nodes_per_replica) == (16, 2)


def test_a_tensor_that_fills_the_node_leaves_the_pipeline_to_be_planned() -> None:
    large = model(parameters=180_000_000_000)
    assert placed(on(L4, model=large, tensor=8)).parallelism == Parallelism(8, 3)
    assert verdict(on(L4, model=large, tensor=4)).decision == "deny"


def test_a_count_of_gpus_is_split_exactly_tensor_first() -> None:
    assert placed(on(A100, gpus_per_replica=4)).parallelism == Parallelism(4)
    assert placed(on(L4, gpus_per_replica=24)).parallelism == Parallelism(8, 3)
    assert placed(on(A100, gpus_per_replica=8, data=2)).parallelism == Parallelism(4, 1, 2)
    assert placed(on(A100, gpus_per_replica=8, pipeline=2)).parallelism == Parallelism(4, 2)


def test_gpus_that_no_split_uses_are_a_warning_and_not_silent() -> None:
    of = on(H200, model=model(layers=2, heads=2, kv_heads=2), gpus_per_replica=7)
    found = verdict(of)
    assert found.placement is not None
    assert found.placement.gpus_per_replica == 4
    assert any("3 of 7 GPUs would be idle" in text for text in warnings_in(found))


def test_data_parallel_multiplies_gpus_and_totals_count_replicas() -> None:
    p = placed(on(A100, data=2, replicas=3))
    assert (p.gpus_per_replica, p.total_gpus) == (8, 24)
    assert p.parallelism == Parallelism(4, 1, 2)


def test_replicas_that_share_a_node_need_no_node_each() -> None:
    of = on(A100, replicas=2)
    assert verdict(of, cluster(pool(A100))).capacity is Capacity.AVAILABLE
    assert verdict(replace(of, replicas=3), cluster(pool(A100))).capacity is Capacity.TOO_FEW


def test_an_accelerator_on_which_the_engine_does_not_start_is_left_out() -> None:
    engine = PlainEngine(refuses=frozenset({"nvidia-h200"}))
    found = decide(on(A100, H200), knowledge=world(engine))
    assert found.placement is not None
    assert found.placement.accelerator == "nvidia-a100-80gb"
    none = decide(on(H200), knowledge=world(engine))
    (problem,) = problems_in(none)
    assert str(problem).startswith('spec.engine.dtype: Invalid value: "x": float16: ')


def test_no_pipeline_is_planned_for_an_engine_that_has_none() -> None:
    large = on(L4, model=model(parameters=180_000_000_000))
    found = decide(large, knowledge=world(PlainEngine(stages=False)))
    assert found.decision == "deny"
    assert found.short_by > 0


@pytest.mark.parametrize(
    ("split", "per_node", "wanted"),
    [
        (Parallelism(4), 8, (4, 1)),
        (Parallelism(8, 3), 8, (8, 3)),
        (Parallelism(4, 4), 8, (8, 2)),
        (Parallelism(4, 3), 8, (4, 3)),
        (Parallelism(16), 8, (8, 2)),
        (Parallelism(1, 5), 8, (5, 1)),
        (Parallelism(2, 1, 8), 8, (8, 2)),
    ],
)
def test_a_replica_takes_as_few_equal_nodes_as_keep_a_tensor_group_whole(
    split: Parallelism, per_node: int, wanted: tuple[int, int]
) -> None:
    assert layout(split, per_node) == wanted


REQUESTS = st.builds(
    lambda b, kv, length, seqs, gpus, names: request(
        model(parameters=b * 10**9, kv_heads=kv),
        max_model_len=length,
        concurrent=seqs,
        gpus_per_replica=gpus,
        allowed=names,
    ),
    st.integers(1, 900),
    st.sampled_from([1, 4, 8, 64]),
    st.integers(1, 200_000),
    st.none() | st.integers(1, 500),
    st.none() | st.integers(1, 64),
    st.sampled_from([(), (A100.name,), (L4.name, H200.name)]),
)


@given(REQUESTS)
def test_an_allowed_placement_holds_the_need_with_its_error(of: Request) -> None:
    found = verdict(of, cluster(pool(A100, 4), pool(L4, 9)))
    if found.decision == "allow":
        assert found.placement is not None
        assert found.estimate is not None
        assert found.estimate.required_high <= found.estimate.usable
        assert found.placement.parallelism == found.estimate.parallelism
        p = found.placement
        assert p.gpus_per_node * p.nodes_per_replica == p.gpus_per_replica


@pytest.mark.sweep
@given(REQUESTS.filter(lambda r: r.wanted.gpus_per_replica is None))
def test_no_smaller_count_of_the_same_accelerator_fits(of: Request) -> None:
    found = verdict(of)
    if found.placement is None or found.decision != "allow":
        return
    engine, kind = PlainEngine(), world().by_name[found.placement.accelerator]
    assert of.model.architecture is not None
    for tensor in (1, 2, 4, 8):
        for pipeline in range(1, 81):
            split = Parallelism(tensor, pipeline)
            if split.gpus < found.placement.gpus_per_replica and (pipeline == 1 or tensor == 8):
                e = engine.estimate(of.model.architecture, of.engine, of.workload, split, kind)
                assert e.required_high > e.usable


@given(REQUESTS, st.integers(1, 100_000))
def test_more_memory_never_turns_an_allowed_request_into_a_refused_one(
    of: Request, more: int
) -> None:
    larger = tuple(replace(a, memory=a.memory + (more << 20)) for a in world().accelerators)
    if verdict(of).decision == "allow":
        assert decide(of, knowledge=world(table=larger)).decision == "allow"


def test_pools_of_an_accelerator_that_the_table_does_not_know_are_planned_on() -> None:
    new = gpu("nvidia-n1", 200_000)
    assert placed(on("nvidia-n1"), cluster(pool(new))).accelerator == "nvidia-n1"
    for nodes in (cluster(), cluster(pool(new)), cluster(pool(A100))):
        found = verdict(on("nvidia-n1"), nodes)
        assert (found.decision, found.reason) == (Decision.WARN, Reason.UNKNOWN_ACCELERATOR)
    short = verdict(on("nvidia-n1", gpus_per_replica=1), cluster(pool(gpu("nvidia-n1", 20_000))))
    assert short.decision is Decision.WARN


TEAM = ("dedicated", "team-a", "NoSchedule")
SPOT = ("cloud.google.com/gke-spot", "true", "NoSchedule")


@pytest.mark.parametrize(
    "taint",
    [
        ("nvidia.com/gpu", "present", "NoSchedule"),
        ("sku", "gpu", "NoSchedule"),
        ("dedicated", "gpu", "NoSchedule"),
        ("example.com/gpu", "true", "NoExecute"),
    ],
)
def test_a_taint_that_keeps_pods_without_a_gpu_off_is_tolerated(
    taint: tuple[str, str, str],
) -> None:
    p = placed(on(A100), cluster(pool(A100, taints=(taint,))))
    assert [key for key, *_ in p.tolerations] == [taint[0]]


@pytest.mark.parametrize("taint", [TEAM, SPOT, ("tritonOnly", "true", "NoExecute")])
def test_a_taint_for_others_is_never_tolerated_unasked(taint: tuple[str, str, str]) -> None:
    found = verdict(on(A100), cluster(pool(A100, taints=(taint,))))
    assert found.placement is not None
    assert found.placement.tolerations == ()
    assert found.capacity is Capacity.NO_NODES
    assert f"has the taint {taint[0]}={taint[1]}:{taint[2]}" in nodes_message(found)
    key, value, effect = taint
    for asked in ((key, "Equal", value, effect), (key, "Exists", "", ""), ("", "Exists", "", "")):
        p = placed(on(A100, tolerations=(asked,)), cluster(pool(A100, taints=(taint,))))
        assert p.tolerations == ((key, "Equal", value, effect),)


def test_nodes_that_are_ready_come_before_better_ones_that_are_not() -> None:
    cordoned, ready = pool(H100, 2, ready=0), pool(A100, 2)
    assert placed(on(), cluster(cordoned, ready)).accelerator == "nvidia-a100-80gb"
    assert placed(on(), cluster(cordoned)).accelerator == "nvidia-h100-80gb"


def test_nodes_that_stay_come_before_spot_nodes_of_fewer_gpus() -> None:
    spot = pool(H100, 2, labels=frozenset({("karpenter.sh/capacity-type", "spot")}))
    assert placed(on(), cluster(spot, pool(A100, 2))).accelerator == "nvidia-a100-80gb"
    assert placed(on(), cluster(spot)).accelerator == "nvidia-h100-80gb"


def test_nodes_to_come_are_asked_for_in_the_dialect_of_those_that_are_there() -> None:
    labels = (Labels(Dialect.GKE, (("cloud.google.com/gke-accelerator", "nvidia-a100-80gb"),)),)
    known = world(table=(replace(A100, labels=labels),))
    gke = replace(cluster(), speaks=Dialect.GKE)
    found = verdict(on(A100), gke, knowledge=known)
    assert found.placement is not None
    assert dict(found.placement.node_selector) == dict(labels[0].selector)
    elsewhere = verdict(on(A100), replace(cluster(), speaks=Dialect.EKS_AUTO), knowledge=known)
    assert elsewhere.placement is not None
    assert elsewhere.placement.node_selector == ()


def test_the_order_of_pools_and_names_changes_nothing() -> None:
    found = (pool(A100, 2), pool(H100), pool(L4, 3))
    first = verdict(on(A100, H100, L4), cluster(*found))
    second = verdict(on(L4, H100, A100), cluster(*found[::-1]))
    assert first.placement == second.placement
    assert first.request_hash == second.request_hash


def test_the_model_is_never_estimated_more_often_than_a_few_times_per_accelerator() -> None:
    engine = PlainEngine()
    many = tuple(gpu(f"gpu-{n}", 16384 + 4096 * n) for n in range(40))
    for b in (1, 8, 70, 405, 671):
        engine.calls = 0
        decide(request(model(parameters=b * 10**9)), knowledge=world(engine, many))
        assert engine.calls <= 60, b
    assert BIG.architecture is not None


def test_a_users_label_that_only_some_nodes_of_a_pool_carry_counts_those_nodes() -> None:
    def node(name: str, zone: str) -> NodeFacts:
        offer = Offer(A100, 8, Dialect.GFD, ((GFD, "A100"),))
        return NodeFacts(name, (offer,), frozenset({("zone", zone)}), (), ready=True)

    inventory = pools([node("a", "east"), node("b", "west"), node("c", "west")])
    assert len(inventory.pools) == 1
    west = verdict(on(A100, replicas=4, node_selector=(("zone", "west"),)), inventory)
    assert west.capacity is Capacity.AVAILABLE
    assert nodes_message(west).startswith("2 nodes match")
    east = verdict(on(A100, replicas=4, node_selector=(("zone", "east"),)), inventory)
    assert east.capacity is Capacity.TOO_FEW
    north = verdict(on(A100, node_selector=(("zone", "north"),)), inventory)
    assert north.capacity is Capacity.NO_NODES
    assert "(a and 2 more): lacks the label zone=north" in nodes_message(north)


def test_gpus_without_bfloat16_are_planned_on_only_if_they_are_named_or_there() -> None:
    old = gpu("nvidia-old-16gb", 16384, compute=(7, 5))
    tiny = model("acme/tiny", parameters=1_000_000_000, layers=16)
    tables = world(table=(old, L4))
    free, named = request(tiny, max_model_len=2048), on(old, model=tiny, max_model_len=2048)
    for of, inventory, wanted in (
        (free, NO_INVENTORY, L4),
        (named, NO_INVENTORY, old),
        (free, cluster(pool(old)), old),
    ):
        found = decide(of, inventory, knowledge=tables).placement
        assert found is not None
        assert found.accelerator == wanted.name
