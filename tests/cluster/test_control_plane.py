"""Claims about the control plane itself, on which every other cluster test rests."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

import controlplane.cluster
from controlplane import ControlPlane, ControlPlaneError, ExternalCluster, KubectlError
from controlplane.build import kubernetes_version
from controlplane.certificates import LOOPBACK
from controlplane.nodes import GPUS, gpu_node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from controlplane import Cluster


def test_server_says_which_version_it_is(own_control_plane: ControlPlane) -> None:
    shown = own_control_plane.kubectl("version").stdout
    assert f"Server Version: {kubernetes_version()}" in shown


def test_user_without_rights_is_refused_and_with_a_role_is_not(
    control_plane: Cluster, namespace: str
) -> None:
    alice = control_plane.kubeconfig_for("alice", ["developers"])
    get = ("get", "configmaps", "--namespace", namespace)

    with pytest.raises(KubectlError, match='User "alice" cannot list resource "configmaps"'):
        control_plane.kubectl(*get, kubeconfig=alice)

    create = ("create", "--namespace", namespace)
    control_plane.kubectl(*create, "role", "read", "--verb=list", "--resource=configmaps")
    control_plane.kubectl(*create, "rolebinding", "read", "--role=read", "--group=developers")
    _eventually(lambda: not control_plane.kubectl(*get, kubeconfig=alice, check=False).returncode)


def test_service_account_token_is_who_it_says(control_plane: Cluster, namespace: str) -> None:
    control_plane.kubectl("create", "serviceaccount", "robot", "--namespace", namespace)
    robot = control_plane.kubeconfig_for_service_account(namespace, "robot")

    shown = control_plane.kubectl("auth", "whoami", kubeconfig=robot).stdout

    assert f"system:serviceaccount:{namespace}:robot" in shown


def test_gpu_nodes_keep_their_status_and_get_no_taint(control_plane: Cluster) -> None:
    kinds = sorted(GPUS)
    wanted = [gpu_node(f"claims-{kind}", kind, realistic=True) for kind in kinds]
    names = [node["metadata"]["name"] for node in wanted]
    try:
        control_plane.create(wanted)
        found = control_plane.get("nodes", *names)["items"]
    finally:
        control_plane.kubectl("delete", "nodes", "--ignore-not-found", *names)

    got = {node["metadata"]["name"]: node for node in found}
    for node in wanted:
        kept = got[node["metadata"]["name"]]
        assert kept["status"]["allocatable"] == node["status"]["allocatable"]
        assert kept["metadata"]["labels"] == node["metadata"]["labels"]
        assert "taints" not in kept["spec"]


def test_webhook_with_a_certificate_of_its_authority_is_called(
    own_control_plane: ControlPlane, namespace: str
) -> None:
    plane = own_control_plane
    pair = plane.authority.issue("webhook", sans=LOOPBACK).write(plane.folder, "claims-webhook")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*pair)
    called = threading.Event()

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            called.set()
            self.send_error(500)

    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            plane.apply([_webhook(f"https://127.0.0.1:{server.server_port}/", plane, namespace)])
            create = ("create", "configmap", "probe", "--dry-run=server", "--namespace", namespace)
            _eventually(
                lambda: "failed calling webhook" in plane.kubectl(*create, check=False).stderr
            )
        finally:
            plane.kubectl("delete", "validatingwebhookconfiguration", f"claims-{namespace}")
            server.shutdown()
    assert called.is_set()


def test_api_server_comes_back_at_the_same_address_with_its_data(
    own_control_plane: ControlPlane, namespace: str
) -> None:
    url = own_control_plane.url
    own_control_plane.stop_apiserver()
    try:
        away = own_control_plane.kubectl("get", "namespaces", check=False)
        assert away.returncode
        assert "refused" in away.stderr
    finally:
        own_control_plane.start_apiserver()

    assert own_control_plane.url == url
    assert own_control_plane.get("namespace", namespace)["status"]["phase"] == "Active"


def test_taken_ports_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    free_port = controlplane.cluster.free_port
    asked = 0

    with contextlib.ExitStack() as strangers:

        def some_taken() -> int:
            nonlocal asked
            asked += 1
            port = free_port()
            if asked in (1, 5):  # etcd's first choice, then the API server's
                strangers.enter_context(socket.create_server(("127.0.0.1", port)))
            return port

        monkeypatch.setattr(controlplane.cluster, "free_port", some_taken)
        with ControlPlane() as plane:
            assert plane.kubectl("get", "--raw", "/readyz").stdout == "ok"
    assert asked == 6
    assert not plane.folder.exists()


def test_named_cluster_that_does_not_answer_is_an_error(
    own_control_plane: ControlPlane, tmp_path: Path
) -> None:
    elsewhere = own_control_plane.kubeconfig.read_text().replace(own_control_plane.url, _NOBODY)
    (tmp_path / "config").write_text(elsewhere)

    with pytest.raises(ControlPlaneError, match="does not answer"):
        ExternalCluster(tmp_path / "config")
    with pytest.raises(ControlPlaneError, match="no kubeconfig at"):
        ExternalCluster(tmp_path / "nothing")


def test_named_cluster_is_used_and_left_running(own_control_plane: ControlPlane) -> None:
    with ExternalCluster(own_control_plane.kubeconfig) as named:
        carol = named.kubeconfig_for("carol")
        refused = named.kubectl("get", "nodes", kubeconfig=carol, check=False)

    assert 'User "carol" cannot list' in refused.stderr
    assert own_control_plane.kubectl("get", "nodes").returncode == 0


_NOBODY = "https://127.0.0.1:1"


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _webhook(url: str, plane: ControlPlane, namespace: str) -> dict[str, object]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"claims-{namespace}"},
        "webhooks": [
            {
                "name": "claims.plimsoll.dev",
                "clientConfig": {
                    "url": url,
                    "caBundle": base64.b64encode(plane.authority.bundle).decode(),
                },
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["configmaps"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
            }
        ],
    }
