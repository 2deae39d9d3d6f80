"""The chart as installed by the real helm, its processes started from what the API server holds.

It must not start a process with other rights than the chart's own ServiceAccounts have. There is no
kubelet, so what one does is done here: the Secret's files are written to a folder, and of the
variables of a container only addresses and paths are changed.
"""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chart import CHART, NAMESPACE, RELEASE, helm, settings
from cluster.fixtures_operator import (
    conditions,
    free_port,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import LLAMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cluster.fixtures_operator import OperatorProcess
    from controlplane import ControlPlane

SERVING = f"{RELEASE}-webhook-tls"
"""The Secret that the chart's webhook serves from, unless another one is given."""
TOO_SMALL: dict[str, Any] = {
    "engine": {"name": "vllm", "maxModelLen": 32768, "parallelism": {"tensor": 2}},
    "workload": {"concurrentSequences": 8},
    "accelerator": {"allowed": ["nvidia-a100-80gb"]},
}
"""70 billion parameters on two GPUs: the weights fit, so that the floor is silent; the load does
not."""
SOON = 60.0
"""Seconds; it takes one or two if the machine is idle."""


def elsewhere(port: int) -> dict[str, Any]:
    """Values for a webhook that runs on this machine, outside the cluster."""
    return {"webhook": {"port": port, "url": {"host": f"127.0.0.1:{port}"}}}


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    """Several trees of values as one; the later wins."""
    found: dict[str, Any] = {}
    for tree in values:
        for key, value in tree.items():
            before = found.get(key)
            both = isinstance(value, dict) and isinstance(before, dict)
            found[key] = merged(before or {}, value) if both else value
    return found


def mount(plane: ControlPlane, secret: str, folder: Path, namespace: str = NAMESPACE) -> Path:
    """What the kubelet does with a Secret: a file of each key, once there is the Secret."""

    def data() -> dict[str, str]:
        shown = plane.kubectl("get", "secret", secret, "-n", namespace, "-o", "json", check=False)
        found: dict[str, str] = json.loads(shown.stdout).get("data", {}) if shown.stdout else {}
        return found

    folder.mkdir(exist_ok=True)
    for key, text in until(data, SOON, f"Secret {secret} is there").items():
        (folder / key).write_bytes(base64.b64decode(text))
    return folder


@dataclass(frozen=True, slots=True)
class Installed:
    """A release of the chart on a control plane. port: of a webhook outside the cluster."""

    plane: ControlPlane
    port: int
    namespace: str = NAMESPACE
    name: str = RELEASE

    def helm(self, command: str, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """A command of helm on this release; what it printed."""
        return helm(
            command,
            self.name,
            *arguments,
            "--namespace",
            self.namespace,
            kubeconfig=self.plane.kubeconfig,
            values=values,
        ).stdout

    def settings(self, component: str) -> dict[str, str]:
        """What the Deployment of a component, as the API server holds it, tells its pods."""
        found = self.plane.get("deployments", "-n", self.namespace)["items"]
        return settings(found, component)

    def account(self, component: str) -> Path:
        """A kubeconfig with a token of the account that the pods of a component run as."""
        pod = self.plane.get("deployment", f"{self.name}-{component}", "-n", self.namespace)
        account = pod["spec"]["template"]["spec"]["serviceAccountName"]
        return self.plane.kubeconfig_for_service_account(self.namespace, account)

    @contextlib.contextmanager
    def controller(self, *, wait: bool = True, **changed: object) -> Iterator[OperatorProcess]:
        """The controller, told what its pod is told. changed: settings of the test's own."""
        told: dict[str, object] = {**self.settings("controller"), **changed}
        told.pop("metrics_port")
        account = self.account("controller")
        with operator_process("controller", account, self.plane.folder, told, wait=wait) as process:
            yield process

    @contextlib.contextmanager
    def webhook(
        self, tls: Path, *, wait: bool = True, **changed: object
    ) -> Iterator[OperatorProcess]:
        """The webhook on `port`. tls: the folder that the Secret is mounted in."""
        told: dict[str, object] = {
            **self.settings("webhook"),
            "admission_host": "127.0.0.1",
            "admission_drain_seconds": 0.2,
            "tls_cert": tls / "tls.crt",
            "tls_key": tls / "tls.key",
            **changed,
        }
        told.pop("metrics_port")
        account = self.account("webhook")
        with operator_process("admission", account, self.plane.folder, told, wait=wait) as process:
            yield process


def install_chart(plane: ControlPlane, values: Mapping[str, Any] | None = None) -> Installed:
    """`helm install` of the chart with its webhook on a port of this machine."""
    made = Installed(plane, free_port())
    made.helm(
        "install",
        str(CHART),
        "--create-namespace",
        values=merged(elsewhere(made.port), values or {}),
    )
    return made


def create(plane: ControlPlane, obj: Mapping[str, Any], *args: str) -> str:
    """`kubectl create` of one object: what it printed if it was refused, else nothing."""
    done = plane.kubectl("create", "-f", "-", *args, input=json.dumps(obj), check=False)
    return done.stderr if done.returncode else ""


def is_refused(plane: ControlPlane, namespace: str) -> str:
    """Claim: what is too small is refused with the reason; what kubectl printed."""
    said = create(plane, llm_deployment("too-small", namespace, TOO_SMALL, uri=LLAMA))
    assert "does not fit" in said, said
    assert "short by" in said, said
    there = plane.kubectl("get", "llmd", "-n", namespace, "-o", "name").stdout
    assert "/too-small" not in there
    return said


def is_decided(plane: ControlPlane, namespace: str, name: str = "fits") -> dict[str, Any]:
    """Claim: an object's status is about what it is now, and it fits; the object."""
    obj = plane.get("llmd", name, "-n", namespace)
    assert obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"], obj
    assert conditions(obj)["Fits"]["status"] == "True", conditions(obj)
    return obj
