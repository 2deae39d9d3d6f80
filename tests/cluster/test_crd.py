"""Claims about the CRD on a real API server: what is taken, what is refused, what users read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.fixtures_operator import DEPLOY, install, llm_deployment
from plimsoll.decision.policy import Policy
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.workloads.files import load
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll_operator.api.webhook import at_url, webhook_configuration
from plimsoll_operator.controller.plan import plan
from plimsoll_operator.controller.snapshot import Inputs, identify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from controlplane import Cluster, ControlPlane

SAMPLES = sorted((DEPLOY / "samples").iterdir())
QWEN = "hf://Qwen/Qwen2.5-7B-Instruct"


@pytest.fixture(autouse=True, scope="module")
def installed(control_plane: Cluster) -> None:
    """With the CRD."""
    install(control_plane)


def refusal(cluster: Cluster, namespace: str, spec: Mapping[str, Any], *flags: str) -> str:
    """What kubectl prints if a spec that it applies is refused."""
    obj = llm_deployment("it", namespace, spec)
    result = cluster.kubectl("apply", "-f", "-", *flags, input=json.dumps(obj), check=False)
    assert result.returncode == 1, result.stdout
    return result.stderr


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_accepted(control_plane: Cluster, namespace: str, sample: Path) -> None:
    shown = control_plane.kubectl("apply", "--namespace", namespace, "-f", str(sample))
    assert "created" in shown.stdout
    assert shown.stderr == ""


def test_a_fresh_object_says_that_nobody_looked_at_it_yet(
    control_plane: Cluster, namespace: str
) -> None:
    control_plane.apply([llm_deployment("it", namespace)])
    assert control_plane.get("llmd", "it", "-n", namespace)["status"] == {"observedGeneration": -1}


def test_nothing_is_added_to_what_a_user_wrote(control_plane: Cluster, namespace: str) -> None:
    written = llm_deployment("it", namespace, {"engine": {"parallelism": {"tensor": 2}}})
    control_plane.apply([written])
    assert control_plane.get("llmd", "it", "-n", namespace)["spec"] == written["spec"]


def test_a_table_of_objects_answers_the_question(control_plane: Cluster, namespace: str) -> None:
    control_plane.apply([llm_deployment("it", namespace)])
    status = {
        "status": {
            "observedGeneration": 1,
            "conditions": [
                {
                    "type": kind,
                    "status": "True",
                    "reason": reason,
                    "message": "it does",
                    "lastTransitionTime": "2026-11-23T00:30:00Z",
                    "observedGeneration": 1,
                }
                for kind, reason in (
                    ("Ready", "Placed"),
                    ("Fits", "EnoughMemory"),
                    ("CapacityAvailable", "NodesMatch"),
                    ("Overridden", "Annotation"),
                )
            ],
            "estimate": {"needPerGPU": "17.7 GiB", "havePerGPU": "20.6 GiB"},
            "placement": {
                "accelerator": "nvidia-l4",
                "gpusPerReplica": 1,
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            },
        }
    }
    patch = ("patch", "llmd", "it", "-n", namespace, "--subresource=status", "--type=merge", "-p")
    control_plane.kubectl(*patch, json.dumps(status))

    shown = control_plane.kubectl("get", "llmd", "-n", namespace, "-o", "wide").stdout
    heading, row = (line.split() for line in shown.splitlines())
    assert heading == [
        "NAME",
        "STATE",
        "FITS",
        "GPUS",
        "ACCELERATOR",
        "NEED/GPU",
        "HAVE/GPU",
        "CAPACITY",
        "OVERRIDDEN",
        "AGE",
    ]
    assert " ".join(row[:-1]) == ("it Placed True 1 nvidia-l4 17.7 GiB 20.6 GiB NodesMatch True")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_status_of_a_sample_is_taken_whole(
    control_plane: Cluster, namespace: str, sample: Path
) -> None:
    (manifest,) = load((str(sample),)).deployments
    identity = identify(manifest.obj)
    assert identity
    inputs = Inputs(
        identity=identity,
        request=request(manifest.obj, NoDocuments()),
        inventory=NO_INVENTORY,
        policy=Policy(),
        override="why",
    )
    status = dict(plan(inputs, datetime(2026, 11, 23, tzinfo=UTC)).patch)
    name = manifest.obj["metadata"]["name"]
    control_plane.kubectl("apply", "-n", namespace, "-f", str(sample))
    patch = ("patch", "llmd", name, "-n", namespace, "--subresource=status", "--type=merge", "-p")
    control_plane.kubectl(*patch, json.dumps({"status": status}))
    assert control_plane.get("llmd", name, "-n", namespace)["status"] == status


def test_it_is_listed_with_what_belongs_to_ai_but_not_with_all(
    control_plane: Cluster, namespace: str
) -> None:
    control_plane.apply([llm_deployment("it", namespace)])
    get = ("-n", namespace, "-o", "name")
    name = "llmdeployment.plimsoll.dev/it"
    assert name in control_plane.kubectl("get", "ai", *get).stdout
    assert name not in control_plane.kubectl("get", "all", *get).stdout


def test_kubectl_explains_every_field(control_plane: Cluster) -> None:
    shown = control_plane.kubectl("explain", "llmd.spec.engine.gpuMemoryUtilization").stdout
    assert "Share of a GPU's memory that the engine may take" in shown
    every = control_plane.kubectl("explain", "llmd", "--recursive").stdout
    for field in ("concurrentSequences", "configMapRef", "gpusPerReplica", "kvCacheTokens"):
        assert field in every


def test_a_status_cannot_be_set_beside_the_spec(control_plane: Cluster, namespace: str) -> None:
    obj = llm_deployment("it", namespace)
    control_plane.apply([{**obj, "status": {"observedGeneration": 7}}])
    found = control_plane.get("llmd", "it", "-n", namespace)
    assert found["status"]["observedGeneration"] == -1


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"replicas": -1}, "spec.replicas", "greater than or equal to 0"),
        ({"engine": {"maxModelLen": 10**18}}, "spec.engine.maxModelLen", "less than or equal to"),
        ({"engine": {"maxModelLen": "8k"}}, "spec.engine.maxModelLen", "must be of type integer"),
        ({"engine": {"name": "llamafile"}}, "spec.engine.name", 'supported values: "vllm"'),
        (
            {"engine": {"gpuMemoryUtilization": "1.5"}},
            "spec.engine.gpuMemoryUtilization",
            "should match",
        ),
        ({"model": {"uri": "x" * 600}}, "spec.model.uri", "Too long: may not be"),
        ({"model": {"uri": "ftp://m"}}, "spec.model.uri", "should match"),
        ({"model": {"parameters": "1000000000000000000"}}, "spec.model.parameters", "may not be"),
        ({"accelerator": {"minMemory": "40"}}, "spec.accelerator.minMemory", "should match"),
        ({"model": {}}, "spec.model", "one of uri, baseModel, configMapRef or parameters"),
        ({"model": {"uri": QWEN, "bits": 4}}, "spec.model.bits", "goes with parameters"),
        (
            {"engine": {"parallelism": {"tensor": 4}}, "accelerator": {"gpusPerReplica": 2}},
            "spec.accelerator.gpusPerReplica",
            "must be at least engine.parallelism.tensor x pipeline x data: raise it",
        ),
        (
            {
                "engine": {"maxModelLen": 4096},
                "workload": {"inputTokens": 4000, "outputTokens": 97},
            },
            "spec.engine.maxModelLen",
            "must be at least workload.inputTokens + outputTokens: raise it",
        ),
        (
            {"engine": {"maxNumSeqs": 4}, "workload": {"concurrentSequences": 8}},
            "spec.engine.maxNumSeqs",
            "must be at least workload.concurrentSequences: raise it",
        ),
    ],
)
def test_structure_is_refused_with_field_and_reason(
    control_plane: Cluster, namespace: str, spec: dict[str, Any], field: str, words: str
) -> None:
    printed = refusal(control_plane, namespace, spec)
    assert field in printed
    assert words in printed


def test_a_broken_rule_reads_in_kubectl_as_one_plain_sentence(
    control_plane: Cluster, namespace: str
) -> None:
    spec = {"engine": {"maxModelLen": 4096}, "workload": {"inputTokens": 4096, "outputTokens": 1}}
    printed = refusal(control_plane, namespace, spec)
    printed = printed.replace('"object": ', "")  # Kubernetes 1.30 says so before the sentence
    assert printed.strip() == (
        'The LLMDeployment "it" is invalid: spec.engine.maxModelLen: Invalid value: must be at '
        "least workload.inputTokens + outputTokens: raise it, or ask for less"
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"accelerator": {"allowed": []}},
        {"accelerator": {"allowed": ["nvidia-l4", "nvidia-l4"]}},
        {"accelerator": {"minMemory": "0Gi"}},
        {"engine": {"kvCacheMemory": "80GB"}},
        {"engine": {"maxModelLen": 8192.5}},
        {"engine": {"maxModelLen": True}},
        {"engine": {"enforceEager": "true"}},
        {"engine": {"extraArgs": "--a"}},
        {"engine": {"extraArgs": ["-a"] * 65}},
        {"engine": {"parallelism": {"tensor": 0}}},
        {"model": {"uri": QWEN, "parameters": 70}},
        {"model": {"uri": QWEN, "parameters": "70B", "bits": 65}},
        {"model": {"configMapRef": {}}},
        {"workload": {"inputTokens": 0}},
        {"replicas": 10_001},
        {"accelerator": {"nodeSelector": {"zo ne": "a"}}},
        {"accelerator": {"nodeSelector": {"zone": "\x1b[2J"}}},
        {"accelerator": {"tolerations": [{"key": "a/b/c"}]}},
        {"accelerator": {"tolerations": [{"key": "a", "value": "b\n"}]}},
        {"accelerator": {"tolerations": [{"value": "b"}]}},
        {"accelerator": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}},
        {"model": {"configMapRef": {"name": "A"}}},
        {"output": {"targetRef": {"kind": "Deployment", "name": "a b"}}},
        {"model": None},
        {"engine": []},
    ],
)
def test_the_server_and_the_command_line_refuse_the_same(
    control_plane: Cluster, namespace: str, spec: dict[str, Any]
) -> None:
    assert "spec." in refusal(control_plane, namespace, spec)
    assert request(llm_deployment("it", namespace, spec), NoDocuments()).problems


@pytest.mark.parametrize(
    "written",
    ["8192", "8192.0", "1e+06", "8.192e+03", "0x2000", "010", "8_192", "1e-3", "8192.5", "1e400"],
)
def test_a_number_in_a_file_is_the_same_to_the_server_and_to_the_command_line(
    control_plane: Cluster, namespace: str, written: str, tmp_path: Path
) -> None:
    path = tmp_path / "it.yaml"
    text = yaml.safe_dump(llm_deployment("it", namespace, {"engine": {"maxModelLen": 77777}}))
    path.write_text(text.replace("77777", written))
    create = ("create", "--dry-run=server", "-o", "json", "-f", str(path))
    result = control_plane.kubectl(*create, check=False)
    (manifest,) = load((str(path),)).deployments
    found = request(manifest.obj, NoDocuments())
    assert bool(found.problems) == (result.returncode != 0), (found.problems, result.stderr)
    if result.returncode == 0:
        taken = json.loads(result.stdout)["spec"]["engine"]["maxModelLen"]
        assert found.engine.max_model_len == taken


def test_every_broken_rule_is_said_at_once(control_plane: Cluster, namespace: str) -> None:
    spec = {
        "model": {"uri": QWEN, "bits": 4},
        "engine": {"maxModelLen": 10, "maxNumSeqs": 1, "parallelism": {"tensor": 4}},
        "workload": {"inputTokens": 9, "outputTokens": 5, "concurrentSequences": 2},
        "accelerator": {"gpusPerReplica": 2},
    }
    printed = refusal(control_plane, namespace, spec)
    for field in (
        "spec.accelerator.gpusPerReplica",
        "spec.engine.maxModelLen",
        "spec.engine.maxNumSeqs",
        "spec.model.bits",
    ):
        assert field in printed


def test_a_field_that_does_not_exist_is_refused_by_name(
    control_plane: Cluster, namespace: str
) -> None:
    printed = refusal(control_plane, namespace, {"engine": {"maxModelLength": 8192}})
    assert 'unknown field "spec.engine.maxModelLength"' in printed


def test_unset_parallelism_counts_as_one_in_the_structural_rules(
    control_plane: Cluster, namespace: str
) -> None:
    spec = {"engine": {"parallelism": {"tensor": 2}}, "accelerator": {"gpusPerReplica": 2}}
    control_plane.apply([llm_deployment("it", namespace, spec)])


@pytest.mark.parametrize("name", ["crd.yaml", "rbac.yaml", "namespace.yaml", "floor.yaml"])
def test_the_api_server_adds_nothing_so_that_gitops_sees_no_drift(
    control_plane: Cluster, name: str
) -> None:
    for document in yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")):
        sent = {k: v for k, v in document.items() if k in ("spec", "rules", "roleRef", "subjects")}
        if name == "namespace.yaml":
            sent = {"metadata": {"labels": document["metadata"]["labels"]}}
        dry = ("apply", "--dry-run=server", "-f", "-", "-o", "json")
        got = json.loads(control_plane.kubectl(*dry, input=json.dumps(document)).stdout)
        if name == "namespace.yaml":
            got = {"metadata": {"labels": got["metadata"]["labels"]}}
            sent["metadata"]["labels"]["kubernetes.io/metadata.name"] = "plimsoll-system"
        assert {k: got[k] for k in sent} == sent, document["kind"]


def test_the_webhook_configuration_is_taken_as_it_is_written(
    own_control_plane: ControlPlane,
) -> None:
    client = at_url("https://127.0.0.1:9443/fit", own_control_plane.authority.bundle)
    written = webhook_configuration("it", client)
    dry = ("create", "--dry-run=server", "-f", "-", "-o", "json")
    got = json.loads(own_control_plane.kubectl(*dry, input=json.dumps(written)).stdout)
    assert got["webhooks"] == written["webhooks"]
