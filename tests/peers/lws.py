"""LeaderWorkerSet's own controller (v0.8.0) on a control plane of ours, its webhooks asked, too.

It listens on loopback only, with a certificate of the control plane's authority.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from cluster.fixtures_operator import established, free_port, until
from controlplane.build import LWS, ensure_built, folder_of
from controlplane.certificates import LOOPBACK
from controlplane.processes import Process
from plimsoll_operator.api.webhook import at_url

if TYPE_CHECKING:
    from pathlib import Path

    from controlplane import ControlPlane

_HOST: Final = LOOPBACK[0]


class LeaderWorkerSets:
    """The controller as it comes, without leader election. A context manager."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._program = ensure_built(LWS)["lws"]
        self._config = folder_of(LWS) / "config"
        self._process: Process | None = None
        self._folder = plane.folder / "lws"
        self._health, self._port = free_port(), free_port()

    def __enter__(self) -> Self:
        self._folder.mkdir()
        self._plane.create(objects_in(self._config / "crd" / "bases"))
        until(lambda: established(self._plane), 60, "its kind is served")
        config = self._folder / "config.yaml"
        config.write_text(json.dumps(self._settings()))
        self._process = Process(
            "lws",
            [str(self._program), f"--config={config}", "--zap-log-level=info"],
            self._folder / "lws.log",
            environment={**os.environ, "KUBECONFIG": str(self._plane.kubeconfig)},
        )
        until(self._is_ready, 120, "LeaderWorkerSet's controller is ready")
        self._plane.create(self._webhooks())
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()

    def log(self, lines: int = 60) -> str:
        """The end of what it wrote."""
        return self._process.tail(lines) if self._process is not None else ""

    def _settings(self) -> dict[str, Any]:
        certificates = self._folder / "certificates"
        certificates.mkdir()
        self._plane.authority.issue("lws", sans=LOOPBACK).write(certificates, "tls")
        return {
            "apiVersion": "config.lws.x-k8s.io/v1alpha1",
            "kind": "Configuration",
            "health": {"healthProbeBindAddress": f"{_HOST}:{self._health}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": _HOST, "port": self._port, "certDir": str(certificates)},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
        }

    def _webhooks(self) -> list[dict[str, Any]]:
        """Its own registrations, at its address here. Of pods it is asked about its own alone."""
        found = objects_in(self._config / "webhook", "manifests.yaml")
        for registered in found:
            for hook in registered["webhooks"]:
                path = hook["clientConfig"]["service"]["path"]
                url = f"https://{_HOST}:{self._port}{path}"
                hook["clientConfig"] = at_url(url, self._plane.authority.bundle)
        return found

    def _is_ready(self) -> bool:
        """Whether it says so and its webhooks listen."""
        process = self._process
        assert process is not None
        if process.returncode is not None:
            raise RuntimeError(f"the controller ended ({process.returncode}):\n{self.log()}")
        try:
            address = f"http://{_HOST}:{self._health}/readyz"
            with urllib.request.urlopen(address, timeout=2) as page:
                return bool(page.status == 200) and "Serving webhook server" in self.log(400)
        except OSError:
            return False


def objects_in(folder: Path, names: str = "*.yaml") -> list[dict[str, Any]]:
    """The objects in the files of a folder."""
    return [
        one
        for path in sorted(folder.glob(names))
        for one in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)
        if one
    ]
