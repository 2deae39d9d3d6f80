"""What becomes of a verdict: a namespace's mode, an override, and an update that is no worse.

let in    what is not denied; whatever the mode is warn or audit; what is overridden by somebody
          who may; an update of an object that failed already and that makes nothing worse
denied    the rest
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from plimsoll.api_group import POLICY_LABEL, WORKLOADS_LABEL
from plimsoll.errors import shown
from plimsoll.findings import path_of

if TYPE_CHECKING:
    from plimsoll.decision.verdict import Verdict


class Mode(StrEnum):
    """What a namespace wants done with a denial."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the namespace says. mode: see `Mode`; source: who said so, for the message.

    label: the namespace's label that may say otherwise.
    """

    mode: Mode = Mode.ENFORCE
    source: str = "default"
    label: str = POLICY_LABEL


DEFAULT_POLICY: Final = Policy()
"""That of a namespace that says nothing."""


class Outcome(StrEnum):
    """What becomes of a verdict, and by what; the result that metrics count."""

    ALLOWED = "allow"
    """It fits."""
    DOUBTED = "warn"
    """Nobody can be sure that it fits."""
    AUDITED = "audited"
    """A denial that the namespace only wants recorded."""
    WARNED = "warned"
    """A denial that the namespace wants told."""
    OVERRIDDEN = "overridden"
    NO_WORSE = "no-worse"
    """An update of what failed already."""
    DENIED = "denied"

    @property
    def let_in(self) -> bool:
        """Whether the object may be as it is."""
        return self is not Outcome.DENIED


def policy_of(namespace: str, label: str | None) -> Policy:
    """The policy in force in a namespace. label: its `POLICY_LABEL`, None if it has none.

    A label that says nothing known is read as enforce, the default, and the source says so.
    """
    if label is None:
        return DEFAULT_POLICY
    return _labelled(namespace, POLICY_LABEL, label, Mode.ENFORCE)


def workloads_policy(namespace: str, label: str | None) -> Policy | None:
    """The policy on other people's kinds in a namespace; None if they are not to be looked at.

    label: its `WORKLOADS_LABEL`, None if it has none. One that says nothing known is read as warn,
    the default of these kinds, and the source says so.
    """
    if label is None:
        return None
    return _labelled(namespace, WORKLOADS_LABEL, label, Mode.WARN)


def _labelled(namespace: str, key: str, label: str, default: Mode) -> Policy:
    """What a label says; the default if that is nothing known."""
    source = f"namespace {namespace} has {key}={label}"
    try:
        return Policy(Mode(label.strip().lower()), source, key)
    except ValueError:
        modes = ", ".join(Mode)
        source = f"namespace {namespace} has {key}={shown(label)}, not one of {modes}"
        return Policy(default, source, key)


def outcome(
    verdict: Verdict, *, overridden: bool = False, before: Verdict | None = None
) -> Outcome:
    """What becomes of an object.

    overridden: whether it carries a reason to override the verdict, of somebody who may.
    before: for an update, the verdict on the object as it was.
    """
    if not verdict.denied:
        return Outcome(verdict.decision.value)
    match verdict.policy.mode:
        case Mode.AUDIT:
            return Outcome.AUDITED
        case Mode.WARN:
            return Outcome.WARNED
    if overridden:
        return Outcome.OVERRIDDEN
    if before is not None and no_worse(before, verdict):
        return Outcome.NO_WORSE
    return Outcome.DENIED


def no_worse(before: Verdict, after: Verdict) -> bool:
    """Whether an object that was denied already is no worse after a change.

    It is not if the shortfall per GPU grows, or if an error appears at a path that had none.
    """
    if not before.denied:
        return False
    paths = {path_of(problem, before.places) for problem in before.problems}
    return after.short_by <= before.short_by and all(
        path_of(problem, after.places) in paths for problem in after.problems
    )
