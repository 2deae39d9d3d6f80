"""Mutual TLS between a real API server and admission, set up as docs/hardening.md says."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.fixtures_operator import free_port, install, llm_deployment, operator_process, until
from controlplane import ControlPlane
from controlplane.certificates import LOOPBACK, Authority
from plimsoll_operator.api.webhook import at_url, webhook_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MISFIT = {
    "model": {"uri": "hf://meta-llama/Llama-3.3-70B-Instruct"},
    "engine": {"maxModelLen": 32768, "parallelism": {"tensor": 1}},
    "accelerator": {"allowed": ["nvidia-a100-80gb"]},
}


def flags(folder: Path, host: str, certificate: Path, key: Path) -> Sequence[str]:
    """What has an API server show a certificate to the webhook at a host."""
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "users": [{"name": host, "user": user}]}
    (folder / "webhooks.kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    webhooks = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(folder / "webhooks.kubeconfig"),
    }
    configuration = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ValidatingAdmissionWebhook", "configuration": webhooks}],
    }
    (folder / "admission.yaml").write_text(yaml.safe_dump(configuration))
    return [f"--admission-control-config-file={folder / 'admission.yaml'}"]


def test_an_api_server_that_shows_its_certificate_is_answered_and_nobody_else(
    control_plane: object, tmp_path: Path
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane of our own")
    clients, port = Authority(), free_port()
    host = f"127.0.0.1:{port}"
    shown = clients.issue("kube-apiserver").write(tmp_path, "api-server")
    (tmp_path / "clients.crt").write_bytes(clients.bundle)
    plane = ControlPlane()
    plane.apiserver_flags = flags(tmp_path, host, *shown)
    with plane:
        install(plane)
        pair = plane.authority.issue("admission", sans=LOOPBACK).write(tmp_path, "admission")
        settings = {
            "admission_host": "127.0.0.1",
            "admission_port": port,
            "tls_cert": pair[0],
            "tls_key": pair[1],
            "client_ca_file": tmp_path / "clients.crt",
        }
        account = plane.kubeconfig_for_service_account("plimsoll-system", "plimsoll-webhook")
        with operator_process("admission", account, tmp_path, settings):
            url = f"https://{host}/fit"
            hook = webhook_configuration("plimsoll", at_url(url, plane.authority.bundle))
            plane.kubectl("apply", "-f", "-", input=json.dumps(hook))

            def refused() -> bool:
                misfit = json.dumps(llm_deployment("misfit", "default", MISFIT))
                done = plane.kubectl(
                    "create", "--dry-run=server", "-f", "-", input=misfit, check=False
                )
                return "short by" in done.stderr

            until(refused, 20, "the API server asks, and is answered")
            trust = ssl.create_default_context(cadata=plane.authority.bundle.decode())
            with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
                urllib.request.urlopen(url, data=b"{}", context=trust, timeout=5)
