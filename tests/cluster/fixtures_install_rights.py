"""Everything that the chart's two processes do on a cluster, each part as a claim on its effect.

It must not grant a right: whoever runs it takes one away first, and a claim fails. A process
that is refused anything fails every claim at once, so that nothing waits for what cannot come.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from chart import NAMESPACE, RELEASE
from cluster.fixtures_install import SERVING, SOON, TOO_SMALL, Installed
from cluster.fixtures_operator import conditions, llm_deployment, until
from cluster.plane import LLAMA
from configs import LLAMA_70B
from controlplane.certificates import LOOPBACK
from controlplane.nodes import gpu_node
from definitions import definition
from plimsoll_operator.cluster.client import connect
from plimsoll_operator.cluster.objects import Resource
from sizing import policy_object

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.fixtures_operator import OperatorProcess
    from controlplane import ControlPlane

AUTHORITY: Final = f"{SERVING}-ca"
REGISTRATION: Final = ("validatingwebhookconfiguration", RELEASE)
CA_BUNDLE: Final = "/webhooks/0/clientConfig/caBundle"
LLM_DEPLOYMENTS: Final = Resource("plimsoll.dev", "v1alpha1", "llmdeployments")
CONFLICTS: Final = 'plimsoll_reconcile_seconds_count{outcome="conflict"}'
_NUMBERS: Final = itertools.count()


class Forbidden(Exception):
    """The API server refused a process something; the message is what its log says."""


@dataclass(frozen=True)
class Claims:
    """Claims about what a process does; `Forbidden` as soon as it was refused anything."""

    process: OperatorProcess

    def __call__(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition holds."""
        return until(lambda: self.allowed() and condition(), SOON, what)

    def allowed(self) -> bool:
        """True. Raises `Forbidden` if the API server has refused the process something."""
        for line in self.process.log(10_000).splitlines():
            if "forbidden" in line.lower():
                raise Forbidden(json.loads(line)["message"] if line.startswith("{") else line)
        return True


def others() -> list[dict[str, Any]]:
    """Kinds of Karpenter, of Kueue and what other kinds refer to by name, as far as it matters that
    they are served: one that is not is not watched."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    found = (
        ("karpenter.sh", "v1", "NodePool", "Cluster"),
        ("kueue.x-k8s.io", "v1beta2", "ResourceFlavor", "Cluster"),
        ("kueue.x-k8s.io", "v1beta2", "ClusterQueue", "Cluster"),
        ("serving.kserve.io", "v1alpha1", "ServingRuntime", "Namespaced"),
        ("serving.kserve.io", "v1alpha1", "ClusterServingRuntime", "Cluster"),
        ("serving.kserve.io", "v1alpha1", "LLMInferenceServiceConfig", "Namespaced"),
        ("llmaz.io", "v1alpha1", "OpenModel", "Cluster"),
        ("inference.llmkube.dev", "v1alpha1", "Model", "Namespaced"),
        ("apps.nvidia.com", "v1alpha1", "NIMCache", "Namespaced"),
        ("ome.io", "v1beta1", "BaseModel", "Namespaced"),
        ("ome.io", "v1beta1", "ClusterBaseModel", "Cluster"),
        ("ome.io", "v1beta1", "ServingRuntime", "Namespaced"),
        ("ome.io", "v1beta1", "ClusterServingRuntime", "Cluster"),
    )
    return [
        definition(group, kind, anything, version=version, scope=scope)
        for group, version, kind, scope in found
    ]


@dataclass(frozen=True)
class Stage:
    """A release, and a namespace for one run of a scenario."""

    release: Installed
    space: str

    @property
    def plane(self) -> ControlPlane:
        """The cluster."""
        return self.release.plane

    def kubectl(self, *args: str, **options: Any) -> tuple[int, str]:
        """kubectl in that namespace: exit code, and all that it printed."""
        done = self.plane.kubectl("-n", self.space, *args, check=False, **options)
        return done.returncode, done.stdout + done.stderr

    def try_out(self, spec: dict[str, Any], *, user: Path | None = None, **note: str) -> str:
        """A dry run of an object: what kubectl printed. note: an annotation of ours."""
        obj = llm_deployment("tried", self.space, spec, uri=LLAMA)
        obj["metadata"]["annotations"] = {f"plimsoll.dev/{k}": v for k, v in note.items()}
        args = ("create", "--dry-run=server", "-f", "-")
        return self.kubectl(*args, input=json.dumps(obj), kubeconfig=user)[1]

    def label(self, mode: str) -> None:
        """Give the namespace a policy."""
        self.plane.kubectl(
            "label", "namespace", self.space, f"plimsoll.dev/policy={mode}", "--overwrite"
        )

    def config_map(self, name: str, **changed: int) -> None:
        """Put a model into a ConfigMap."""
        config = json.dumps({**LLAMA_70B, **changed})
        made = self.kubectl("create", "configmap", name, f"--from-literal=config.json={config}")
        assert made[0] == 0, made[1]

    def obj(self, name: str) -> dict[str, Any]:
        """An LLMDeployment as it is now."""
        return self.plane.get("llmd", name, "-n", self.space)

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and message of a condition; empty if there is none."""
        found = conditions(self.obj(name)).get(kind, {})
        return found.get("status", ""), found.get("message", "")


def new_stage(release: Installed) -> Stage:
    """A fresh namespace whose policy is warn. What was placed for an earlier one takes no GPU."""
    release.plane.kubectl("delete", "llmd", "--all", "--all-namespaces")
    stage = Stage(release, f"stage-{next(_NUMBERS)}")
    release.plane.kubectl("create", "namespace", stage.space)
    stage.label("warn")
    return stage


def unheard_of(stage: Stage, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A node with a GPU that no table has, and what an object says that asks for it."""
    kind = f"{name}-{stage.space}".upper()
    labels = {"nvidia.com/gpu.product": f"NVIDIA-{kind}", "nvidia.com/gpu.memory": "204800"}
    node = gpu_node(kind.lower(), "h100-80gb", labels=labels)
    return node, {**TOO_SMALL, "accelerator": {"allowed": [f"nvidia-{kind.lower()}"]}}


def webhook_works(release: Installed, override: str = f"{RELEASE}-override") -> None:
    """Claim: the webhook knows nodes, policies and ConfigMaps from before and from after its
    start, and asks who may override. override: the ClusterRole of who may.

    Its certificate is given to it and its authority published, so that no controller is needed.
    """
    stage, plane = new_stage(release), release.plane
    tls = plane.folder / stage.space
    tls.mkdir()
    plane.authority.issue("webhook", sans=LOOPBACK).write(tls, "tls")
    publish(plane, plane.authority.bundle)
    (early, on_early), (late, on_late) = unheard_of(stage, "early"), unheard_of(stage, "late")
    plane.create([early])
    stage.config_map("early")
    try:
        with release.webhook(tls, wait=False) as process:
            claim = Claims(process)
            claim(process.ready, "it is ready")
            claim(lambda: "Warning: " in stage.try_out(TOO_SMALL), "a policy from before")
            stage.label("enforce")
            claim(lambda: "short by" in stage.try_out(TOO_SMALL), "a policy from after")
            assert "created" in stage.try_out(on_early), "a node from before"
            plane.create([late])
            claim(lambda: "created" in stage.try_out(on_late), "a node from after")
            claim(lambda: "short by" in stage.try_out(of("early")), "a ConfigMap from before")
            stage.config_map("late")
            claim(lambda: "short by" in stage.try_out(of("late")), "a ConfigMap from after")
            user = who_may_override(stage, override)

            def overridden() -> bool:
                said = stage.try_out(TOO_SMALL, user=user, override="why not")
                if claim.allowed() and "may not override" in said:
                    raise Forbidden(said)
                return "overridden by" in said

            claim(overridden, "who may override does")
    finally:
        plane.kubectl(
            "delete", "nodes", *(n["metadata"]["name"] for n in (early, late)), "--ignore-not-found"
        )


def of(config_map: str) -> dict[str, Any]:
    """What an object says that takes its model from a ConfigMap."""
    return {**TOO_SMALL, "model": {"configMapRef": {"name": config_map}}}


def who_may_override(stage: Stage, role: str) -> Path:
    """A user who may create LLMDeployments, and also has that ClusterRole."""
    user = f"user-of-{stage.space}"
    stage.kubectl("create", "rolebinding", "override", f"--clusterrole={role}", f"--user={user}")
    # last: once a user may create, what was granted before is known too
    stage.kubectl("create", "role", user, "--verb=create", "--resource=llmdeployments.plimsoll.dev")
    stage.kubectl("create", "rolebinding", user, f"--role={user}", f"--user={user}")
    return stage.plane.kubeconfig_for(user)


def publish(plane: ControlPlane, authority: bytes) -> None:
    """Have the API server trust an authority with the webhook; nobody if there is none."""
    text = base64.b64encode(authority).decode()
    patch = [{"op": "add", "path": CA_BUNDLE, "value": text}]
    if not authority:
        patch.append({"op": "remove", "path": CA_BUNDLE})
    plane.kubectl("patch", *REGISTRATION, "--type=json", "-p", json.dumps(patch))


def trusted(plane: ControlPlane) -> bytes:
    """Whom the API server trusts with the webhook; empty if nobody has said."""
    (hook,) = plane.get(*REGISTRATION)["webhooks"]
    return base64.b64decode(hook["clientConfig"].get("caBundle", ""))


def controller_works(release: Installed) -> None:
    """Claim: the controller leads, decides by all that there is and comes, tells of it, and keeps
    the webhook's certificate. The webhook is not running: its failurePolicy is Ignore here."""
    stage, plane = new_stage(release), release.plane
    own = ("-n", NAMESPACE, "--ignore-not-found")
    plane.kubectl("delete", "lease", f"{RELEASE}-controller", *own)
    plane.kubectl("delete", "secret", SERVING, AUTHORITY, *own)
    publish(plane, b"")
    quick = {"node_settle_seconds": 0.1, "lease_retry_seconds": 0.5}
    with release.controller(wait=False, **quick) as process:
        claim = Claims(process)
        claim(process.ready, "it is ready")
        claim(lambda: process.metric("plimsoll_leader") == 1, "it leads")
        before = renewed(plane)
        _decides(stage, claim)
        _keeps_certificates(plane, claim)
        claim(lambda: renewed(plane) != before, "it renews its Lease")


def renewed(plane: ControlPlane) -> str:
    """When the Lease was last renewed."""
    spec = plane.get("lease", f"{RELEASE}-controller", "-n", NAMESPACE)["spec"]
    return str(spec["renewTime"])


def _decides(stage: Stage, claim: Claims) -> None:
    plane = stage.plane
    h100 = {"accelerator": {"allowed": ["nvidia-h100-80gb"]}}
    named = llm_deployment("named", stage.space, {"model": {"configMapRef": {"name": "mine"}}})
    plane.create(
        [
            llm_deployment("here", stage.space, {"accelerator": {"allowed": ["nvidia-a100-80gb"]}}),
            llm_deployment("elsewhere", stage.space, h100),
            named,
        ]
    )
    is_there = "CapacityAvailable"
    claim(lambda: stage.condition("here", is_there)[0] == "True", "nodes from before")
    claim(lambda: plane.get("events", "-n", stage.space)["items"], "it tells of it in Events")

    def told(times: int) -> bool:
        events = plane.get("events", "-n", stage.space)["items"]
        counted = sum(
            int(event.get("count") or 1)
            for event in events
            if (event["involvedObject"]["name"], event["reason"]) == ("elsewhere", "NodesMatch")
        )
        return counted >= times

    node = f"h100-{stage.space}"
    for times in (1, 2):  # the second time the Event is there, and is counted
        claim(lambda: stage.condition("elsewhere", is_there)[0] == "False", "no such node")
        plane.create([gpu_node(node, "h100-80gb")])
        try:
            claim(lambda: stage.condition("elsewhere", is_there)[0] == "True", "nodes from after")
            claim(functools.partial(told, times), "it tells of it each time")
        finally:
            plane.kubectl("delete", "node", node)

    claim(lambda: stage.condition("named", "ModelResolved")[0] == "False", "no such ConfigMap")
    stage.config_map("mine", num_hidden_layers=18)
    claim(
        lambda: "18 layers" in stage.condition("named", "ModelResolved")[1], "ConfigMaps from after"
    )

    def request() -> str:
        return str(stage.obj("here")["status"]["estimate"]["requestHash"])

    before = request()
    stage.label("audit")
    claim(lambda: request() != before, "a policy from after")
    selector = {"matchLabels": {"kubernetes.io/metadata.name": stage.space}}
    policy = policy_object(stage.space, namespaceSelector=selector, maxGPUsPerReplica=64)
    plane.create([policy])
    try:
        counted = functools.partial(plane.get, "sizingpolicy", stage.space)
        claim(lambda: (counted().get("status") or {}).get("objects") == 3, "a SizingPolicy's count")
    finally:
        plane.kubectl("delete", "sizingpolicy", stage.space)
    claim(lambda: _hurried(stage, claim), "what changed under its hands is read again")


def _hurried(stage: Stage, claim: Claims) -> bool:
    """Change an object faster than it is decided; whether a decision came too late for it."""

    async def change() -> None:
        async with connect(str(stage.plane.kubeconfig)) as client:
            path = LLM_DEPLOYMENTS.path(stage.space, "here")
            for number in range(1, 60):
                body = {"spec": {"engine": {"maxModelLen": 1024 + number}}}
                await client.request(
                    "PATCH", path, body=body, content_type="application/merge-patch+json"
                )

    asyncio.run(change())
    return (claim.process.metric(CONFLICTS) or 0) > 0


def _keeps_certificates(plane: ControlPlane, claim: Claims) -> None:
    def data(name: str, key: str = "tls.crt") -> str:
        shown = plane.kubectl(
            "get",
            "secret",
            name,
            "-n",
            NAMESPACE,
            "--ignore-not-found",
            "-o",
            f"jsonpath={{.data.{key.replace('.', chr(92) + '.')}}}",
        )
        return shown.stdout

    def damage(name: str, key: str) -> None:
        patch = json.dumps({"stringData": {key: "damaged"}})
        plane.kubectl("patch", "secret", name, "-n", NAMESPACE, "-p", patch)

    def delete(name: str) -> None:
        plane.kubectl("delete", "secret", name, "-n", NAMESPACE)

    claim(lambda: data(SERVING) and trusted(plane), "it issues and publishes")
    before = trusted(plane)
    publish(plane, b"")
    claim(lambda: trusted(plane) == before, "it publishes again what somebody took away")
    damaged = base64.b64encode(b"damaged").decode()

    def mended(name: str, key: str) -> bool:
        return data(name, key) not in ("", damaged)

    for name, key in ((SERVING, "tls.key"), (AUTHORITY, "ca.crt")):
        damage(name, key)
        claim(functools.partial(mended, name, key), f"it mends Secret {name}")
        delete(name)
        claim(functools.partial(data, name), f"it makes Secret {name} anew")


def user_works(release: Installed, role: str) -> None:
    """Claim: somebody with that ClusterRole reads LLMDeployments; with the one of editors, writes
    them too. Raises `ApiError` if the API server refuses."""
    stage = new_stage(release)
    user = f"user-of-{stage.space}"
    stage.plane.create([llm_deployment("model", stage.space)])
    stage.kubectl("create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}")
    kubeconfig = stage.plane.kubeconfig_for(user)
    asyncio.run(_use(str(kubeconfig), stage, writes=role.endswith("-edit")))


async def _use(kubeconfig: str, stage: Stage, *, writes: bool) -> None:
    space = stage.space
    all_of, one = LLM_DEPLOYMENTS.path(space), LLM_DEPLOYMENTS.path(space, "model")
    async with connect(kubeconfig) as client:
        found = await client.request("GET", one)
        assert len((await client.request("GET", all_of))["items"]) == 1
        async for kind, obj in client.watch(LLM_DEPLOYMENTS, "", namespace=space):
            assert (kind, obj["metadata"]["name"]) == ("ADDED", "model")
            break
        if not writes:
            return
        await client.create(LLM_DEPLOYMENTS, llm_deployment("other", space), namespace=space)
        await client.request("PUT", one, body=found)
        labels = {"metadata": {"labels": {"team": "a"}}}
        await client.request("PATCH", one, body=labels, content_type="application/merge-patch+json")
        await client.delete(LLM_DEPLOYMENTS, "model", namespace=space)
        await client.request("DELETE", all_of)
        assert (await client.request("GET", all_of))["items"] == []


def everything_works(release: Installed) -> None:
    """Claim: both processes do all that they are there for, and users what their roles say; none
    of them is refused anything."""
    controller_works(release)
    webhook_works(release)
    for role in ("view", "edit"):
        user_works(release, f"{RELEASE}-{role}")
