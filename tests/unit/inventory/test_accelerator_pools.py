"""Pools that are declared: planned on while no node of them is there, and what they cost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import gpu_node
from commands import run
from plimsoll.decision.decide import decide
from plimsoll.decision.staying import Kept
from plimsoll.decision.verdict import Capacity, Nodes, Verdict
from plimsoll.findings import Finding, Rule
from plimsoll.inventory.declared import parse_price, read_pool
from plimsoll.inventory.pools import Pool, SetAside
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.report.as_data import placement_dict
from plimsoll.report.nodes import nodes_message
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll_operator.api.pool import AcceleratorPoolSpec

LLAMA_8B = "hf://meta-llama/Llama-3.1-8B-Instruct"


def pool(name: str, accelerator: str = "nvidia-l40s", gpus: int = 4, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "AcceleratorPool",
        "metadata": {"name": name},
        "spec": {"accelerator": accelerator, "gpusPerNode": gpus, **spec},
    }


def decided(items: list[dict[str, Any]], *, was: Kept | None = None, **accelerator: Any) -> Verdict:
    """What is decided on. was: where it was placed before."""
    spec = {
        "model": {"uri": LLAMA_8B},
        "engine": {"maxModelLen": 8192},
        "accelerator": accelerator,
    }
    asked = request({"metadata": {"name": "m"}, "spec": spec}, NoDocuments())
    return decide(asked, from_dict({"kind": "List", "items": items}), kept=was)


def test_a_pool_without_a_node_is_planned_on_with_its_labels_and_taints() -> None:
    taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    asleep = pool("l40s", labels={"pool": "l40s"}, taints=taints, maxNodes=4)
    found = decided([asleep], allowed=["nvidia-l40s"])
    assert found.placement is not None
    assert dict(found.placement.node_selector) == {"pool": "l40s"}
    assert found.placement.tolerations[0][0] == "nvidia.com/gpu"
    assert found.placement.on_nodes
    assert found.capacity is Capacity.NO_NODES
    assert nodes_message(found) == (
        "1 node needed, 0 match, AcceleratorPool l40s may grow to 4 (4 GPUs each, pool=l40s)"
    )
    tainted = pool("l40s", taints=[{"key": "team", "value": "a", "effect": "NoSchedule"}])
    kept_off = decided([tainted], allowed=["nvidia-l40s"])
    assert kept_off.placement is not None
    assert not kept_off.placement.on_nodes


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"labels": {"a b": "c"}}, 'labels: "a b" is no key of a label'),
        ({"labels": {"pool": "\x1b[2J"}}, 'labels: "\N{REPLACEMENT CHARACTER}[2J" is no value'),
        ({"labels": {"pool": 5}}, "labels: 5 is no value of a label"),
        (
            {"taints": [{"key": "a\nb", "effect": "NoSchedule"}]},
            'taints: "a\N{REPLACEMENT CHARACTER}b" is no key',
        ),
        (
            {"labels": {f"{i}!": "" for i in range(1000)}},
            '1000 labels are more than 16; labels: "0!" is no key of a label',
        ),
        (
            {"taints": [{"key": f"t{i}", "effect": "NoExecute"} for i in range(17)]},
            "17 taints are more than 16",
        ),
    ],
)
def test_a_pool_whose_labels_no_node_can_have_is_set_aside_with_the_reason(
    spec: dict[str, Any], said: str
) -> None:
    found = read_pool(pool("bad\x1b", **spec))
    assert isinstance(found, SetAside)
    assert said in found.why
    assert len(found.why) < 500
    assert (found.node + found.why).isprintable()


def test_nodes_that_are_there_come_before_a_pool_that_sleeps() -> None:
    asleep = pool("h200", "nvidia-h200-141gb", 8, labels={"pool": "h200"})
    found = decided([gpu_node("a", "l40s"), asleep])
    assert found.placement is not None
    assert found.placement.accelerator == "nvidia-l40s"
    assert found.capacity is Capacity.AVAILABLE


def test_a_pool_that_can_never_have_the_nodes_comes_last() -> None:
    small = pool("small", "nvidia-l4", 1, labels={"pool": "small"}, maxNodes=1)
    large = pool("large", "nvidia-l4", 1, labels={"pool": "large"}, maxNodes=4)
    found = decided([small, large], gpusPerReplica=2)
    assert found.placement is not None
    assert dict(found.placement.node_selector) == {"pool": "large"}


def test_labels_that_are_asked_for_must_be_among_the_pools() -> None:
    asleep = pool("l40s", labels={"pool": "l40s", "zone": "a"})
    here = decided([asleep], nodeSelector={"zone": "a"}).placement
    assert here is not None
    assert here.on_nodes
    assert here.accelerator == "nvidia-l40s"
    elsewhere = decided([asleep], nodeSelector={"zone": "b"}).placement
    assert elsewhere is not None
    assert not elsewhere.on_nodes


def test_the_cheapest_is_taken_awake_or_asleep_and_its_price_is_said() -> None:
    items = [
        gpu_node("a", "l40s"),
        pool("l40s", labels={}, pricePerHour="16.00"),
        pool("l4", "nvidia-l4", 4, labels={"pool": "l4"}, pricePerHour="3.30"),
        pool("a100", "nvidia-a100-80gb", 8, labels={"pool": "a100"}),
    ]
    usual = decided(items).placement
    assert usual is not None
    assert usual.accelerator == "nvidia-l40s"
    assert placement_dict(usual)["pricePerHour"] == "4.00"
    cheap = decided(items, prefer="Cheapest").placement
    assert cheap is not None
    assert (cheap.accelerator, cheap.gpus_per_replica) == ("nvidia-l4", 1)
    assert placement_dict(cheap)["pricePerHour"] == "0.825"


def test_spot_nodes_are_not_the_cheapest_while_others_would_do() -> None:
    stays = pool("stays", labels={"pool": "stays"}, pricePerHour="8")
    spot = pool("spot", labels={"pool": "spot"}, pricePerHour="2", spot=True)
    found = decided([stays, spot], prefer="Cheapest").placement
    assert found is not None
    assert dict(found.node_selector) == {"pool": "stays"}


def test_a_warning_says_that_no_price_is_known() -> None:
    rules = [w.rule for w in decided([], prefer="Cheapest").warnings if isinstance(w, Finding)]
    assert Rule.NO_PRICE in rules
    priced = decided([pool("l40s", pricePerHour="1")], prefer="Cheapest")
    assert Rule.NO_PRICE not in [w.rule for w in priced.warnings if isinstance(w, Finding)]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"accelerator": "acme-9"}, 'accelerator "acme-9" is not in the accelerator table'),
        ({"gpusPerNode": 0}, "gpusPerNode 0 is no number of GPUs up to 1024"),
        ({"maxNodes": "x"}, 'maxNodes "x" is no number of nodes'),
        ({"pricePerHour": "-1"}, 'pricePerHour "-1" is no price above 0'),
        ({"pricePerHour": "NaN"}, "is no price above 0"),
        ({"labels": 7, "taints": "x"}, ""),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_the_reason(spec: dict[str, Any], why: str) -> None:
    read = read_pool(pool("p", **spec) | {"spec": pool("p")["spec"] | spec})
    if why:
        assert isinstance(read, SetAside)
        assert why in read.why
        assert read.node == "AcceleratorPool p"
    else:
        assert isinstance(read, Pool)


def test_the_crd_and_the_reader_know_the_same_fields() -> None:
    full = {
        "accelerator": "nvidia-l40s",
        "gpusPerNode": 4,
        "labels": {"a": "b"},
        "taints": [{"key": "t", "value": "v", "effect": "NoSchedule"}],
        "maxNodes": 3,
        "pricePerHour": "1.5",
        "spot": True,
    }
    assert set(AcceleratorPoolSpec.model_json_schema()["properties"]) == set(full)
    AcceleratorPoolSpec.model_validate(full)
    read = read_pool({"metadata": {"name": "p"}, "spec": full})
    assert isinstance(read, Pool)
    assert (read.most, read.price, read.spot) == (3, 375_000, True)
    assert (read.selector, read.taints) == ((("a", "b"),), (("t", "v", "NoSchedule"),))


def test_a_saved_inventory_keeps_pools() -> None:
    listed = {"kind": "List", "items": [gpu_node("a", "l40s"), pool("p", pricePerHour="2")]}
    again = json.loads(json.dumps(to_dict(listed)))
    assert from_dict(again) == from_dict(listed)
    assert from_dict(again).declared[0].declared == "AcceleratorPool p"


def test_a_price_is_rounded_up_to_a_millionth() -> None:
    assert parse_price("0.0000001") == 1
    assert parse_price(3) == 3_000_000
    assert parse_price(True) is None
    assert parse_price("1e99") is None


def test_check_takes_a_list_of_prices_with_its_source_and_date(tmp_path: Any) -> None:
    manifest = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": LLAMA_8B}, "accelerator": {"prefer": "Cheapest"}},
    }
    (tmp_path / "m.yaml").write_text(json.dumps(manifest))
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "source: https://example.com\ndate: 2026-11-01\n"
        "prices: {nvidia-l40s: 1.2, nvidia-h100-80gb: 4}\n"
    )
    arguments = ["check", str(tmp_path / "m.yaml"), "--prices", str(prices), "-o", "json"]
    placement = json.loads(run(*arguments).stdout)["results"][0]["placement"]
    assert (placement["accelerator"], placement["pricePerHour"]) == ("nvidia-l40s", "1.20")
    prices.write_text("date: soon\nprices: {acme: 1, nvidia-l4: 0}\n")
    bad = run(*arguments)
    assert bad.exit_code == 2
    for part in ("source", "date", "prices.acme", "prices.nvidia-l4"):
        assert part in bad.output


def kept(found: Verdict) -> Kept:
    """The placement of a verdict, as the controller reads it from the status."""
    placement = found.placement
    assert placement is not None
    return Kept(
        placement.accelerator,
        placement.parallelism,
        placement.gpus_per_node,
        placement.node_selector,
        tuple((key, value, effect) for key, _, value, effect in placement.tolerations),
        placement.resource,
    )


@pytest.mark.parametrize(
    "taints", [(), (("nvidia.com/gpu", "present", "NoSchedule"),)], ids=["before", "after"]
)
def test_a_placement_stays_as_it_is_when_its_pool_wakes_up(
    taints: tuple[tuple[str, str, str], ...],
) -> None:
    said = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    asleep = pool("l40s", labels={"pool": "l40s"}, taints=said, maxNodes=4)
    before = decided([asleep], allowed=["nvidia-l40s"])
    awake = gpu_node("a", "l40s", labels={"pool": "l40s"}, taints=taints)
    other = gpu_node("b", "l40s", labels={"pool": "another"})
    after = decided([asleep, awake, other], was=kept(before), allowed=["nvidia-l40s"])
    assert after.placement is not None
    assert before.placement is not None
    assert after.placement.node_selector == before.placement.node_selector
    assert after.placement.tolerations == before.placement.tolerations
    assert after.capacity is Capacity.AVAILABLE
    assert isinstance(after.nodes, Nodes)
    assert after.nodes.there == 1  # the other one does not carry the labels


def test_free_gpus_of_nodes_without_the_labels_of_a_placement_that_stays_are_not_its() -> None:
    asleep = pool("l40s", labels={"pool": "l40s"}, maxNodes=4)
    before = decided([asleep], allowed=["nvidia-l40s"])
    awake = gpu_node("a", "l40s", labels={"pool": "l40s"})
    other = gpu_node("b", "l40s", labels={"pool": "another"})
    limits = {"limits": {"nvidia.com/gpu": "4"}}
    train = {
        "kind": "Pod",
        "metadata": {"name": "train", "namespace": "a"},
        "spec": {"nodeName": "a", "containers": [{"resources": limits}]},
    }
    after = decided([asleep, awake, other, train], was=kept(before), allowed=["nvidia-l40s"])
    assert after.capacity is Capacity.TAKEN
    assert nodes_message(after).startswith("0 of 4 GPUs are free")
