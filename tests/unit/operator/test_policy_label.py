"""Claims about a namespace's policy label: what nobody understands is enforced, and said."""

from __future__ import annotations

from plimsoll.decision.policy import Mode, policy_of


def test_without_a_label_the_default_is_enforce() -> None:
    assert policy_of("chat", None).mode is Mode.ENFORCE
    assert policy_of("chat", None).source == "default"


def test_a_label_names_its_namespace_as_the_source() -> None:
    policy = policy_of("chat", "warn")
    assert policy.mode is Mode.WARN
    assert policy.source == "namespace chat has plimsoll.dev/policy=warn"


def test_a_label_that_says_nothing_known_is_enforced_and_named() -> None:
    policy = policy_of("chat", "off")
    assert policy.mode is Mode.ENFORCE
    assert '"off", not one of enforce, warn, audit' in policy.source
