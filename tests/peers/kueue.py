"""Kueue's own manager on a control plane of ours: it listens on loopback only.

Its webhooks are not asked: the certificate that it issues itself is for a Service, and no Service
is reached here. What they would add to an object a test writes into it.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from cluster.fixtures_operator import free_port
from controlplane.build import KUEUE, folder_of
from peers.manager import HOST, UNCHECKED, Manager, objects_in

NAMESPACE: Final = "kueue-system"
SECRET: Final = "kueue-webhook-server-cert"
SERVICE: Final = "kueue-webhook-service"
CONVERTED: Final = ("localqueues", "clusterqueues", "workloads", "cohorts", "multikueueclusters")
"""Kinds whose CustomResourceDefinitions its certificate goes into."""


class Kueue(Manager):
    """The manager as it comes, for Jobs and Pods."""

    name = KUEUE

    def prepare(self) -> None:
        self._install()
        (self.folder / "config.yaml").write_text(json.dumps(self._config()))

    def arguments(self) -> list[str]:
        config = f"--config={self.folder / 'config.yaml'}"
        return [config, "--feature-gates=VisibilityOnDemand=false", "--zap-log-level=2"]

    def serves(self) -> bool:
        """What a kubelet does for its certificate is done meanwhile."""
        data = self.plane.get("secret", SECRET, "-n", NAMESPACE).get("data") or {}
        folder = self.folder / "certificates"
        folder.mkdir(exist_ok=True)
        for name, content in data.items():
            path = folder / name
            if not path.exists():
                path.write_bytes(base64.b64decode(content))
        return True

    def _config(self) -> dict[str, Any]:
        return {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": self.health},
            "metrics": {"bindAddress": f"{HOST}:{free_port()}"},
            "webhook": {
                "host": HOST,
                "port": free_port(),
                "certDir": str(self.folder / "certificates"),
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
        plane = self.plane
        kinds = objects_in(folder_of(KUEUE) / "crd")
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
