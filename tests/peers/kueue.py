"""Kueue's own manager on a control plane of ours: it listens on loopback only.

Its webhooks are not asked: the certificate that it issues itself is for a Service, and no Service
is reached here. What they would add to an object a test writes into it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from cluster.fixtures_operator import free_port, until
from controlplane.build import KUEUE, ensure_built, folder_of
from controlplane.certificates import LOOPBACK
from controlplane.processes import Process

if TYPE_CHECKING:
    from controlplane import ControlPlane

_HOST: Final = LOOPBACK[0]
NAMESPACE: Final = "kueue-system"
SECRET: Final = "kueue-webhook-server-cert"
SERVICE: Final = "kueue-webhook-service"
UNCHECKED: Final = "--validate=false"
"""For kubectl: the schema of everything takes an API server long that has just got these kinds."""
CONVERTED: Final = ("localqueues", "clusterqueues", "workloads", "cohorts", "multikueueclusters")
"""Kinds whose CustomResourceDefinitions its certificate goes into."""


class Kueue:
    """The manager as it comes, for Jobs and Pods, without leader election. A context manager."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._program = ensure_built(KUEUE)["kueue"]
        self._process: Process | None = None
        self._folder = plane.folder / "kueue"
        self._health = free_port()

    def __enter__(self) -> Self:
        self._folder.mkdir()
        self._install()
        config = self._folder / "config.yaml"
        config.write_text(json.dumps(self._config()))
        self._process = Process(
            "kueue",
            [
                str(self._program),
                f"--config={config}",
                "--feature-gates=VisibilityOnDemand=false",
                "--zap-log-level=2",
            ],
            self._folder / "kueue.log",
            environment={**os.environ, "KUBECONFIG": str(self._plane.kubeconfig)},
        )
        until(self._is_ready, 120, "Kueue's manager is ready")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()

    def log(self, lines: int = 60) -> str:
        """The end of what it wrote."""
        return self._process.tail(lines) if self._process is not None else ""

    def _config(self) -> dict[str, Any]:
        return {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"{_HOST}:{self._health}"},
            "metrics": {"bindAddress": f"{_HOST}:{free_port()}"},
            "webhook": {
                "host": _HOST,
                "port": free_port(),
                "certDir": str(self._folder / "certificates"),
            },
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {
                "enable": True,
                "webhookServiceName": SERVICE,
                "webhookSecretName": SECRET,
            },
            "integrations": {"frameworks": ["batch/job", "pod"]},
        }

    def _install(self) -> None:
        """Its kinds, its namespace, and what it writes its certificate into."""
        plane = self._plane
        kinds = [
            yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
            for path in sorted((folder_of(KUEUE) / "crd").glob("*.yaml"))
        ]
        nowhere = {"service": {"name": SERVICE, "namespace": NAMESPACE, "path": "/convert"}}
        for kind in kinds:
            if kind["spec"]["names"]["plural"] in CONVERTED:
                hook = {"clientConfig": nowhere, "conversionReviewVersions": ["v1"]}
                kind["spec"]["conversion"] = {"strategy": "Webhook", "webhook": hook}
        plane.create(kinds, UNCHECKED)
        names = [f"crd/{kind['metadata']['name']}" for kind in kinds]
        plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        plane.kubectl("create", "namespace", NAMESPACE)
        plane.create(
            [
                {
                    "apiVersion": "admissionregistration.k8s.io/v1",
                    "kind": f"{which}WebhookConfiguration",
                    "metadata": {"name": f"kueue-{which.lower()}-webhook-configuration"},
                    "webhooks": [],
                }
                for which in ("Validating", "Mutating")
            ],
            UNCHECKED,
        )
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}}
        plane.create([secret], UNCHECKED, "-n", NAMESPACE)

    def _is_ready(self) -> bool:
        """Whether it says so; what a kubelet does for its certificate is done meanwhile."""
        process = self._process
        assert process is not None
        if process.returncode is not None:
            raise RuntimeError(f"Kueue's manager ended ({process.returncode}):\n{self.log()}")
        self._mount()
        address = f"http://{_HOST}:{self._health}/readyz"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2) as page:
            return bool(page.status == 200)
        return False

    def _mount(self) -> None:
        data = self._plane.get("secret", SECRET, "-n", NAMESPACE).get("data") or {}
        folder = self._folder / "certificates"
        folder.mkdir(exist_ok=True)
        for name, content in data.items():
            path = folder / name
            if not path.exists():
                path.write_bytes(base64.b64decode(content))
