"""Claims about the chart, installed by the real helm with each way to a certificate.

Controller and webhook run outside the cluster with the chart's own ServiceAccounts' tokens, told
what their pods are told; the API server reaches the webhook through `webhook.url.host`. The test
plays the kubelet: it writes the Secret's files to a folder.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from chart import CHART, NAMESPACE, HelmError
from chart.others import other_kinds
from cluster.fixtures_install import (
    SERVING,
    SOON,
    Installed,
    create,
    elsewhere,
    install_chart,
    is_decided,
    is_refused,
    merged,
    mount,
)
from cluster.fixtures_operator import llm_deployment, until
from cluster.plane import own_plane
from controlplane.certificates import Authority, KeyPair
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from controlplane import ControlPlane


plane = own_plane("registers a webhook", [gpu_node("a100-0"), gpu_node("a100-1")], installed=False)


def uninstall(release: Installed) -> None:
    """Take the release away, and what it leaves in its namespace, which nobody empties here."""
    release.helm("uninstall")
    release.plane.kubectl("delete", "secret,lease", "--all", "-n", NAMESPACE)


def registration(plane: ControlPlane) -> dict[str, Any]:
    """The only webhook of the release's configuration."""
    (hook,) = plane.get("validatingwebhookconfiguration", "plimsoll")["webhooks"]
    found: dict[str, Any] = hook
    return found


def trusted(plane: ControlPlane) -> bytes:
    """Whom the API server trusts with the webhook; empty if nobody has said."""
    return base64.b64decode(registration(plane)["clientConfig"].get("caBundle", ""))


def refuses_and_decides(plane: ControlPlane, space: str) -> None:
    """Claim: what is too small is refused with the reason, and what fits gets its status."""
    said = until(lambda: is_refused(plane, space), SOON, "refused")
    assert 'admission webhook "fit.llmdeployments.plimsoll.dev" denied the request' in said
    assert create(plane, llm_deployment("fits", space)) == ""
    status = until(lambda: is_decided(plane, space), SOON, "decided")["status"]
    assert status["placement"]["accelerator"] == "nvidia-a100-80gb"


def test_self_managed_tls_needs_nothing_but_the_two_processes(
    plane: ControlPlane, space: str, tmp_path: Path
) -> None:
    release = install_chart(plane)
    try:
        assert trusted(plane) == b""
        said = create(plane, llm_deployment("too-early", space))
        assert "failed calling webhook" in said, "refused until the webhook answers"
        with release.controller() as controller:
            tls = mount(plane, SERVING, tmp_path / "tls")
            until(lambda: trusted(plane) == (tls / "ca.crt").read_bytes(), SOON, "published")
            with release.webhook(tls) as webhook:
                refuses_and_decides(plane, space)
                values = merged(elsewhere(release.port), {"commonLabels": {"upgraded": "yes"}})
                release.helm("upgrade", str(CHART), values=values)
                assert trusted(plane) == (tls / "ca.crt").read_bytes(), "helm leaves it alone"
                is_refused(plane, space)
                for process in (controller, webhook):
                    assert "forbidden" not in process.log(10_000).lower()
    finally:
        uninstall(release)


def test_a_secret_of_the_users_is_served_and_trusted_as_given(
    plane: ControlPlane, space: str, tmp_path: Path
) -> None:
    authority = Authority("of-the-user")
    bundle = base64.b64encode(authority.bundle).decode()
    values = {"tls": {"mode": "secret", "secret": {"name": "mine", "caBundle": bundle}}}
    release = install_chart(plane, values)
    try:
        put(plane, "mine", authority.issue("webhook", sans=["127.0.0.1"]))
        assert trusted(plane) == authority.bundle
        assert "webhook_secret" not in release.settings("controller"), "it issues nothing"
        tls = mount(plane, "mine", tmp_path / "tls")
        with release.controller() as controller, release.webhook(tls) as webhook:
            refuses_and_decides(plane, space)
            for process in (controller, webhook):
                assert "forbidden" not in process.log(10_000).lower()
        assert trusted(plane) == authority.bundle
        secrets = plane.get("secrets", "-n", NAMESPACE)["items"]
        names = {s["metadata"]["name"] for s in secrets if s["type"] != "helm.sh/release.v1"}
        assert names == {"mine"}
    finally:
        uninstall(release)


def test_from_self_managed_to_a_secret_the_registration_changes_hands_when_forced(
    plane: ControlPlane,
) -> None:
    bundle = base64.b64encode(Authority("of-the-user").bundle).decode()
    mode = {"tls": {"mode": "secret", "secret": {"name": "mine", "caBundle": bundle}}}
    release = install_chart(plane)
    try:
        with release.controller():
            until(lambda: trusted(plane), SOON, "published")
        values = merged(elsewhere(release.port), mode)
        with pytest.raises(HelmError, match='conflict with "plimsoll-controller"'):
            release.helm("upgrade", str(CHART), values=values)
        release.helm("upgrade", str(CHART), "--force-conflicts", values=values)
        assert trusted(plane) == base64.b64decode(bundle)
        release.helm("upgrade", str(CHART), values=values)  # once was enough
        assert "--force-conflicts" in (CHART / "README.md").read_text()
    finally:
        uninstall(release)


def put(plane: ControlPlane, name: str, pair: KeyPair, authority: bytes = b"") -> None:
    """A Secret of type kubernetes.io/tls; with its authority, as cert-manager makes them."""
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    if authority:
        data["ca.crt"] = authority
    obj = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {key: base64.b64encode(text).decode() for key, text in data.items()},
    }
    plane.apply([obj], "--server-side")


def play_cert_manager(plane: ControlPlane) -> Authority:
    """Do what cert-manager does with the objects that are there; the authority that it made.

    From the webhook configuration's annotation to the Certificate, from that to its Issuer and to
    the Certificate of the Issuer's own authority; then the Secret that was asked for, with the
    names that were asked for; and the caBundle, written as cainjector writes it.
    """
    hook = plane.get("validatingwebhookconfiguration", "plimsoll")
    namespace, name = hook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].split("/")
    asked = plane.get("certificate", name, "-n", namespace)["spec"]
    issuer = plane.get("issuer", asked["issuerRef"]["name"], "-n", namespace)["spec"]
    (root,) = (
        c["spec"]
        for c in plane.get("certificates", "-n", namespace)["items"]
        if c["spec"]["secretName"] == issuer["ca"]["secretName"]
    )
    self_signed = plane.get("issuer", root["issuerRef"]["name"], "-n", namespace)["spec"]
    assert root["isCA"] is True
    assert self_signed == {"selfSigned": {}}
    authority = Authority(root["commonName"])
    sans = [*asked.get("dnsNames", []), *asked.get("ipAddresses", [])]
    put(plane, asked["secretName"], authority.issue(name, sans=sans), authority.bundle)
    patch = {
        "op": "add",
        "path": "/webhooks/0/clientConfig/caBundle",
        "value": base64.b64encode(authority.bundle).decode(),
    }
    plane.kubectl(
        "patch",
        "validatingwebhookconfiguration",
        "plimsoll",
        "--type=json",
        "--field-manager=cert-manager-cainjector",
        "-p",
        json.dumps([patch]),
    )
    return authority


def test_cert_managers_objects_lead_to_a_trusted_webhook(
    plane: ControlPlane, space: str, tmp_path: Path
) -> None:
    """There is no cert-manager here. Its kinds are, as CRDs that refuse a field they do not know;
    `play_cert_manager` does its part by nothing but the objects that the chart made."""
    plane.apply(other_kinds(), "--server-side")
    until(lambda: "certificates.cert-manager.io" in names_of_kinds(plane), SOON, "kinds are served")
    mode = {"tls": {"mode": "cert-manager"}}
    release = install_chart(plane, mode)
    try:
        authority = play_cert_manager(plane)
        tls = mount(plane, SERVING, tmp_path / "tls")
        leaf = x509.load_pem_x509_certificate((tls / "tls.crt").read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"plimsoll-webhook.{NAMESPACE}.svc"]
        with release.controller() as controller, release.webhook(tls) as webhook:
            refuses_and_decides(plane, space)
            for process in (controller, webhook):
                assert "forbidden" not in process.log(10_000).lower()
        values = merged(elsewhere(release.port), mode, {"commonLabels": {"upgraded": "yes"}})
        release.helm("upgrade", str(CHART), values=values)
        assert trusted(plane) == authority.bundle, "helm leaves what cainjector wrote"
    finally:
        uninstall(release)


def names_of_kinds(plane: ControlPlane) -> str:
    """What kubectl lists of the kinds that are served."""
    return plane.kubectl("api-resources", "--no-headers", "-o", "name", check=False).stdout
