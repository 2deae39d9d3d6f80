"""Claims about what is rendered on a real API server: taken as it is, restricted, and no drift."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from commands import as_json
from plimsoll.render.merge import merged

if TYPE_CHECKING:
    from pathlib import Path

    from controlplane import Cluster

QWEN = "Qwen/Qwen3-8B"
ON_H100 = ("--gpu", "nvidia-h100-80gb", "--max-model-len", 8192)


def rendered(namespace: str, *options: object, model: str = QWEN) -> list[dict[str, Any]]:
    """What `plimsoll render` prints for a model on H100s."""
    made = as_json("render", model, *ON_H100, "--name", "it", "-n", namespace, *options)
    items: list[dict[str, Any]] = made["items"]
    return items


def pods_of(workload: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a workload would make."""
    spec, namespace = workload["spec"], workload["metadata"]["namespace"]
    group = spec.get("leaderWorkerTemplate", {})
    templates = [spec.get("template"), group.get("leaderTemplate"), group.get("workerTemplate")]
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"it-{index}", "namespace": namespace, **template["metadata"]},
            "spec": template["spec"],
        }
        for index, template in enumerate(filter(None, templates))
    ]


def level(cluster: Cluster, namespace: str, name: str) -> None:
    """Enforce a Pod Security Standard in a namespace."""
    label = f"pod-security.kubernetes.io/enforce={name}"
    cluster.kubectl("label", "namespace", namespace, label, "--overwrite")


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tgi", "tensorrt-llm"])
def test_the_api_server_takes_deployment_and_service_of_every_engine(
    control_plane: Cluster, namespace: str, engine: str
) -> None:
    secret = ("--token-secret", "hub/token", "--cache-claim", "models", "--queue", "a")
    objects = rendered(namespace, "--engine", engine, *secret)
    said = control_plane.apply(objects, "--dry-run=server", "--validate=strict")
    assert said.count("created (server dry run)") == 2


@pytest.mark.parametrize("engine", ["vllm", "llama.cpp"])
def test_pods_of_engines_that_need_no_root_are_let_into_a_restricted_namespace(
    control_plane: Cluster, namespace: str, engine: str
) -> None:
    level(control_plane, namespace, "restricted")
    kind = ("--quantization", "q4_k_m") if engine == "llama.cpp" else ()
    (workload, _) = rendered(namespace, "--engine", engine, *kind)
    said = control_plane.apply(pods_of(workload), "--dry-run=server", "--validate=strict")
    assert "created" in said


def test_the_other_engines_pods_are_baseline_and_not_restricted(
    control_plane: Cluster, namespace: str
) -> None:
    (workload, _) = rendered(namespace, "--engine", "sglang")
    level(control_plane, namespace, "baseline")
    assert "created" in control_plane.apply(pods_of(workload), "--dry-run=server")
    level(control_plane, namespace, "restricted")
    pods = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods_of(workload)})
    refused = control_plane.kubectl("apply", "-f", "-", "--dry-run=server", input=pods, check=False)
    assert "violates PodSecurity" in refused.stderr


def test_leader_and_worker_of_a_replica_over_nodes_are_pods_that_are_taken(
    control_plane: Cluster, namespace: str
) -> None:
    level(control_plane, namespace, "restricted")
    (workload, _) = rendered(namespace, model="deepseek-ai/DeepSeek-V3")
    assert workload["kind"] == "LeaderWorkerSet"
    pods = pods_of(workload)
    assert len(pods) == 2
    said = control_plane.apply(pods, "--dry-run=server", "--validate=strict")
    assert said.count("created") == 2


def test_a_claim_for_gpus_is_taken_and_its_selectors_compile(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "it.yaml"
    wanted = {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": 2, "allocation": "DRA"}
    spec = {"model": {"uri": f"hf://{QWEN}"}, "accelerator": wanted}
    obj = {"apiVersion": "plimsoll.dev/v1alpha1", "kind": "LLMDeployment"}
    metadata = {"name": "it", "namespace": namespace}
    file.write_text(json.dumps(obj | {"metadata": metadata, "spec": spec}))
    objects = as_json("render", file)["items"]
    said = control_plane.apply(objects, "--dry-run=server", "--validate=strict")
    assert said.count("created (server dry run)") == 3
    (template,) = [one for one in objects if one["kind"] == "ResourceClaimTemplate"]
    asked = template["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    asked["selectors"][0]["cel"]["expression"] += " && device.nothing"
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": [template]})
    refused = control_plane.kubectl(
        "apply", "-f", "-", "--dry-run=server", input=items, check=False
    )
    assert "undefined field 'nothing'" in refused.stderr


def test_what_was_applied_is_not_seen_to_drift(control_plane: Cluster, namespace: str) -> None:
    objects = rendered(namespace)
    control_plane.apply(objects, "--server-side")
    before = control_plane.get("deployment", "it", "-n", namespace)["metadata"]
    for _ in range(3):
        control_plane.apply(objects, "--server-side")
    after = control_plane.get("deployment", "it", "-n", namespace)["metadata"]
    assert after["resourceVersion"] == before["resourceVersion"]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    same = control_plane.kubectl("diff", "--server-side", "-f", "-", input=listed, check=False)
    assert (same.returncode, same.stdout) == (0, "")


def engine(**changes: Any) -> dict[str, Any]:
    """A template that changes the engine's container."""
    return {"spec": {"containers": [{"name": "engine", **changes}]}}


TEMPLATES: list[dict[str, Any]] = [
    engine(args=["--other"], image="two"),
    engine(env=[{"name": "HOME", "value": "/x"}, {"name": "MORE", "value": "1"}]),
    engine(env=[{"name": "USER", "$patch": "delete"}]),
    engine(resources={"requests": {"memory": None}, "limits": {"memory": "64Gi"}}),
    engine(volumeMounts=[{"mountPath": "/cache", "subPath": "it"}], startupProbe=None),
    {"spec": {"volumes": [{"name": "cache", "$patch": "delete"}], "affinity": None}},
    {"spec": {"tolerations": [{"key": "mine"}], "nodeSelector": {"a": "b"}}},
    {"spec": {"securityContext": {"$patch": "replace", "runAsUser": 5}}},
    {"spec": {"hostAliases": [{"ip": "::1", "hostnames": ["a"]}], "securityContext": None}},
    {"metadata": {"labels": {"plimsoll.dev/llmdeployment": None, "more": "1"}}},
    {"spec": {"containers": [{"$patch": "replace"}, {"name": "engine", "image": "two"}]}},
]


@pytest.mark.parametrize("template", TEMPLATES, ids=range(len(TEMPLATES)))
def test_a_template_is_merged_as_kubectl_merges_it(
    control_plane: Cluster, namespace: str, tmp_path: Path, template: dict[str, Any]
) -> None:
    (workload, _) = rendered(namespace)
    file = tmp_path / "workload.json"
    file.write_text(json.dumps(workload))
    patch = json.dumps({"spec": {"template": template}})
    command = ("patch", "--local", "-f", str(file), "--type=strategic", "-p", patch, "-o", "yaml")
    theirs = yaml.safe_load(control_plane.kubectl(*command).stdout)["spec"]["template"]
    ours = merged(workload["spec"]["template"], template)
    assert ours == theirs
