"""What real kubectl prints when other people's kinds are guarded, and which reviews are sent.

The registration is the one that we ship; no kind but Kubernetes' own is installed at first.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.fixtures_operator import (
    OperatorProcess,
    admission_asked,
    free_port,
    until,
)
from controlplane import Cluster, ControlPlane
from plimsoll_operator.api.webhook import at_url, workloads_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "plimsoll-workloads-test"
COUNT = 'plimsoll_admission_seconds_count{result="%s"}'
LABEL = "plimsoll.dev/workloads"


def pod(*args: str, gpus: int = 1, image: str = "vllm/vllm-openai:v0.11.0") -> dict[str, Any]:
    """The template of a pod that runs vLLM on A100s. gpus: 0 for one that asks for none."""
    container: dict[str, Any] = {"name": "vllm", "image": image, "args": list(args)}
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    labels = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    return {
        "metadata": {"labels": {"app": "chat"}},
        "spec": {"containers": [container], "nodeSelector": labels},
    }


def deployment(template: dict[str, Any], name: str = "chat", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}, "template": template},
    }


BIG = ("--model", "Qwen/Qwen2.5-72B-Instruct", "--max-model-len", "8192")
SMALL = ("--model", "Qwen/Qwen2.5-7B-Instruct", "--max-model-len", "8192")


@dataclass
class Guard:
    """Admission in front of a namespace of the cluster."""

    cluster: Cluster
    process: OperatorProcess
    namespace: str

    def apply(self, obj: dict[str, Any], *flags: str) -> tuple[int, str]:
        """`kubectl apply`: its exit code and everything that it prints."""
        done = self.cluster.kubectl(
            "-n", self.namespace, "apply", "-f", "-", *flags, input=yaml.safe_dump(obj), check=False
        )
        return done.returncode, done.stdout + done.stderr

    def kubectl(self, *args: str) -> tuple[int, str]:
        done = self.cluster.kubectl("-n", self.namespace, *args, check=False)
        return done.returncode, done.stdout + done.stderr

    def reviews(self) -> int:
        """How many reviews were sent to admission so far."""
        page = self.process.get("/metrics")[1]
        lines = [line for line in page.splitlines() if "plimsoll_admission_seconds_count" in line]
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    def mode(self, mode: str | None) -> None:
        """Label the namespace, and wait until API server and admission have heard of it."""
        self.kubectl(
            "label", "ns", self.namespace, f"{LABEL}={mode}" if mode else f"{LABEL}-", "--overwrite"
        )
        probe = deployment(pod(*BIG), "probe")

        def in_force() -> bool:
            code, said = self.apply(probe, "--dry-run=server")
            now = "enforce" if code else "warn" if "Warning: " in said else "silent"
            return now == (mode if mode in ("enforce", "warn") else "silent")

        until(in_force, 15, f"the namespace's mode is {mode}")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def process(control_plane: Cluster) -> Iterator[OperatorProcess]:
    """Admission as a process of its own, registered for other people's kinds."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane that trusts our certificates")
    with admission_asked(control_plane, NAME, workloads_configuration) as running:
        yield running


@pytest.fixture
def guard(process: OperatorProcess, control_plane: Cluster, namespace: str) -> Guard:
    return Guard(control_plane, process, namespace)


def test_a_deployment_that_cannot_start_is_refused_where_the_namespace_enforces(
    guard: Guard,
) -> None:
    guard.mode("enforce")
    code, said = guard.apply(deployment(pod(*BIG)))
    assert code == 1
    assert 'admission webhook "pods.workloads.plimsoll.dev" denied the request:' in said
    assert "spec.template.spec.containers[0].resources" in said
    assert "short by" in said
    assert f"namespace {guard.namespace} has {LABEL}=enforce" in said
    assert guard.apply(deployment(pod(*SMALL))) == (0, "deployment.apps/chat created\n")


def test_a_namespace_that_warns_lets_it_in_and_kubectl_prints_why(guard: Guard) -> None:
    guard.mode("warn")
    code, said = guard.apply(deployment(pod(*BIG)))
    assert code == 0
    assert "Warning: chat: needs" in said
    assert "deployment.apps/chat created" in said


def test_an_update_that_moves_only_the_image_is_judged_and_one_that_scales_is_not_sent(
    guard: Guard,
) -> None:
    guard.mode("enforce")
    assert guard.apply(deployment(pod(*SMALL)))[0] == 0
    before = guard.reviews()
    code, said = guard.kubectl("set", "image", "deployment/chat", "vllm=vllm/vllm-openai:v0.2.0")
    assert code == 0, said
    assert "Warning: chat: " in said, "a version that no table covers is said"
    assert guard.reviews() == before + 1
    assert guard.kubectl("scale", "deployment/chat", "--replicas=3")[0] == 0
    assert guard.kubectl("label", "deployment/chat", "team=a")[0] == 0
    assert guard.reviews() == before + 1


def test_what_cannot_be_an_llm_is_not_sent(guard: Guard) -> None:
    guard.mode("enforce")
    before = guard.reviews()
    web = pod("nginx", gpus=0, image="nginx:1.29")
    many = [deployment(web, f"web-{number}") for number in range(20)]
    assert guard.apply({"apiVersion": "v1", "kind": "List", "items": many})[0] == 0
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "chat",
        "uid": "3b1f7a3e-7f0c-4a1e-9a53-3d3f0f3f6c11",
        "controller": True,
    }
    alone = pod(*BIG)
    alone |= {"apiVersion": "v1", "kind": "Pod"}
    alone["metadata"] = {"name": "chat-0", "ownerReferences": [owner]}
    assert guard.apply(alone)[0] == 0, "the ReplicaSet's Deployment had the verdict"
    assert guard.reviews() == before


def test_a_namespace_without_the_label_is_never_asked_about(guard: Guard) -> None:
    before = guard.reviews()
    assert guard.apply(deployment(pod(*BIG))) == (0, "deployment.apps/chat created\n")
    assert guard.reviews() == before


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("Pod", "spec.containers[0]"),
        ("StatefulSet", "spec.template.spec.containers[0]"),
        ("Job", "spec.template.spec.containers[0]"),
        ("CronJob", "spec.jobTemplate.spec.template.spec.containers[0]"),
    ],
)
def test_every_kind_of_kubernetes_own_is_guarded(guard: Guard, kind: str, place: str) -> None:
    guard.mode("enforce")
    template = pod(*BIG)
    spec: dict[str, Any] = deployment(template)["spec"]
    version = {"Pod": "v1", "StatefulSet": "apps/v1"}.get(kind, "batch/v1")
    if kind == "Pod":
        spec = template["spec"]
    elif kind == "StatefulSet":
        spec |= {"serviceName": "chat"}
    else:
        template["spec"]["restartPolicy"] = "Never"
        spec = {"template": template}
        if kind == "CronJob":
            spec = {"schedule": "0 1 * * *", "jobTemplate": {"spec": spec}}
    obj = {"apiVersion": version, "kind": kind, "metadata": {"name": "chat"}, "spec": spec}
    code, said = guard.apply(obj)
    assert code == 1, said
    assert place in said


def test_a_kind_that_is_installed_later_is_guarded_from_then_on(guard: Guard) -> None:
    guard.mode("enforce")
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "leaderworkersets.leaderworkerset.x-k8s.io"},
        "spec": {
            "group": "leaderworkerset.x-k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "LeaderWorkerSet", "plural": "leaderworkersets"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": True,
                        }
                    },
                }
            ],
        },
    }
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "chat"},
        "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 1, "workerTemplate": pod(*BIG)}},
    }
    guard.cluster.kubectl("apply", "-f", "-", input=json.dumps(crd))

    def refused() -> bool:
        code, said = guard.apply(group, "--dry-run=server")
        return code == 1 and 'webhook "groups.workloads.plimsoll.dev" denied' in said

    until(refused, 20, "a LeaderWorkerSet is judged")


def test_a_pod_with_as_much_in_it_as_a_pod_may_have_is_still_judged(guard: Guard) -> None:
    guard.mode("enforce")
    template = pod(*BIG)
    container = template["spec"]["containers"][0]
    container["env"] = [{"name": f"V{number}", "value": "x" * 200} for number in range(2000)]
    beside = [{"name": f"c{number}", "image": "busybox"} for number in range(50)]
    template["spec"]["containers"] += beside
    code, said = guard.apply(deployment(template), "--server-side")
    assert code == 1, said
    assert "short by" in said


def test_with_admission_down_everything_gets_in(guard: Guard, control_plane: Cluster) -> None:
    guard.mode("enforce")
    nowhere = at_url(f"https://127.0.0.1:{free_port()}/fit", b"")
    hooks = workloads_configuration(NAME, nowhere)["webhooks"]
    found = json.loads(
        control_plane.kubectl("get", "validatingwebhookconfiguration", NAME, "-o", "json").stdout
    )
    for hook in hooks:
        hook["clientConfig"].pop("caBundle", None)
    control_plane.kubectl("replace", "-f", "-", input=json.dumps({**found, "webhooks": hooks}))
    try:
        until(lambda: guard.apply(deployment(pod(*BIG)))[0] == 0, 15, "nobody is asked")
    finally:
        found["metadata"].pop("resourceVersion")
        control_plane.kubectl("replace", "--force", "-f", "-", input=json.dumps(found))
