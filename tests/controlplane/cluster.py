"""A control plane of our own: etcd and kube-apiserver on loopback, RBAC on, gone when we are.

It must listen on loopback only, and it runs no controller: nothing is garbage-collected, no
namespace is emptied, no default service account is made, no pod is scheduled, and the aggregated
roles (view, edit, admin) grant nothing.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import http
import http.client
import json
import os
import random
import shutil
import socket
import ssl
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from controlplane.build import ETCD, KUBERNETES, ensure_built
from controlplane.certificates import LOOPBACK, Authority, KeyPair, signing_pair
from controlplane.errors import ControlPlaneError
from controlplane.kubectl import Cluster, Manifest
from controlplane.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_LIMIT = 180.0
"""Seconds to wait for a server; both together take about three on two idle cores."""

_HOST = LOOPBACK[0]
_PORTS = range(20000, 32000)  # below those that the kernel hands out by itself
_ATTEMPTS = 5


class ControlPlane(Cluster):
    """An empty cluster. Use it as a context manager, or call start() and close().

    kubernetes: the set of programs, a folder under go/; keep: leave its working folder there
    when it is closed (so does PLIMSOLL_KEEP=1).
    authority: issues its certificates, and those of webhooks that it is to call.
    apiserver_flags, etcd_flags: what they are started with beside our own flags.
    """

    def __init__(self, *, kubernetes: str = KUBERNETES, keep: bool = False) -> None:
        self._programs = ensure_built(ETCD, kubernetes)
        folder = Path(tempfile.mkdtemp(prefix="plimsoll-control-plane-"))
        atexit.register(self.close)
        super().__init__(folder / "admin.kubeconfig", self._programs["kubectl"], folder)
        self.authority = Authority()
        self.apiserver_flags: Sequence[str] = ()
        self.etcd_flags: Sequence[str] = ()
        self._keep = keep or os.environ.get("PLIMSOLL_KEEP") == "1"
        self._etcd: Process | None = None
        self._apiserver: Process | None = None
        self._etcd_port = self._port = 0
        self._certificates = folder / "certificates"
        self._admin = self.authority.issue("admin", ["system:masters"])
        self._tls = self._write_certificates()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the API server listens; the same after a restart."""
        return f"https://{_HOST}:{self._port}"

    def start(self) -> Self:
        """Start both servers and wait until they are ready."""
        try:
            _on_free_ports(self._start_etcd)
            _on_free_ports(self._start_apiserver_anywhere)
        except BaseException:
            self.close()
            raise
        self._write_kubeconfig()
        return self

    def close(self) -> None:
        """End what was started and remove the working folder; may be called twice."""
        atexit.unregister(self.close)
        for process in (self._apiserver, self._etcd):
            if process:
                process.kill()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop_apiserver(self) -> None:
        """The API server goes away at once, as when its machine does; etcd keeps the data."""
        if self._apiserver:
            self._apiserver.kill()

    def start_apiserver(self) -> None:
        """It comes back at the same address, with the same certificates; wait until ready."""
        self._apiserver = self._launch_apiserver()
        _wait(self._apiserver, self._apiserver_is_ready)

    def keep_audit_log(self) -> Self:
        """Before it starts: have its API server write down who asked what, and why he may."""
        policy, log = self.folder / "audit-policy.yaml", self.folder / "audit.log"
        rule = {"level": "Metadata", "omitStages": ["RequestReceived"]}
        kind = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [rule]}
        policy.write_text(json.dumps(kind))
        self.apiserver_flags = (
            *self.apiserver_flags,
            f"--audit-policy-file={policy}",
            f"--audit-log-path={log}",
        )
        return self

    def audited(self) -> Iterator[Manifest]:
        """The events of the audit log so far, the oldest first."""
        with (self.folder / "audit.log").open() as lines:
            yield from map(json.loads, lines)

    def etcd(self, path: str, body: Mapping[str, object]) -> Manifest:
        """What etcd answers to a request of its own, as its gateway takes it: ``kv/range``, ..."""
        request = urllib.request.Request(
            f"https://{_HOST}:{self._etcd_port}/v3/{path}", json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=60, context=self._tls) as answer:
            found: Manifest = json.loads(answer.read())
        return found

    def processes(self) -> list[int]:
        """The process ids of both servers, if they run."""
        return [process.pid for process in (self._apiserver, self._etcd) if process]

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """With a client certificate of that name in these groups."""
        return self._kubeconfig_with(user, _credentials(self.authority.issue(user, groups)))

    def _write_certificates(self) -> ssl.SSLContext:
        self._certificates.mkdir()
        authority = self._certificates / "ca.crt"
        authority.write_bytes(self.authority.bundle)
        self.authority.issue("kube-apiserver", sans=LOOPBACK).write(self._certificates, "server")
        signing_pair().write(self._certificates, "service-accounts")
        tls = ssl.create_default_context(cafile=str(authority))
        tls.load_cert_chain(*self._admin.write(self._certificates, "admin"))
        return tls

    def _write_kubeconfig(self) -> None:
        server = {"server": self.url, "certificate-authority-data": _base64(self.authority.bundle)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "plimsoll",
            "clusters": [{"name": "plimsoll", "cluster": server}],
            "users": [{"name": "user", "user": _credentials(self._admin)}],
            "contexts": [{"name": "plimsoll", "context": {"cluster": "plimsoll", "user": "user"}}],
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(config, indent=2))  # JSON is YAML

    def _start_etcd(self) -> None:
        data = self.folder / "etcd"
        shutil.rmtree(data, ignore_errors=True)  # of an attempt on other ports
        self._etcd_port = free_port()
        client, peer = f"https://{_HOST}:{self._etcd_port}", f"http://{_HOST}:{free_port()}"
        flags = [
            f"--data-dir={data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--cert-file={self._certificates / 'server.crt'}",
            f"--key-file={self._certificates / 'server.key'}",
            f"--trusted-ca-file={self._certificates / 'ca.crt'}",
            "--client-cert-auth",
            "--unsafe-no-fsync",
            "--log-level=warn",
            *self.etcd_flags,
        ]
        self._etcd = self._launch("etcd", flags)
        _wait(self._etcd, self._etcd_is_ready)

    def _start_apiserver_anywhere(self) -> None:
        self._port = free_port()
        self.start_apiserver()

    def _launch_apiserver(self) -> Process:
        certificates = self._certificates
        flags = [
            f"--etcd-servers=https://{_HOST}:{self._etcd_port}",
            f"--etcd-cafile={certificates / 'ca.crt'}",
            f"--etcd-certfile={certificates / 'admin.crt'}",
            f"--etcd-keyfile={certificates / 'admin.key'}",
            f"--bind-address={_HOST}",
            f"--secure-port={self._port}",
            f"--external-hostname={_HOST}",
            f"--cert-dir={certificates}",
            f"--tls-cert-file={certificates / 'server.crt'}",
            f"--tls-private-key-file={certificates / 'server.key'}",
            f"--client-ca-file={certificates / 'ca.crt'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            # no controller makes default service accounts, or takes a new node's taint away
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            f"--service-account-issuer={self.url}/",
            f"--service-account-key-file={certificates / 'service-accounts.crt'}",
            f"--service-account-signing-key-file={certificates / 'service-accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            # a benchmark measures Plimsoll, not the server's own throttle
            "--max-requests-inflight=0",
            "--max-mutating-requests-inflight=0",
            "--enable-priority-and-fairness=false",
            *self.apiserver_flags,
        ]
        return self._launch("kube-apiserver", flags)

    def _launch(self, name: str, flags: Sequence[str]) -> Process:
        log = self.folder / f"{name}.log"
        return Process(name, [str(self._programs[name]), *flags], log, cwd=self.folder)

    def _etcd_is_ready(self) -> bool:
        return self._says_ok(self._etcd_port, "/health")

    def _apiserver_is_ready(self) -> bool:
        # readyz does not wait for the namespace that everybody's first object goes to
        paths = ("/readyz", "/api/v1/namespaces/default")
        return all(self._says_ok(self._port, path) for path in paths)

    def _says_ok(self, port: int, path: str) -> bool:
        # over TLS, so that a stranger on that port cannot be taken for ours
        connection = http.client.HTTPSConnection(_HOST, port, timeout=2, context=self._tls)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class _PortTaken(ControlPlaneError):
    """Somebody was faster."""


def _on_free_ports(start: Callable[[], None]) -> None:
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(_PortTaken):
            return start()
    return start()


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel hands out by itself."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port


def _wait(process: Process, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while process.wait(0.05) is None:
        if is_ready():
            return
        if time.monotonic() > deadline:
            raise ControlPlaneError(
                f"{process.name} was not ready after {START_LIMIT:.0f} s:\n{process.tail()}"
            )
    kind = _PortTaken if "address already in use" in process.tail() else ControlPlaneError
    raise kind(f"{process.name} ended ({process.returncode}):\n{process.tail()}")


def _credentials(pair: KeyPair) -> dict[str, str]:
    return {
        "client-certificate-data": _base64(pair.certificate),
        "client-key-data": _base64(pair.key),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
