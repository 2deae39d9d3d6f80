"""A namespace's policy from its label: one reading for the command line and both processes.

It must not read a cluster; callers give it the label.
"""

from __future__ import annotations

from plimsoll.api_group import POLICY_LABEL
from plimsoll.decision.verdict import Mode, Policy
from plimsoll.errors import shown


def policy_of(namespace: str, label: str | None) -> Policy:
    """The policy in force in a namespace. label: its `POLICY_LABEL`, None where it has none.

    A label that says nothing known is read as enforce, the default, and the source says so.
    """
    if label is None:
        return Policy()
    source = f"namespace {namespace} has {POLICY_LABEL}={label}"
    try:
        return Policy(Mode(label.strip().lower()), source)
    except ValueError:
        modes = ", ".join(Mode)
        source = f"namespace {namespace} has {POLICY_LABEL}={shown(label)}, not one of {modes}"
        return Policy(Mode.ENFORCE, source)
