"""Claims about settings of certificates: which names they stand for, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from plimsoll.errors import PlimsollError
from plimsoll_operator.__main__ import main
from plimsoll_operator.certificates.keeper import Target, what_is_asked
from plimsoll_operator.settings import Settings


def asked(**settings: Any) -> tuple[Target, tuple[str, ...]]:
    given = {"webhook_secret": "tls", "webhook_configuration": "plimsoll", **settings}
    target, wish = what_is_asked(Settings(**given), "own")
    return target, wish.names


def test_a_service_stands_for_the_names_that_api_server_and_pods_call_it_by() -> None:
    target, names = asked(webhook_service="webhook", webhook_namespace="system")
    assert names == ("webhook.system.svc", "webhook.system.svc.cluster.local")
    assert target == Target("tls", "system", ("plimsoll",))
    assert target.authority == "tls-ca"
    two = asked(webhook_service="webhook", webhook_configuration="plimsoll, plimsoll-workloads")[0]
    assert two.configurations == ("plimsoll", "plimsoll-workloads")
    assert asked(webhook_service="webhook")[1][0] == "webhook.own.svc"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("webhook.example.com:8443", ("webhook.example.com",)),
        ("127.0.0.1:9443, other ,", ("127.0.0.1", "other")),
        ("[::1]:9443", ("::1",)),
        ("fd00::1", ("fd00::1",)),
        ("a,a", ("a",)),
    ],
)
def test_other_names_may_be_addresses_and_may_carry_a_port(
    given: str, names: tuple[str, ...]
) -> None:
    assert asked(webhook_dns_names=given)[1] == names


def test_what_is_wrong_is_said_all_at_once() -> None:
    settings = {
        "webhook_configuration": "",
        "webhook_dns_names": "https://a/b",
        "certificate_seconds": 60.0,
        "authority_seconds": 30.0,
    }
    with pytest.raises(PlimsollError) as caught:
        asked(**settings)
    said = str(caught.value)
    for part in (
        "--webhook-configuration: is not given",
        "--webhook-dns-names: 'https://a/b' is neither",
        "--certificate-seconds: 60 is too short for a rotation: give at least six times "
        "--certificate-propagation-seconds, which is 300",
        "--authority-seconds: 30 is less than --certificate-seconds, 60",
    ):
        assert part in said


def test_the_defaults_leave_a_rotation_months_of_time() -> None:
    _, wish = what_is_asked(
        Settings(webhook_secret="a", webhook_configuration="b", webhook_service="c"), "own"
    )
    assert wish.serving == timedelta(days=90)
    assert wish.propagation == timedelta(minutes=5)


def test_a_switch_is_a_flag_and_its_opposite() -> None:
    said = CliRunner().invoke(main, ["controller", "--help"]).output
    assert "--leader-elect / --no-leader-elect" in said
    result = CliRunner().invoke(main, ["controller"], env={"PLIMSOLL_LEADER_ELECT": "perhaps"})
    assert result.exit_code == 2
    assert "perhaps" in result.output
