"""The real kube-scheduler and kube-controller-manager beside a control plane of ours.

They must listen on loopback only. No kubelet runs: a pod that is bound stays Pending for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from controlplane.build import SCHEDULER, ensure_built
from controlplane.certificates import LOOPBACK
from controlplane.cluster import free_port
from controlplane.errors import ControlPlaneError
from controlplane.processes import Process

if TYPE_CHECKING:
    from controlplane.cluster import ControlPlane

_HOST = LOOPBACK[0]


class _Part:
    """A part of Kubernetes as it comes, without leader election. Use it as a context manager."""

    name = ""
    flags: tuple[str, ...] = ()

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._program = ensure_built(SCHEDULER)[self.name]
        self._process: Process | None = None

    def __enter__(self) -> Self:
        config = str(self._plane.kubeconfig)
        self._process = Process(
            self.name,
            [
                str(self._program),
                f"--kubeconfig={config}",
                f"--authentication-kubeconfig={config}",
                f"--authorization-kubeconfig={config}",
                "--leader-elect=false",
                f"--bind-address={_HOST}",
                f"--secure-port={free_port()}",
                f"--cert-dir={self._plane.folder / self.name}",
                *self.flags,
            ],
            self._plane.folder / f"{self.name}.log",
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()

    def check(self) -> None:
        """Raises `ControlPlaneError` if it has ended."""
        process = self._process
        if process is not None and process.returncode is not None:
            raise ControlPlaneError(f"{self.name} ended ({process.returncode}):\n{process.tail()}")


class Scheduler(_Part):
    """It binds pods to nodes."""

    name = "kube-scheduler"


class Controllers(_Part):
    """It makes the pods of Deployments and StatefulSets, and collects what has no owner."""

    name = "kube-controller-manager"
    flags = (
        "--controllers=deployment-controller,replicaset-controller,statefulset-controller,"
        "garbage-collector-controller",
        "--use-service-account-credentials=false",
    )
