"""What becomes of a verdict: a namespace's mode, an override, and an update that is no worse.

mode      the namespace's label, else the strictest of the SizingPolicies that select it, else the
          default
bounds    the strictest of those policies, whatever their modes are

let in    what is not denied; whatever the mode is warn or audit; what is overridden by somebody
          who may; an update of an object that failed already and that makes nothing worse
denied    the rest
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from plimsoll.api_group import POLICY_LABEL, WORKLOADS_LABEL
from plimsoll.decision.bounds import UNBOUND, Bounds, strictest
from plimsoll.errors import shown
from plimsoll.findings import Finding, Rule, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.verdict import Verdict


class Mode(StrEnum):
    """What a namespace wants done with a denial."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for an object. mode: see `Mode`; source: who said so, for the message.

    label: the namespace's label that may say otherwise. bounds: what it is held to beside its
    memory. unread: what of the policies nobody could read and so does not hold, as sentences.
    """

    mode: Mode = Mode.ENFORCE
    source: str = "default"
    label: str = POLICY_LABEL
    bounds: Bounds = UNBOUND
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one SizingPolicy says of the objects that it selects; see `Policy`. mode: None if it
    says none."""

    name: str
    mode: Mode | None = None
    bounds: Bounds = UNBOUND
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Override:
    """What an object says of an override. reason: as its annotation claims it.

    since: when its status recorded it, "" if it did not. by: the field manager that wrote the
    annotation and when, "" if that is not at hand; which user it was, the audit log alone says.
    """

    reason: str
    since: str = ""
    by: str = ""


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


def policy_of(namespace: str, label: str | None, rulings: Sequence[Ruling] = ()) -> Policy:
    """The policy in force in a namespace. label: its `POLICY_LABEL`, None if it has none.

    rulings: of the SizingPolicies that select an object there. A label that says nothing known is
    read as enforce, the default, and the source says so.
    """
    if label is None:
        return ruled(DEFAULT_POLICY, rulings)
    return bound(_labelled(namespace, POLICY_LABEL, label, Mode.ENFORCE), rulings)


def workloads_policy(
    namespace: str, label: str | None, rulings: Sequence[Ruling] = (), *, named: bool = False
) -> Policy | None:
    """The policy on other people's kinds in a namespace; None if they are not to be looked at.

    label: its `WORKLOADS_LABEL`, None if it has none. One that says nothing known is read as warn,
    the default of these kinds, and the source says so. rulings: see `policy_of`; named: whether one
    of them names the kind in question, so that it is looked at without the label.
    """
    if label is not None:
        return bound(_labelled(namespace, WORKLOADS_LABEL, label, Mode.WARN), rulings)
    return ruled(Policy(Mode.WARN, label=WORKLOADS_LABEL), rulings) if named else None


def ruled(default: Policy, rulings: Sequence[Ruling]) -> Policy:
    """The policy of a namespace without a label: the strictest mode of all, and the bounds."""
    said = [one for one in rulings if one.mode is not None]
    if said:
        strict = min(said, key=lambda one: _STRICTEST.index(one.mode or default.mode))
        default = replace(
            default, mode=strict.mode or default.mode, source=f"SizingPolicy {strict.name}"
        )
    return bound(default, rulings)


def bound(policy: Policy, rulings: Sequence[Ruling]) -> Policy:
    """A policy with the strictest bounds of all rulings."""
    if not rulings:
        return policy
    return replace(
        policy,
        bounds=strictest([one.bounds for one in rulings]),
        unread=tuple(text for one in rulings for text in one.unread),
    )


_STRICTEST: Final = (Mode.ENFORCE, Mode.WARN, Mode.AUDIT)


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

    It is not if the shortfall per GPU grows, if an error appears at a path that had none, or if it
    goes further beyond the GPUs or the annotations that a policy asks for.
    """
    if not before.denied:
        return False
    paths = {path_of(problem, before.places) for problem in before.problems}
    return (
        after.short_by <= before.short_by
        and all(path_of(problem, after.places) in paths for problem in after.problems)
        and all(_beyond(after, rule) <= _beyond(before, rule) for rule in _COUNTED)
    )


_COUNTED: Final = {
    Rule.GPUS_BEYOND_POLICY: "gpus",
    Rule.OBJECT_BEYOND_POLICY: "gpus",
    Rule.ANNOTATIONS_MISSING: "missing",
}
"""What goes beyond a policy by a count, with the fact that has it."""


def _beyond(verdict: Verdict, rule: Rule) -> int:
    """The count in a finding of a verdict; 0 without one."""
    for problem in verdict.problems:
        if isinstance(problem, Finding) and problem.rule is rule:
            count = dict(problem.facts)[_COUNTED[rule]]
            return len(count) if isinstance(count, tuple) else int(str(count))
    return 0
