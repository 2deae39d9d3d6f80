"""Claims about spec.verification DryStart on a real API server, with the chart's rights alone.

No kubelet runs here and no engine is installed: `cluster.pod_runner` plays the node, and
`stub_engine` stands in vLLM's place under the real harness.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from chart.helm import render
from chart.objects import one
from cluster.fixtures_operator import conditions, llm_deployment, operator_process, until
from cluster.plane import own_plane
from cluster.pod_runner import Image, pod_runner
from stub_engine import installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.fixtures_operator import OperatorProcess
    from cluster.pod_runner import PodRunner
    from controlplane import ControlPlane

SOON = 120.0
NEW = {
    "model_type": "daybreak",
    "architectures": ["DaybreakForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}
"""A model of a type that nobody knows."""

plane = own_plane("gives rights")


@pytest.fixture(scope="module")
def runner(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodRunner]:
    engine = (installed(tmp_path_factory.mktemp("images")),)
    images = {"engine": Image(engine), "again": Image(engine), "bare": Image()}
    with pod_runner(plane.kubeconfig, images) as playing:
        yield playing


@pytest.fixture(scope="module", autouse=True)
def controller(plane: ControlPlane, account: Path, runner: PodRunner) -> Iterator[OperatorProcess]:
    made = render({"dryStart": {"enabled": True}})
    plane.apply([one(made, "ClusterRole", "plimsoll-controller")])
    settings = {"resync_seconds": 3.0, "dry_starts": True, "dry_start_seconds": 60}
    with operator_process("controller", account, plane.folder, settings) as running:
        yield running


@pytest.fixture
def place(plane: ControlPlane) -> str:
    """A fresh namespace that takes no pod but one of the restricted profile."""
    name = f"dry-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", name)
    plane.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    data = {"config.json": json.dumps(NEW)}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}, "data": data}
    plane.apply([config], "-n", name)
    return name


def make(plane: ControlPlane, place: str, name: str, image: str, **engine: Any) -> None:
    """Apply an LLMDeployment of the model that nobody knows, to be verified."""
    made = llm_deployment(name, place, {
        "engine": {"name": "vllm", "version": "0.33.0", "maxModelLen": 8192, **engine},
        "accelerator": {"allowed": ["nvidia-l40s"], "gpusPerReplica": 1},
        "verification": "DryStart",
        "output": {"image": image},
    })  # fmt: skip
    made["spec"]["model"] = {"configMapRef": {"name": "new"}}
    plane.apply([made])


def verified(plane: ControlPlane, place: str, name: str, reason: str) -> dict[str, Any]:
    """Wait until condition Verified has that reason; the object."""

    def so() -> dict[str, Any]:
        obj = plane.get("llmd", name, "-n", place)
        found = conditions(obj).get("Verified", {})
        assert found.get("reason") == reason, found
        return obj

    found: dict[str, Any] = until(so, SOON, f"{name} is Verified for {reason}")
    return found


def assert_no_job_is_left(plane: ControlPlane, place: str) -> None:
    def so() -> bool:
        items = plane.get("jobs,pods,networkpolicies,configmaps", "-n", place)["items"]
        return [one["metadata"]["name"] for one in items] == ["new"]

    until(so, SOON, "nothing but the model's own ConfigMap is left")


def runs(runner: PodRunner, place: str) -> int:
    """How many containers ran in a namespace."""
    return sum(1 for namespace, _ in runner.run if namespace == place)


def test_an_engine_that_starts_is_said_with_its_figures_and_the_job_goes(
    plane: ControlPlane, runner: PodRunner, place: str
) -> None:
    make(plane, place, "it", "engine")
    obj = verified(plane, place, "it", "EngineStarts")
    condition, said = conditions(obj)["Verified"], obj["status"]["dryStart"]
    assert condition["status"] == "True"
    assert "vLLM 0.33.0 starts, as far as can be seen without a GPU" in condition["message"]
    assert "weights of a rank: vLLM 0.33.0 itself says" in condition["message"]
    assert (said["outcome"], said["image"], said["reached"]) == ("Starts", "engine", "end")
    assert said["weights"].endswith("Mi")
    assert said["kvCacheTokens"] > 8192
    assert conditions(obj)["Fits"]["reason"] == "EnoughMemory"
    assert_no_job_is_left(plane, place)


def test_a_refusal_of_the_engine_is_fits_false_in_its_own_words(
    plane: ControlPlane, runner: PodRunner, place: str
) -> None:
    make(plane, place, "it", "engine", extraArgs=["--no-such-flag-of-this-engine"])
    obj = verified(plane, place, "it", "EngineRefused")
    found = conditions(obj)
    assert (found["Fits"]["status"], found["Fits"]["reason"]) == ("False", "EngineRefused")
    assert "no-such-flag-of-this-engine" in found["Fits"]["message"]
    assert (found["Ready"]["status"], found["Stalled"]["status"]) == ("False", "True")
    assert "placement" not in obj["status"]
    assert_no_job_is_left(plane, place)


def test_a_failure_of_the_harness_is_unknown_and_never_a_refusal(
    plane: ControlPlane, runner: PodRunner, place: str
) -> None:
    make(plane, place, "it", "bare")
    obj = verified(plane, place, "it", "NothingLearned")
    found = conditions(obj)
    assert found["Verified"]["status"] == "Unknown"
    assert "no torch" in found["Verified"]["message"]
    assert found["Fits"]["reason"] == "EnoughMemory"
    assert obj["status"]["dryStart"]["tries"] == 1
    assert_no_job_is_left(plane, place)
    assert runs(runner, place) == 1


def test_a_quota_that_takes_no_job_is_said_and_nothing_is_left(
    plane: ControlPlane, runner: PodRunner, place: str
) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    hard = {"count/jobs.batch": "0"}
    plane.apply([{**quota, "spec": {"hard": hard}}], "-n", place)
    patch = json.dumps({"status": {"hard": hard, "used": hard}})
    where = ("resourcequota", "none", "-n", place, "--subresource=status", "--type=merge")
    plane.kubectl("patch", *where, "-p", patch)
    make(plane, place, "it", "engine")
    obj = verified(plane, place, "it", "NothingLearned")
    assert "exceeded quota: none" in conditions(obj)["Verified"]["message"]
    assert_no_job_is_left(plane, place)


def test_the_same_deployment_never_costs_twice_and_another_image_is_asked_anew(
    plane: ControlPlane, runner: PodRunner, place: str
) -> None:
    make(plane, place, "first", "engine")
    before = verified(plane, place, "first", "EngineStarts")["status"]["dryStart"]
    make(plane, place, "second", "engine")
    assert verified(plane, place, "second", "EngineStarts")["status"]["dryStart"] == before
    plane.kubectl("annotate", "llmd", "first", "-n", place, "plimsoll.dev/note=again")
    assert runs(runner, place) == 1
    make(plane, place, "first", "again")

    def asked_anew() -> bool:
        said = verified(plane, place, "first", "EngineStarts")["status"]["dryStart"]
        return bool(said["image"] == "again" and said["key"] != before["key"])

    until(asked_anew, SOON, "the other image was asked")
    assert runs(runner, place) == 2


def test_what_is_sure_is_not_asked(plane: ControlPlane, runner: PodRunner, place: str) -> None:
    spec = {
        "engine": {"name": "vllm", "version": "0.33.0", "maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-a100-80gb"]},
        "verification": "DryStart",
    }
    plane.apply([llm_deployment("it", place, spec)])
    obj = verified(plane, place, "it", "NotNeeded")
    assert conditions(obj)["Fits"]["status"] == "True"
    assert runs(runner, place) == 0


def test_the_job_of_an_object_that_goes_goes_with_it(
    plane: ControlPlane, runner: PodRunner, place: str
) -> None:
    slow = {"config.json": json.dumps({**NEW, "stub_seconds": 600})}
    plane.kubectl("patch", "configmap", "new", "-n", place, "-p", json.dumps({"data": slow}))
    make(plane, place, "it", "engine")
    until(lambda: runs(runner, place), SOON, "the container runs")
    job = plane.get("jobs", "-n", place)["items"][0]
    owner = plane.get("llmd", "it", "-n", place)["metadata"]["uid"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == owner
    assert conditions(plane.get("llmd", "it", "-n", place))["Verified"]["reason"] == "Waiting"
    plane.kubectl("delete", "llmd", "it", "-n", place)
    assert_no_job_is_left(plane, place)
    until(lambda: not runner.processes, SOON, "the container is ended")


def test_two_jobs_run_at_once_and_another_controller_adopts_them(
    plane: ControlPlane, runner: PodRunner, place: str, controller: OperatorProcess, account: Path
) -> None:
    slow = {"config.json": json.dumps({**NEW, "stub_seconds": 8})}
    plane.kubectl("patch", "configmap", "new", "-n", place, "-p", json.dumps({"data": slow}))
    names = ("first", "second", "third")
    for length, name in enumerate(names, 5):
        make(plane, place, name, "engine", maxModelLen=1024 * length)
    until(lambda: runs(runner, place) == 2, SOON, "two containers run")
    assert len(plane.get("jobs", "-n", place)["items"]) == 2
    controller.process.kill()
    settings = {"resync_seconds": 3.0, "dry_starts": True, "dry_start_seconds": 60}
    with operator_process("controller", account, plane.folder, settings):
        for name in names:
            verified(plane, place, name, "EngineStarts")
        assert runs(runner, place) == 3
        assert_no_job_is_left(plane, place)
