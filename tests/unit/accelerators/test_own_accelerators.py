"""Accelerators that a file or a ConfigMap adds: the same names and verdicts everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from commands import run
from plimsoll.accelerators.own import read
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Capacity, Decision, Reason
from plimsoll.errors import PlimsollError
from plimsoll.inventory.nodes import read_nodes
from plimsoll.inventory.pools import NO_INVENTORY, with_own
from plimsoll.units import GIB
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll_operator.cluster.gpus import GpuNodes
from plimsoll_operator.cluster.own import accelerators, config_map_named

if TYPE_CHECKING:
    from pathlib import Path

ENTRY: dict[str, Any] = {"name": "acme-x1", "memory": "95.5GiB", "products": ["NVIDIA-ACME-X1"]}
TEXT = """
accelerators:
- {name: acme-x1, memory: 95.5GiB, products: [NVIDIA-ACME-X1]}
"""
SPEC = {
    "model": {"uri": "hf://Qwen/Qwen2.5-32B-Instruct"},
    "engine": {"maxModelLen": 8192},
    "accelerator": {"allowed": ["acme-x1"], "gpusPerReplica": 1},
}
NODE = {
    "kind": "Node",
    "metadata": {
        "name": "n",
        "labels": {"nvidia.com/gpu.product": "NVIDIA-ACME-X1", "nvidia.com/gpu.memory": "97792"},
    },
    "status": {
        "capacity": {"nvidia.com/gpu": "8"},
        "allocatable": {"nvidia.com/gpu": "8"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


def asked() -> Any:
    """A request on the card."""
    return request({"metadata": {"name": "a"}, "spec": SPEC}, NoDocuments())


def test_a_card_that_is_added_is_decided_on_as_one_of_the_table() -> None:
    own, problems = read({"accelerators": [ENTRY]})
    assert problems == ()
    assert own[0].memory == int(95.5 * GIB)
    found = decide(asked(), with_own(NO_INVENTORY, own))
    assert (found.decision, found.accelerator) == (Decision.ALLOW, "acme-x1")
    assert decide(asked()).reason is Reason.UNKNOWN_ACCELERATOR


def test_the_hash_of_a_request_says_that_cards_were_added() -> None:
    own, _ = read({"accelerators": [ENTRY]})
    larger, _ = read({"accelerators": [{**ENTRY, "memory": "96GiB"}]})
    hashes = {decide(asked(), with_own(NO_INVENTORY, o)).request_hash for o in ((), own, larger)}
    assert len(hashes) == 3


def test_nodes_with_the_product_of_an_added_card_are_nodes_with_that_card() -> None:
    own, _ = read({"accelerators": [ENTRY]})
    found = decide(asked(), with_own(read_nodes([NODE]), own))
    assert found.capacity is Capacity.AVAILABLE
    assert found.placement is not None
    assert dict(found.placement.node_selector) == {"nvidia.com/gpu.product": "NVIDIA-ACME-X1"}


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"name": "Acme X1"}, "name"),
        ({"name": "nvidia-l4"}, "name"),
        ({"name": "4090"}, "name"),
        ({"memory": "lots"}, "memory"),
        ({"memory": 95}, "memory"),
        ({"computeCapability": "8"}, "computeCapability"),
        ({"products": "X1"}, "products"),
        ({"gpusPerNode": 0}, "gpusPerNode"),
        ({"resource": "example.com/gpu"}, "resource"),
        ({"vram": "95GiB"}, "vram"),
    ],
)
def test_an_entry_that_cannot_be_read_is_told_of_and_the_others_count(
    entry: dict[str, Any], place: str
) -> None:
    good = {"name": "acme-x2", "memory": "40Gi"}
    own, problems = read({"accelerators": [{**ENTRY, **entry}, good]})
    assert [card.name for card in own] == ["acme-x2"]
    assert [p.path for p in problems] == [f"accelerators[0].{place}"]


@pytest.mark.parametrize("data", [None, [], "x", {"accelerators": {}}, {"accelerators": [3]}])
def test_what_is_no_list_of_accelerators_is_told_of(data: object) -> None:
    own, problems = read(data)
    assert own == ()
    assert problems


def test_the_command_line_takes_cards_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(TEXT)
    asked = ["estimate", "Qwen/Qwen2.5-32B-Instruct", "--gpu", "acme-x1", "--max-model-len", "8192"]
    done = run(*asked, "--accelerators", file)
    assert done.exit_code == 0, done.output
    assert "1 x acme-x1 per replica" in done.output
    file.write_text("accelerators: [{name: acme-x1}]")
    bad = run(*asked, "--accelerators", file)
    assert bad.exit_code == 2
    assert "accelerators[0].memory" in bad.output


def test_both_processes_know_the_cards_of_the_config_map() -> None:
    nodes = GpuNodes()
    nodes.put(NODE)
    nodes.settle()
    assert nodes.add(accelerators({"data": {"accelerators.yaml": TEXT}}))
    assert nodes.settle()
    assert [p.accelerator.name for p in nodes.inventory.pools] == ["acme-x1"]
    assert nodes.inventory.own[0].name == "acme-x1"
    assert nodes.add(())
    assert nodes.settle()
    assert nodes.inventory.own == ()
    assert [p.accelerator.name for p in nodes.inventory.pools] == ["nvidia-acme-x1"]


@pytest.mark.parametrize("data", [{}, {"accelerators.yaml": "{"}, {"accelerators.yaml": "[]"}])
def test_a_config_map_that_cannot_be_read_adds_nothing(data: dict[str, str]) -> None:
    assert accelerators({"data": data}) == ()


def test_the_setting_names_a_config_map() -> None:
    assert config_map_named("") is None
    assert config_map_named("plimsoll/cards") == ("plimsoll", "cards")
    for bad in ("cards", "/cards", "a/", "a/b/c"):
        with pytest.raises(PlimsollError, match="namespace/name"):
            config_map_named(bad)


def test_nodes_without_gpus_tell_how_nodes_to_come_are_asked_for() -> None:
    nodes = GpuNodes()
    plain = {"metadata": {"name": "c", "labels": {"cloud.google.com/gke-nodepool": "p"}}}
    assert nodes.put(plain)
    assert nodes.settle()
    assert str(nodes.inventory.speaks) == "gke"
    assert not nodes.put(plain)
    assert nodes.drop("c")
    assert nodes.settle()
    assert nodes.inventory.speaks is None
