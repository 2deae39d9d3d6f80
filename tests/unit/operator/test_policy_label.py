"""Claims about a namespace's policy label: what nobody understands is enforced, and said."""

from __future__ import annotations

from plimsoll.decision.policy import Mode, policy_of, workloads_policy


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


def test_other_peoples_kinds_are_not_looked_at_without_a_label() -> None:
    assert workloads_policy("chat", None) is None


def test_a_label_opts_other_peoples_kinds_in_with_its_mode() -> None:
    policy = workloads_policy("chat", "Enforce")
    assert policy is not None
    assert policy.mode is Mode.ENFORCE
    assert policy.source == "namespace chat has plimsoll.dev/workloads=Enforce"


def test_a_label_for_other_kinds_that_says_nothing_known_is_a_warning_and_named() -> None:
    policy = workloads_policy("chat", "yes")
    assert policy is not None
    assert policy.mode is Mode.WARN
    assert '"yes", not one of enforce, warn, audit' in policy.source
