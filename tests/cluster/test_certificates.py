"""Claims about certificates that the controller keeps, on a real API server that checks them."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from cluster.fixtures_certificates import (
    AUTHORITY,
    CONFIGURATION,
    SECRET,
    Kubelet,
    keeper_settings,
    secret,
    trusted,
)
from cluster.fixtures_leader import leader_of
from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    OperatorProcess,
    free_port,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import LLAMA, own_plane
from plimsoll_operator.api.webhook import at_url, webhook_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from controlplane import ControlPlane

SOON = 5.0
"""Seconds in which what was damaged is mended; looks alone would take a minute."""
PROPAGATION = 3
REFUSED = {
    "accelerator": {"allowed": ["nvidia-l4"]},
    "engine": {"name": "vllm", "parallelism": {"tensor": 1}},
}


plane = own_plane("registers a webhook")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module", autouse=True)
def registered(plane: ControlPlane, port: int) -> dict[str, Any]:
    """The configuration as a chart has it: without a caBundle."""
    made = webhook_configuration(CONFIGURATION, at_url(f"https://127.0.0.1:{port}/fit", b""))
    del made["webhooks"][0]["clientConfig"]["caBundle"]
    plane.apply([made])
    return made


@pytest.fixture
def controller(plane: ControlPlane, account: Path, port: int) -> Iterator[OperatorProcess]:
    settings = keeper_settings(port, certificate_propagation_seconds=PROPAGATION)
    with operator_process("controller", account, plane.folder, settings) as running:
        until(lambda: "all is well" in running.log(), 20, "the certificates are there")
        yield running


def serials(pem: bytes) -> list[int]:
    return [c.serial_number for c in x509.load_pem_x509_certificates(pem)]


def test_admission_is_trusted_with_what_the_controller_issued(
    plane: ControlPlane, controller: OperatorProcess, port: int
) -> None:
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, "plimsoll-webhook")
    with Kubelet(plane, plane.folder / "tls") as kubelet:
        settings = {"admission_host": "127.0.0.1", "admission_port": port, **kubelet.settings}
        with operator_process("admission", account, plane.folder, settings):
            obj = llm_deployment("refused", "default", REFUSED, uri=LLAMA)

            def refused() -> bool:
                done = plane.kubectl("create", "-f", "-", input=json.dumps(obj), check=False)
                assert "short by" in done.stderr, done.stderr
                return done.returncode == 1

            until(refused, SOON, "the API server asks admission and believes it")


def test_the_authoritys_key_is_where_admission_cannot_see_it(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    serving, authority = secret(plane), secret(plane, AUTHORITY)
    assert serving["type"] == authority["type"] == "kubernetes.io/tls"
    assert set(serving["data"]) == {"tls.crt", "tls.key", "ca.crt"}
    assert authority["data"]["tls.key"] not in serving["data"].values()
    assert serving["data"]["ca.crt"] == authority["data"]["ca.crt"] == trusted(plane)
    leaf = x509.load_pem_x509_certificate(serving["data"]["tls.crt"])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        f"plimsoll-webhook.{SYSTEM_NAMESPACE}.svc",
        f"plimsoll-webhook.{SYSTEM_NAMESPACE}.svc.cluster.local",
    ]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    expiry = 'plimsoll_certificate_expiry_timestamp_seconds{certificate="serving"}'
    assert controller.metric(expiry) == leaf.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_a_serving_secret_is_mended_at_once(
    plane: ControlPlane, controller: OperatorProcess, how: str
) -> None:
    before, roots = secret(plane)["data"]["tls.crt"], trusted(plane)
    if how == "deleted":
        plane.kubectl("delete", "secret", SECRET, "-n", SYSTEM_NAMESPACE)
    else:
        rubbish = {"stringData": {"tls.key": "rubbish"}}
        plane.kubectl("patch", "secret", SECRET, "-n", SYSTEM_NAMESPACE, "-p", json.dumps(rubbish))

    def mended() -> bool:
        data = secret(plane).get("data", {})
        return data.get("tls.crt", before) != before and b"PRIVATE KEY" in data["tls.key"]

    until(mended, SOON, "mended")
    assert trusted(plane) == roots


def test_an_authority_that_is_deleted_is_made_again_and_the_old_one_stays_trusted(
    plane: ControlPlane, controller: OperatorProcess
) -> None:
    before, leaf = trusted(plane), secret(plane)["data"]["tls.crt"]
    plane.kubectl("delete", "secret", AUTHORITY, "-n", SYSTEM_NAMESPACE)

    def both() -> bool:
        now = serials(trusted(plane))
        return len(now) == len(serials(before)) + 1 and now[1:] == serials(before)

    until(both, SOON, "old and new are trusted together")
    until(lambda: secret(plane)["data"]["ca.crt"], SOON)
    assert secret(plane)["data"]["tls.crt"] == leaf, "switched before the wait was over"


def test_a_ca_bundle_that_somebody_reset_is_put_back_at_once(
    plane: ControlPlane, controller: OperatorProcess, registered: dict[str, Any]
) -> None:
    before = trusted(plane)
    plane.kubectl("replace", "-f", "-", input=json.dumps(registered))
    until(lambda: trusted(plane) == before, SOON, "put back")
    plane.kubectl("delete", "validatingwebhookconfiguration", CONFIGURATION)
    plane.kubectl("create", "-f", "-", input=json.dumps(registered))
    until(lambda: trusted(plane) == before, SOON, "put into one made anew")


def test_an_applier_that_does_not_name_the_ca_bundle_leaves_it_alone(
    plane: ControlPlane, controller: OperatorProcess, registered: dict[str, Any]
) -> None:
    before = trusted(plane)
    text = json.dumps(registered)
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
    assert trusted(plane) == before
    hook = plane.get("validatingwebhookconfiguration", CONFIGURATION, "--show-managed-fields")
    owners = {
        entry["manager"]
        for entry in hook["metadata"]["managedFields"]
        if "f:caBundle" in json.dumps(entry["fieldsV1"])
    }
    assert owners == {"plimsoll-controller"}


def test_a_secret_of_somebody_else_is_left_as_it_is_and_an_event_says_so(
    plane: ControlPlane, account: Path, port: int
) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": AUTHORITY, "namespace": SYSTEM_NAMESPACE},
        "stringData": {"theirs": "yes"},
    }
    plane.kubectl("delete", "secret", AUTHORITY, "-n", SYSTEM_NAMESPACE, "--ignore-not-found")
    plane.kubectl("create", "-f", "-", input=json.dumps(theirs))
    before = trusted(plane)
    with operator_process("controller", account, plane.folder, keeper_settings(port)) as running:
        until(lambda: "is not ours: it has no label" in running.log(), SOON, "says so")

        def told() -> bool:
            found = plane.get("events", "-n", SYSTEM_NAMESPACE)["items"]
            return any(
                e["reason"] == "ForeignSecret" and e["involvedObject"]["name"] == AUTHORITY
                for e in found
            )

        until(told, SOON, "an Event says so")
        assert secret(plane, AUTHORITY)["data"] == {"theirs": b"yes"}
        assert trusted(plane) == before
        plane.kubectl("delete", "secret", AUTHORITY, "-n", SYSTEM_NAMESPACE)
        until(lambda: "ca.crt" in secret(plane, AUTHORITY).get("data", {}), SOON, "goes on")


def test_only_the_leader_keeps_certificates(plane: ControlPlane, account: Path, port: int) -> None:
    settings = keeper_settings(port, leader_elect=True)
    with (
        operator_process("controller", account, plane.folder, settings) as one,
        operator_process("controller", account, plane.folder, settings) as other,
    ):
        leader, (standby,) = leader_of((one, other))
        plane.kubectl("delete", "secret", SECRET, "-n", SYSTEM_NAMESPACE)
        until(lambda: secret(plane), SOON, "mended by the leader")
        assert "certificates" not in standby.log()
        os.kill(leader.process.pid, signal.SIGTERM)
        leader_of([standby])
        plane.kubectl("delete", "secret", SECRET, "-n", SYSTEM_NAMESPACE)
        until(lambda: secret(plane), SOON, "mended by the one that leads now")


def test_it_may_see_no_other_secret(plane: ControlPlane) -> None:
    account = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{CONTROLLER_ACCOUNT}"
    for verb in ("get", "update", "delete", "list"):
        asked = plane.kubectl(
            "auth", "can-i", verb, "secrets", "-n", SYSTEM_NAMESPACE, f"--as={account}", check=False
        )
        assert asked.stdout.strip() == "no", verb


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"webhook_configuration": ""}, "--webhook-configuration: is not given"),
        ({"webhook_service": "", "webhook_dns_names": ""}, "whom to certify?"),
        ({"certificate_seconds": 60}, "--certificate-seconds: 60 is too short for a rotation"),
        ({"authority_seconds": 60}, "--authority-seconds: 60 is less than"),
        ({"webhook_dns_names": "http://x"}, "--webhook-dns-names: "),
    ],
)
def test_settings_that_cannot_be_honoured_stop_the_start_with_a_sentence(
    plane: ControlPlane, account: Path, wrong: dict[str, object], says: str
) -> None:
    settings = keeper_settings(1) | wrong
    with operator_process("controller", account, plane.folder, settings, wait=False) as running:
        assert running.process.wait(15) == 1
        assert says in running.log()
