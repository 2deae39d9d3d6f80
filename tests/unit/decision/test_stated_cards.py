"""Claims about cards that nobody lists, and whose memory a request states."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from commands import as_json, run
from decision_builders import cluster, pool
from plimsoll.accelerators.catalogue import find
from plimsoll.accelerators.own import read
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Capacity, Decision, Reason, Verdict
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.units import GIB
from plimsoll.workloads.llmdeployment import NoDocuments, request
from worded import problems_in, warnings_in

if TYPE_CHECKING:
    from pathlib import Path

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
    assert rebuilt.placement is not None
    assert rebuilt.accelerator == "nvidia-rtx-4090"
    assert decided(allowed=["nvidia-rtx-4090"]).decision is Decision.DENY


ABOVE = "a memory of {} is stated, and the table has 24564Mi for nvidia-rtx-4090"


def test_a_memory_beyond_the_tables_is_told_and_allows_nothing_that_the_table_would_not() -> None:
    found = decided(allowed=["nvidia-rtx-4090"], memory="96Gi", computeCapability="8.9")
    assert (found.decision, found.reason) == (Decision.WARN, Reason.UNKNOWN_ACCELERATOR)
    (told,) = warnings_in(found)
    assert told.startswith("spec.accelerator.memory: " + ABOVE.format("98304Mi"))
    assert "label nvidia.com/gpu.memory" in told
    assert "leave the stated memory out" in told


@pytest.mark.parametrize(
    "accelerator",
    [
        {"allowed": ["nvidia-l4"]},
        {"allowed": ["NVIDIA L4"]},
        {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        {"nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
        {
            "allowed": ["nvidia-h200-141gb"],
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
        },
        {"allowed": ["acme-x1"], "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
    ],
)
def test_no_way_of_naming_a_card_lets_any_memory_be_said_of_it(accelerator: dict[str, Any]) -> None:
    found = decided(memory="9999Gi", **accelerator)
    assert found.decision is Decision.WARN
    assert any("the table has 23034Mi for nvidia-l4" in told for told in warnings_in(found))


def test_three_per_cent_above_the_table_is_a_card_of_the_table() -> None:
    table = 24564
    below, above = (
        decided(allowed=["nvidia-rtx-4090"], memory=f"{mib}Mi")
        for mib in (table * 103 // 100, table * 103 // 100 + 1)
    )
    assert warnings_in(below) == ()
    assert [ABOVE.format("25301Mi") in told for told in warnings_in(above)] == [True]


def test_what_fits_on_the_tables_card_stays_allowed_and_is_told() -> None:
    """A split that only the stated memory holds is none of the table's."""
    found = decided(allowed=["nvidia-h100-80gb"], memory="90Gi")
    assert (found.decision, found.reason) == (Decision.ALLOW, Reason.ENOUGH_MEMORY)
    assert "the table has 81559Mi for nvidia-h100-80gb" in warnings_in(found)[0]
    planned = decided(allowed=["nvidia-l4"], memory="96Gi", gpusPerReplica=None)
    assert planned.placement is not None
    assert (planned.placement.parallelism.gpus, planned.decision) == (1, Decision.WARN)


def test_a_name_for_cards_of_two_sizes_may_be_stated_as_the_larger() -> None:
    assert warnings_in(decided(allowed=["A100"], memory="80Gi")) == ()
    assert warnings_in(decided(allowed=["A100"], memory="96Gi")) != ()


def test_nodes_that_report_the_stated_memory_are_believed() -> None:
    card = find("nvidia-rtx-4090")
    assert card is not None
    rebuilt = cluster(pool(replace(card, memory=96 * GIB)))
    found = decided(rebuilt, allowed=["nvidia-rtx-4090"], memory="96Gi")
    assert (found.decision, warnings_in(found)) == (Decision.ALLOW, ())
    others = decided(cluster(pool(card)), allowed=["nvidia-rtx-4090"], memory="96Gi")
    assert others.decision is Decision.WARN


def test_a_card_that_somebody_added_by_the_product_of_a_listed_one_is_told_too() -> None:
    entry = {"name": "big-l4", "memory": "9999Gi", "products": ["NVIDIA-L4"]}
    own, problems = read({"accelerators": [entry, {"name": "acme-x1", "memory": "96Gi"}]})
    assert problems == ()
    found = decided(replace(NO_INVENTORY, own=own), allowed=["big-l4"])
    assert (found.decision, found.reason) == (Decision.WARN, Reason.UNKNOWN_ACCELERATOR)
    (told,) = warnings_in(found)
    assert told.startswith("spec.accelerator.allowed[0]: a memory of 10238976Mi")
    new = decided(replace(NO_INVENTORY, own=own), allowed=["acme-x1"])
    assert (new.decision, warnings_in(new)) == (Decision.ALLOW, ())


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.10.0
        args: [--model=Qwen/Qwen2.5-32B-Instruct, --max-model-len=8192]
        resources: {limits: {nvidia.com/gpu: 1}}
"""
OWN_KIND = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat}
spec:
  model: {uri: "hf://Qwen/Qwen2.5-32B-Instruct"}
  engine: {maxModelLen: 8192}
  accelerator: {allowed: [nvidia-l4], gpusPerReplica: 1}
"""


@pytest.mark.parametrize("manifest", [OWN_KIND, DEPLOYMENT])
def test_the_command_line_warns_of_a_memory_that_the_card_has_not(
    tmp_path: Path, manifest: str
) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(manifest)
    assert run("check", path).exit_code == 1
    listed, told = (run("check", path, "--gpu-memory", size) for size in ("23.1GiB", "9999GiB"))
    assert "is stated" not in listed.output
    assert listed.exit_code == 1
    assert told.exit_code == 0, told.output
    assert run("check", path, "--gpu-memory", "9999GiB", "--fail-on", "warn").exit_code == 1
    document = as_json("check", path, "--gpu-memory", "9999GiB")
    assert document["results"][0]["decision"] == "warn"
    sarif = json.loads(run("check", path, "--gpu-memory", "9999GiB", "-o", "sarif").stdout)
    assert "PL153" in {result["ruleId"] for result in sarif["runs"][0]["results"]}
    assert "the table has 23034Mi for nvidia-l4" in told.output


def test_an_estimate_warns_of_a_memory_that_the_card_has_not() -> None:
    asked = ("estimate", "Qwen/Qwen2.5-32B-Instruct", "--gpu", "nvidia-l4", "--gpu-memory")
    said = run(*asked, "9999GiB").output
    assert "warning: spec.accelerator.memory: a memory of 10238976Mi is stated" in said
    assert "if the GPU has the memory that is said of it" in said
    assert "is stated" not in run(*asked, "23.1GiB").output


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
