"""KServe's own controller of LLMInferenceServices (v0.20.0) on a control plane of ours.

Its webhooks are not there (see the program): what they would default a test writes into an object.
"""

from __future__ import annotations

import os
import urllib.request
from typing import TYPE_CHECKING, Final, Self

from cluster.fixtures_operator import established, free_port, until
from controlplane.build import KSERVE, LWS, ensure_built, folder_of
from controlplane.certificates import LOOPBACK
from controlplane.processes import Process
from peers.lws import objects_in

if TYPE_CHECKING:
    from controlplane import ControlPlane

NAMESPACE: Final = "kserve"


class KServe:
    """The controller with the configuration that it comes with. A context manager."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._program = ensure_built(KSERVE)["kserve"]
        self._address = f"{LOOPBACK[0]}:{free_port()}"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        plane, config = self._plane, folder_of(KSERVE) / "config"
        ensure_built(LWS)
        plane.create(objects_in(config / "crd" / "full" / "llmisvc", "serving*.yaml"))
        plane.create(objects_in(folder_of(LWS) / "config" / "crd" / "bases"))
        until(lambda: established(plane), 60, "its kinds are served")
        plane.kubectl("create", "namespace", NAMESPACE)
        given = objects_in(config / "configmap", "inferenceservice.yaml")
        given += objects_in(config / "llmisvcconfig", "config-*.yaml")
        plane.create(
            [{**one, "metadata": {**one["metadata"], "namespace": NAMESPACE}} for one in given],
            "--validate=false",
        )
        self._process = Process(
            "kserve",
            [str(self._program), self._address],
            plane.folder / "kserve.log",
            environment={
                **os.environ,
                "KUBECONFIG": str(plane.kubeconfig),
                "POD_NAMESPACE": NAMESPACE,
            },
        )
        until(self._is_ready, 120, "KServe's controller is ready")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()

    def log(self, lines: int = 60) -> str:
        """The end of what it wrote."""
        return self._process.tail(lines) if self._process is not None else ""

    def _is_ready(self) -> bool:
        process = self._process
        assert process is not None
        if process.returncode is not None:
            raise RuntimeError(f"the controller ended ({process.returncode}):\n{self.log()}")
        try:
            with urllib.request.urlopen(f"http://{self._address}/readyz", timeout=2) as page:
                return bool(page.status == 200)
        except OSError:
            return False
