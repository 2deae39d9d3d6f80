"""LeaderWorkerSet's own controller (v0.8.0) on a control plane of ours, its webhooks asked, too.

It listens on loopback only, with a certificate of the control plane's authority.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from cluster.fixtures_operator import free_port
from controlplane.build import LWS, folder_of
from controlplane.certificates import LOOPBACK
from peers.manager import HOST, Manager, objects_in
from plimsoll_operator.api.webhook import at_url

if TYPE_CHECKING:
    from controlplane import ControlPlane


class LeaderWorkerSets(Manager):
    """The controller as it comes."""

    name = LWS

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(plane)
        self._port = free_port()

    def __enter__(self) -> Self:
        super().__enter__()
        self.plane.create(self._webhooks())
        return self

    def prepare(self) -> None:
        self.kinds("config/crd/bases")
        (self.folder / "config.yaml").write_text(json.dumps(self._settings()))

    def arguments(self) -> list[str]:
        return [f"--config={self.folder / 'config.yaml'}", "--zap-log-level=info"]

    def serves(self) -> bool:
        return "Serving webhook server" in self.log(400)

    def _settings(self) -> dict[str, Any]:
        certificates = self.folder / "certificates"
        certificates.mkdir()
        self.plane.authority.issue("lws", sans=LOOPBACK).write(certificates, "tls")
        return {
            "apiVersion": "config.lws.x-k8s.io/v1alpha1",
            "kind": "Configuration",
            "health": {"healthProbeBindAddress": self.health},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": HOST, "port": self._port, "certDir": str(certificates)},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
        }

    def _webhooks(self) -> list[dict[str, Any]]:
        """Its own registrations, at its address here. Of pods it is asked about its own alone."""
        found = objects_in(folder_of(LWS) / "config" / "webhook", "manifests.yaml")
        for registered in found:
            for hook in registered["webhooks"]:
                path = hook["clientConfig"]["service"]["path"]
                url = f"https://{HOST}:{self._port}{path}"
                hook["clientConfig"] = at_url(url, self.plane.authority.bundle)
        return found
