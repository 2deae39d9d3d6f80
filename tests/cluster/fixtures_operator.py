"""The operator's processes as tests start them: separate, with the rights that we ship, no others.

It must not know what the processes do; it installs, starts, waits, asks for metrics and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlplane.certificates import LOOPBACK
from controlplane.processes import Process
from plimsoll_operator.api.webhook import at_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from controlplane import Cluster, ControlPlane

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SYSTEM_NAMESPACE = "plimsoll-system"
CONTROLLER_ACCOUNT = "plimsoll-controller"
STARTING = 90.0
"""Seconds that a process may take to be ready on a busy machine."""


def free_port() -> int:
    """An even port that nobody listens on, nor on the odd one above it.

    `plimsoll-operator dev` takes both for its metrics; even ports never meet anybody's odd one.
    All are below those that the kernel gives to clients.
    """
    while True:
        port = random.randrange(10000, 20000, 2)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def install(cluster: Cluster) -> None:
    """The CRD and the rights, as a user applies them."""
    cluster.kubectl("apply", "-f", str(DEPLOY / "crd.yaml"))
    until(lambda: established(cluster), 30, "the CRD is established")
    created = cluster.kubectl("create", "namespace", SYSTEM_NAMESPACE, check=False)
    assert created.returncode == 0 or "AlreadyExists" in created.stderr, created.stderr
    cluster.kubectl("apply", "-f", str(DEPLOY / "rbac.yaml"))


def established(cluster: Cluster) -> bool:
    """Whether every CustomResourceDefinition is served, within some seconds."""
    # `kubectl wait` fails outright while the new CRD has no conditions at all
    wait = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=5s")
    return cluster.kubectl(*wait, check=False).returncode == 0


def until(condition: Callable[[], Any], seconds: float, what: str = "") -> Any:
    """Ask until the answer is true, and give it; an AssertionError with the last one after that.

    An AssertionError raised by the condition counts as not yet.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            last = condition()
        except AssertionError as error:
            last = error
        else:
            if last:
                return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}: {last}")
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class OperatorProcess:
    """A running process of ours. address: of its metrics and probes."""

    process: Process
    address: str

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one of its plain HTTP pages; status 0 if nobody listens."""
        try:
            with urllib.request.urlopen(f"{self.address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        """Whether it says so; an error at once if it has ended."""
        if self.process.returncode is not None:
            raise RuntimeError(f"ended ({self.process.returncode}):\n{self.log(60)}")
        return self.get("/readyz")[0] == 200

    def metric(self, line: str) -> float | None:
        """The value of one series, written as Prometheus writes it; None if there is none."""
        for found in self.get("/metrics")[1].splitlines():
            name, _, value = found.rpartition(" ")
            if name == line:
                return float(value)
        return None

    def log(self, lines: int = 200) -> str:
        """The end of what it wrote."""
        return self.process.tail(lines)

    def processes(self) -> list[int]:
        """Itself and what it has started."""
        found = [self.process.pid]
        for process in found:
            started = Path(f"/proc/{process}/task/{process}/children").read_text()
            found += map(int, started.split())
        return found

    def memory(self) -> int:
        """Bytes of all its processes in memory now; what they share counts once."""
        total = 0
        for process in self.processes():
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
            total += int(line.split()[1]) << 10
        return total


@contextlib.contextmanager
def operator_process(
    command: str,
    kubeconfig: Path,
    folder: Path,
    settings: Mapping[str, object] | None = None,
    *,
    wait: bool = True,
    program: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[OperatorProcess]:
    """Run `plimsoll-operator COMMAND` until the end of the block.

    settings: by field name of `plimsoll_operator.settings.Settings`. wait: until it is ready.
    program: what to run instead of this interpreter's command (an image's). environment: its
    variables; unset: ours.
    """
    port = free_port()
    given: dict[str, object] = {
        "kubeconfig": kubeconfig,
        "metrics_host": "127.0.0.1",
        "metrics_port": port,
        **(settings or {}),
    }
    said = {f"PLIMSOLL_{k.upper()}": str(v) for k, v in given.items()}
    process = Process(
        command,
        program or [sys.executable, "-m", "plimsoll_operator", command],
        folder / f"{command}-{port}.log",
        environment={**(os.environ if environment is None else environment), **said},
    )
    running = OperatorProcess(process, f"http://127.0.0.1:{port}")
    try:
        if wait:
            try:
                until(running.ready, STARTING, f"{command} is ready")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{running.log(60)}") from None
        yield running
    finally:
        process.kill()


@contextlib.contextmanager
def admission_asked(
    plane: ControlPlane,
    name: str,
    configuration: Callable[[str, dict[str, Any]], dict[str, Any]],
    more: Mapping[str, object] | None = None,
) -> Iterator[OperatorProcess]:
    """Admission as a process of its own with the rights that we ship, asked by the API server.

    configuration: makes the registration of a name and a client, as it is shipped. more: settings.
    """
    install(plane)
    certificate, key = plane.authority.issue("admission", sans=LOOPBACK).write(plane.folder, name)
    port = free_port()
    settings = {
        "admission_host": LOOPBACK[0],
        "admission_port": port,
        "tls_cert": certificate,
        "tls_key": key,
        "admission_drain_seconds": 1,
        **(more or {}),
    }
    kubeconfig = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, "plimsoll-webhook")
    with operator_process("admission", kubeconfig, plane.folder, settings) as running:
        client = at_url(f"https://{LOOPBACK[0]}:{port}/fit", plane.authority.bundle)
        plane.kubectl("apply", "-f", "-", input=json.dumps(configuration(name, client)))
        try:
            yield running
        finally:
            plane.kubectl("delete", "validatingwebhookconfiguration", name)


def llm_deployment(
    name: str,
    namespace: str,
    spec: Mapping[str, Any] | None = None,
    *,
    uri: str = "hf://Qwen/Qwen2.5-7B-Instruct",
) -> dict[str, Any]:
    """An LLMDeployment as users write it. spec: what else it says (engine, workload ...)."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"uri": uri}, "engine": {"name": "vllm"}, **(spec or {})},
    }


def conditions(obj: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The conditions of an object by type."""
    found = (obj.get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in found}
