"""Controller and admission side by side, as a kubelet keeps them, with the webhook registered."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    OperatorProcess,
    free_port,
    operator_process,
)
from controlplane.certificates import LOOPBACK
from plimsoll_operator.api.webhook import at_url, webhook_configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from controlplane import ControlPlane


class Kubelet:
    """Keeps one of our processes running, whoever ends it."""

    def __init__(
        self,
        command: str,
        account: Path,
        folder: Path,
        settings: Mapping[str, object],
        **others: Any,
    ) -> None:
        self.command = command
        self._arguments, self._others = (command, account, folder, settings), others
        self._stack = contextlib.ExitStack()
        self.running: OperatorProcess
        self.start()

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self._stack.close()
        process = operator_process(*self._arguments, wait=False, **self._others)
        self.running = self._stack.enter_context(process)

    def close(self) -> None:
        """End it."""
        self._stack.close()


@contextlib.contextmanager
def both(
    plane: ControlPlane,
    lead: Callable[[Path], Path] = lambda kubeconfig: kubeconfig,
    settings: Mapping[str, object] | None = None,
    **others: Any,
) -> Iterator[tuple[Kubelet, Kubelet]]:
    """Controller and admission, the latter in the way of every create, closed if it is away.

    lead: from the kubeconfig of an account to the one to use. settings: of the controller.
    others: as `operator_process` takes them.
    """
    certificate, key = plane.authority.issue("admission", sans=LOOPBACK).write(
        plane.folder, "admission"
    )
    port = free_port()
    serving = {
        "admission_host": LOOPBACK[0],
        "admission_port": port,
        "tls_cert": certificate,
        "tls_key": key,
    }
    url = f"https://{LOOPBACK[0]}:{port}/fit"
    hook = webhook_configuration("plimsoll", at_url(url, plane.authority.bundle))
    plane.apply([hook])
    names = {"controller": CONTROLLER_ACCOUNT, "admission": "plimsoll-webhook"}
    accounts = {
        command: lead(plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, name))
        for command, name in names.items()
    }
    controller = Kubelet(
        "controller", accounts["controller"], plane.folder, settings or {}, **others
    )
    admission = Kubelet("admission", accounts["admission"], plane.folder, serving, **others)
    try:
        yield controller, admission
    finally:
        controller.close()
        admission.close()
