"""Claims about `audit`: misfits, idle GPUs and GPUs that could come back, from a saved listing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import as_json, run
from plimsoll.inventory.saved import READ
from plimsoll.workloads.files import OF_A_CLUSTER
from plimsoll.workloads.listing import read

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/audit.md").read_text("utf-8")
A100, L4 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4"
QWEN = ("--model", "Qwen/Qwen2.5-7B-Instruct", "--max-model-len", "8192")
LLAMA = ("--model", "meta-llama/Llama-3.3-70B-Instruct", "--max-model-len", "8192")
GIB = 1 << 30


def node(name: str, product: str, gpus: int, mib: int) -> dict[str, Any]:
    """A node as the cluster has it."""
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": str(gpus)}
    labels |= {"nvidia.com/gpu.memory": str(mib), "nvidia.com/gpu.present": "true"}
    counts = {"nvidia.com/gpu": str(gpus)}
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": counts, "allocatable": counts, "conditions": ready},
    }


def deployment(
    name: str, arguments: tuple[str, ...], gpus: int = 1, product: str = L4, replicas: int = 1
) -> dict[str, Any]:
    """A Deployment of vLLM."""
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.11.0",
        "args": list(arguments),
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
    }
    selector = {"nvidia.com/gpu.product": product}
    template = {"spec": {"nodeSelector": selector, "containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "chat", "uid": name},
        "spec": {"replicas": replicas, "template": template},
    }


def replica_set(owner: dict[str, Any]) -> dict[str, Any]:
    """What the controller of Deployments makes of one."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "controller": True}
    metadata = {"name": "made", "namespace": "chat", "ownerReferences": [reference]}
    return {**owner, "kind": "ReplicaSet", "metadata": metadata}


WIDE = deployment("wide", (*QWEN, "--tensor-parallel-size", "4"), 4, A100, replicas=3)
IDLE = deployment("idle", QWEN, 2, A100, replicas=2)
LARGE = deployment("large", LLAMA)
FITS = deployment("fits", QWEN)
NODES = [node("a", A100, 8, 81920), node("b", L4, 4, 23034)]
WEB = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    """A listing of kubectl."""
    return saved(tmp_path, WIDE, replica_set(WIDE), IDLE, LARGE, FITS, WEB, *NODES)


def saved(folder: Path, *objects: dict[str, Any]) -> Path:
    """A listing in a file."""
    file = folder / "listing.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return file


def without_gates(text: str) -> str:
    """Without how many gates there are, which every new one changes."""
    return re.sub(r"; \d+ before it", "; some before it", text)


def audited(*arguments: object) -> dict[str, dict[str, Any]]:
    """What is said of each object."""
    return {one["name"]: one for one in as_json("audit", *arguments)["results"]}


def test_a_misfit_is_told_as_check_tells_it(listing: Path, tmp_path: Path) -> None:
    found = audited("--from", listing)
    file = tmp_path / "large.yaml"
    file.write_text(yaml.safe_dump(LARGE))
    (checked,) = as_json("check", file)["results"]
    large = found["chat/large"]
    assert (large["decision"], large["reason"]) == ("deny", "NotEnoughMemory")
    assert large["requestHash"] == checked["requestHash"]
    assert large["requiredPerGPU"] == checked["estimate"]["perGPU"]["required"]
    assert large["rules"][0] == checked["rules"][0] == "PL001"
    printed = run("audit", "--from", listing)
    assert printed.exit_code == 1
    first = "spec.template.spec.containers[0].args --tensor-parallel-size: Invalid value: 1: "
    assert f"{first}meta-llama/Llama-3.3-70B-Instruct does not fit on 1 x nvidia-l4" in (
        printed.stdout
    )
    assert "Any one of these fits:" in printed.stdout


def test_fewer_and_smaller_gpus_are_named_with_what_they_hold_and_what_comes_back(
    listing: Path, tmp_path: Path
) -> None:
    wide = audited("--from", listing)["chat/wide"]
    assert (wide["gpus"], wide["load"], wide["idleGPUs"]) == (12, 8, 0)
    fewer, smaller = wide["fewer"], wide["smaller"]
    assert (fewer["accelerator"], fewer["gpusPerReplica"]) == ("nvidia-a100-80gb", 1)
    assert (fewer["gpusSaved"], fewer["memorySaved"]) == (9, 9 * 80 * GIB)
    assert (smaller["accelerator"], smaller["gpusPerReplica"]) == ("nvidia-l4", 1)
    assert smaller["gpusSaved"] == 9
    assert {"PL580", "PL581"} <= set(wide["rules"])
    for saving in (fewer, smaller):
        product = A100 if saving is fewer else L4
        file = tmp_path / "less.yaml"
        file.write_text(yaml.safe_dump(deployment("wide", QWEN, 1, product)))
        (checked,) = as_json("check", file)["results"]
        assert checked["decision"] == "allow"
        assert checked["estimate"]["maxConcurrency"] == saving["requests"] >= 8


def test_what_more_requests_need_is_not_called_too_much(listing: Path) -> None:
    wide = audited("--from", listing, "--requests", "100")["chat/wide"]
    assert wide["load"] == 100
    assert wide["fewer"]["requests"] >= 100
    assert wide["smaller"] is None or wide["smaller"]["requests"] >= 100
    few = deployment("wide", (*QWEN, "--tensor-parallel-size", "4", "--max-num-seqs", "2"), 4, A100)
    said = audited("--from", saved(listing.parent, few), "--requests", "100")["chat/wide"]
    assert said["load"] == 2, "no more run at once than the engine is told to run"


def test_without_nodes_nobody_knows_smaller_gpus_of_the_cluster(tmp_path: Path) -> None:
    wide = audited("--from", saved(tmp_path, WIDE))["chat/wide"]
    assert wide["fewer"]["gpusPerReplica"] == 1
    assert wide["smaller"] is None


def test_idle_gpus_of_a_pod_are_counted_in_all_replicas(listing: Path) -> None:
    idle = audited("--from", listing)["chat/idle"]
    assert (idle["gpus"], idle["idleGPUs"]) == (4, 2)
    assert idle["fewer"] is None
    printed = run("audit", "--from", listing).stdout
    assert "1 of 2 GPUs would be idle: the engine is told to use 1" in printed
    assert "idle: 2 GPUs that no rank of an engine uses" in printed


def test_totals_count_each_deployment_once_and_not_what_it_made(listing: Path) -> None:
    whole = as_json("audit", "--from", listing)
    sums = whole["totals"]
    assert (sums["engines"], sums["gpus"], sums["misfits"]) == (4, 18, 1)
    assert (sums["overProvisioned"], sums["idleGPUs"]) == (2, 2)
    assert sums["gpusToWin"] == 9
    assert sums["memoryToWin"] == sum(
        max(one[key]["memorySaved"] for key in ("fewer", "smaller") if one[key] is not None)
        for one in whole["results"]
        if one["fewer"] or one["smaller"]
    )
    assert (whole["madeByOthers"], whole["otherObjects"]) == (1, 3)


def test_what_fits_and_is_well_used_is_a_line_of_the_table_and_no_more(tmp_path: Path) -> None:
    result = run("audit", "--from", saved(tmp_path, FITS, *NODES))
    assert result.exit_code == 0
    assert result.stdout.count("chat/fits") == 1
    assert "over-provisioned" not in result.stdout


def test_waste_fails_only_if_that_is_asked_for(tmp_path: Path) -> None:
    file = saved(tmp_path, WIDE, *NODES)
    assert run("audit", "--from", file).exit_code == 0
    assert run("audit", "--from", file, "--fail-on", "waste").exit_code == 1
    assert run("audit", "--from", saved(tmp_path, LARGE), "--fail-on", "never").exit_code == 0


def test_markdown_has_the_sums_and_the_misfit(listing: Path) -> None:
    said = run("audit", "--from", listing, "-o", "markdown").stdout
    assert "- engines: 4 with 18 GPUs; not fitting: 1, in doubt: 0, not read: 0" in said
    assert "| Deployment chat/large | does not fit | 1 |" in said
    assert "**Deployment chat/large**" in said


def test_what_cannot_be_read_is_said_and_never_counts_as_fitting(tmp_path: Path) -> None:
    private = deployment("private", ("--model", "/models/ours", "--tensor-parallel-size", "2"), 2)
    result = run("audit", "--from", saved(tmp_path, private))
    assert "not read: 1" in result.stdout
    assert "not read: model /models/ours: a location says no model id" in result.stdout
    assert audited("--from", saved(tmp_path, private))["chat/private"]["decision"] == "warn"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ("[]", "kubectl get deployments,nodes -A -o json"),
        ('{"kind": "List", "items": 3}', "a list"),
        ('{"kind": "List", "items": [3]}', "objects"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_what_is_no_listing_is_said_with_exit_code_2(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "listing.json"
    file.write_text(text)
    result = run("audit", "--from", file)
    assert result.exit_code == 2
    assert said in result.stderr
    assert run("audit", "--from", tmp_path / "not-there").exit_code == 2


def test_a_listing_without_an_llm_says_so(tmp_path: Path) -> None:
    result = run("audit", "--from", saved(tmp_path, WEB, replica_set(WIDE)))
    assert result.exit_code == 0
    assert "nothing to audit: 1 object, and none serves an LLM; 1 object more made by others" in (
        result.stdout
    )


def test_the_guide_shows_what_is_printed(tmp_path: Path) -> None:
    ((command, printed),) = re.findall(
        r"```console\n\$ plimsoll (audit --from listing.json)\n(.*?)```", GUIDE, re.DOTALL
    )
    (objects,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    file = saved(tmp_path, *yaml.safe_load_all(objects), *NODES)
    said = run(*command.replace("listing.json", str(file)).split()).stdout
    assert without_gates(said) == without_gates(printed)


def test_whatever_an_inventory_is_read_of_counts_in_a_listing_too() -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpus", "namespace": "chat"},
        "spec": {"hard": {"requests.nvidia.com/gpu": "4"}},
        "status": {
            "hard": {"requests.nvidia.com/gpu": "4"},
            "used": {"requests.nvidia.com/gpu": "1"},
        },
    }
    found = read([{"apiVersion": "v1", "kind": "List", "items": [*NODES, quota]}])
    assert [(one.namespace, one.hard) for one in found.inventory.quotas] == [("chat", 4)]
    assert frozenset(READ) == OF_A_CLUSTER


def test_the_sizing_policies_of_a_listing_hold_in_its_audit(tmp_path: Path) -> None:
    policy = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "SizingPolicy",
        "metadata": {"name": "small-teams"},
        "spec": {"mode": "enforce", "maxGPUsPerReplica": 2},
    }
    found = {}
    for name, more in (("without", []), ("with", [policy])):
        file = tmp_path / f"{name}.json"
        items = [node("a", A100, 8, 81920), WIDE, *more]
        file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
        said = as_json("audit", "--from", file)
        assert said["problems"] == []
        (found[name],) = said["results"]
    assert found["without"]["decision"] == "allow"
    assert found["with"]["decision"] == "deny"
    assert "SizingPolicy small-teams allows at most 2 GPUs" in json.dumps(found["with"])
