"""Claims about cards that nobody lists, and whose memory a request states."""

from __future__ import annotations

from typing import Any

import pytest

from decision_builders import cluster, pool
from plimsoll.accelerators.catalogue import find
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Capacity, Decision, Reason, Verdict
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.units import GIB
from plimsoll.workloads.llmdeployment import NoDocuments, request
from worded import problems_in, warnings_in

QWEN = "hf://Qwen/Qwen2.5-32B-Instruct"


def decided(inventory: Inventory = NO_INVENTORY, **accelerator: Any) -> Verdict:
    """What is decided on a model of 32B with that accelerator in its spec."""
    spec = {
        "model": {"uri": QWEN},
        "engine": {"maxModelLen": 8192},
        "accelerator": {"gpusPerReplica": 1, **accelerator},
    }
    return decide(request({"metadata": {"name": "a"}, "spec": spec}, NoDocuments()), inventory)


def test_a_card_is_stated_by_its_memory_alone() -> None:
    assert decided(memory="96Gi").decision is Decision.ALLOW
    small = decided(memory="48Gi")
    assert (small.decision, small.reason) == (Decision.DENY, Reason.NOT_ENOUGH_MEMORY)
    assert small.accelerator == "stated"


def test_the_memory_of_a_stated_card_is_the_drivers_and_an_engine_sees_less() -> None:
    found = decided(memory="96Gi")
    assert found.estimate is not None
    assert 95 * GIB < found.estimate.physical < 96 * GIB


def test_a_stated_memory_stands_for_the_one_of_the_name() -> None:
    rebuilt = decided(allowed=["nvidia-rtx-4090"], memory="96Gi", computeCapability="8.9")
    assert rebuilt.decision is Decision.ALLOW
    assert rebuilt.accelerator == "nvidia-rtx-4090"
    assert decided(allowed=["nvidia-rtx-4090"]).decision is Decision.DENY


def test_a_name_that_no_table_has_can_be_stated_and_is_then_no_doubt() -> None:
    found = decided(allowed=["acme-x1"], memory="96Gi", computeCapability="9.0")
    assert (found.decision, found.accelerator) == (Decision.ALLOW, "acme-x1")
    assert warnings_in(found) == ()


def test_what_is_assumed_of_a_stated_card_is_said() -> None:
    (told,) = warnings_in(decided(memory="96Gi"))
    assert "spec.accelerator.computeCapability" in told
    assert '"9.0"' in told
    assert '"8.6"' in warnings_in(decided(memory="48Gi"))[0]


def test_a_card_of_amds_is_stated_by_its_family() -> None:
    found = decided(memory="96Gi", family="rdna4")
    assert found.placement is not None
    assert found.placement.resource == "amd.com/gpu"


def test_a_misfit_by_less_than_what_a_driver_keeps_is_not_certain() -> None:
    verdicts = [decided(memory=f"{mib}Mi", computeCapability="9.0") for mib in
                range(68_000, 82_000, 200)]  # fmt: skip
    decisions = [v.decision for v in verdicts]
    assert decisions[0] is Decision.DENY
    assert decisions[-1] is Decision.ALLOW
    near = verdicts[max(i for i, d in enumerate(decisions) if d is Decision.DENY)]
    assert near.estimate is not None
    assert near.short_by > 500 * 1024 * 1024


@pytest.mark.parametrize(
    ("accelerator", "path"),
    [
        ({"memory": "20Gi", "allowed": ["nvidia-l4", "nvidia-t4"]}, "spec.accelerator.memory"),
        ({"computeCapability": "8.9"}, "spec.accelerator.computeCapability"),
        ({"family": "hopper"}, "spec.accelerator.family"),
        ({"memory": "47.5Gi"}, "spec.accelerator.memory"),
    ],
)
def test_what_contradicts_itself_is_refused_at_its_field(
    accelerator: dict[str, Any], path: str
) -> None:
    found = decided(**accelerator)
    assert found.reason is Reason.INVALID_SPEC
    assert [p.path for p in problems_in(found)] == [path]


def test_a_stated_card_is_placed_on_nodes_of_its_memory_alone() -> None:
    h100, a100 = find("nvidia-h100-nvl"), find("nvidia-h200-141gb")
    assert h100 is not None
    assert a100 is not None
    nodes = cluster(pool(a100), pool(h100))
    found = decided(nodes, memory="95830Mi")
    assert found.capacity is Capacity.AVAILABLE
    assert found.placement is not None
    assert found.placement.accelerator == "nvidia-h100-nvl"
    assert decided(nodes, memory="200Gi").capacity is Capacity.NO_NODES
