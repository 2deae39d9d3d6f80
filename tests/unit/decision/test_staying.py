"""Claims about placements that stay: what moves them, what does not, and what is told instead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_builders import (
    A100,
    GFD,
    H100,
    H200,
    L4,
    PlainEngine,
    cluster,
    gpu,
    model,
    on,
    pool,
    request,
    world,
)
from plimsoll.decision.decide import decide
from plimsoll.decision.request import Prefer
from plimsoll.decision.staying import Kept
from plimsoll.decision.verdict import Capacity, Decision, Gain
from plimsoll.report.messages import better_message
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import PLACES

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Placement, Verdict
    from plimsoll.inventory.pools import Inventory

KINDS = (A100, H100, H200, L4)


def kept(placement: Placement) -> Kept:
    """A placement as the controller reads it from the status."""
    return Kept(
        placement.accelerator,
        placement.parallelism,
        placement.gpus_per_node,
        placement.node_selector,
        tuple((key, value, effect) for key, _, value, effect in placement.tolerations),
        placement.resource,
    )


def again(of: Request, before: Placement, inventory: Inventory) -> Verdict:
    return decide(of, inventory, knowledge=world(), kept=kept(before))


def first(of: Request, inventory: Inventory) -> Placement:
    found = decide(of, inventory, knowledge=world()).placement
    assert found is not None
    return found


POOLS = st.lists(
    st.builds(
        lambda kind, nodes, ready: pool(kind, nodes, ready=min(nodes, ready)),
        st.sampled_from(KINDS),
        st.integers(1, 4),
        st.integers(0, 4),
    ),
    max_size=5,
    unique_by=lambda one: one.accelerator.name,
)


@given(st.integers(1, 300), st.integers(1024, 65536), POOLS, st.lists(POOLS, max_size=6))
def test_whatever_nodes_come_go_and_flap_a_placement_on_nodes_stays(
    billions: int, length: int, start: list[object], changes: list[list[object]]
) -> None:
    of = request(model(parameters=billions * 10**9), max_model_len=length)
    before = decide(of, cluster(*start), knowledge=world())  # type: ignore[arg-type]
    if before.placement is None or not before.placement.on_nodes:
        return
    for pools in changes:
        after = again(of, before.placement, cluster(*pools))  # type: ignore[arg-type]
        assert after.placement == before.placement
        assert after.decision is before.decision
        assert after.request_hash == before.request_hash


def test_the_selector_and_tolerations_of_a_pool_that_sleeps_stay() -> None:
    before = first(on(H100, L4), cluster(pool(H100, 2)))
    asleep = again(on(H100, L4), before, cluster(pool(L4, 4)))
    assert asleep.placement is not None
    assert dict(asleep.placement.node_selector) == {GFD: "NVIDIA-H100-80GB"}
    assert asleep.placement.tolerations == (("nvidia.com/gpu", "Exists", "", "NoSchedule"),)
    assert asleep.capacity is Capacity.NO_NODES
    assert "0 match" in nodes_message(asleep)


def test_nodes_of_its_own_pool_are_counted_when_they_are_there() -> None:
    before = first(on(H100), cluster(pool(H100, 2)))
    there = again(on(H100), before, cluster(pool(H100, 3)))
    assert there.capacity is Capacity.AVAILABLE
    assert "3 nodes match" in nodes_message(there)


def test_what_no_longer_fits_or_no_longer_starts_moves() -> None:
    of = on(A100, H200)
    before = first(of, cluster(pool(A100, 2)))
    both = cluster(pool(A100, 2), pool(H200, 2))
    larger = replace(of, model=model(parameters=400_000_000_000))
    assert again(larger, before, both).placement != before
    strict = world(PlainEngine(refuses=frozenset({A100.name})))
    refused = decide(of, both, knowledge=strict, kept=kept(before))
    assert refused.placement is not None
    assert refused.placement.accelerator == H200.name


def test_a_pool_that_the_request_no_longer_allows_or_nobody_knows_is_not_kept() -> None:
    of = on(A100, H200)
    before = first(of, cluster(pool(A100, 2)))
    other = again(on(H200), before, cluster(pool(A100, 2)))
    assert other.placement is not None
    assert other.placement.accelerator == H200.name
    new = gpu("nvidia-n1", 200_000)
    on_new = first(request(max_model_len=32768), cluster(pool(new)))
    assert on_new.accelerator == "nvidia-n1"
    gone = again(request(max_model_len=32768), on_new, cluster(pool(A100, 2)))
    assert gone.placement is not None
    assert gone.placement.accelerator == A100.name


@pytest.mark.parametrize(
    ("prefer", "gain"),
    [
        (Prefer.FEWEST_GPUS, Gain.FEWER_GPUS),
        (Prefer.SMALLEST, None),
        (Prefer.FIRST_AVAILABLE, Gain.FEWER_GPUS),
    ],
)
def test_what_is_better_follows_from_what_is_preferred(prefer: Prefer, gain: Gain | None) -> None:
    of = on(H200, L4)
    of = replace(of, wanted=replace(of.wanted, prefer=prefer))
    before = first(of, cluster(pool(L4, 2)))
    found = again(of, before, cluster(pool(L4, 2), pool(H200)))
    assert found.placement == before
    assert (found.better.gain if found.better else None) is gain


def test_nothing_is_better_that_has_no_ready_nodes_or_may_not_fit() -> None:
    of = on(A100, H200)
    before = first(of, cluster(pool(A100, 2)))
    assert again(of, before, cluster(pool(A100, 2), pool(H200, ready=0))).better is None
    assert again(of, before, cluster(pool(A100, 2))).better is None


def test_an_accelerator_that_is_named_earlier_is_told_of_if_the_first_is_preferred() -> None:
    of = on(A100, H100)
    of = replace(of, wanted=replace(of.wanted, prefer=Prefer.FIRST_AVAILABLE))
    before = first(of, cluster(pool(H100, 2)))
    found = again(of, before, cluster(pool(H100, 2), pool(A100, 2)))
    assert found.better is not None
    assert found.better.gain is Gain.PREFERRED
    assert better_message(found.better, PLACES).startswith(
        "4 x nvidia-a100-80gb per replica would do"
    )


def test_one_that_may_only_fit_gives_way_to_one_that_surely_does() -> None:
    unsure = world(PlainEngine(error=0.1))
    of, nodes = on(A100, gpus_per_replica=2), cluster(pool(A100, 2))
    before = decide(of, nodes, knowledge=unsure)
    assert before.placement is not None
    assert before.decision is Decision.WARN
    stays = decide(of, nodes, knowledge=unsure, kept=kept(before.placement))
    assert stays.placement == before.placement
    either = on(A100, H200, gpus_per_replica=2)
    both = cluster(pool(A100, 2), pool(H200))
    sure = decide(either, both, knowledge=unsure, kept=kept(before.placement))
    assert sure.placement is not None
    assert sure.placement.accelerator == H200.name
