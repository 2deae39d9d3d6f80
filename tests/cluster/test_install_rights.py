"""Claims about the chart's rights: they are enough, and none is idle.

Processes run with the chart's own ServiceAccounts' tokens and settings on a real API server, whose
audit log says by which role each request was allowed: every verb on every resource (and name) of
each role is used. Of each role one right is taken away as well: then something fails, and says why.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chart import NAMESPACE, RELEASE, Manifest, find, render
from cluster.fixtures_install import Installed, install_chart
from cluster.fixtures_install_rights import (
    Forbidden,
    controller_works,
    everything_works,
    others,
    user_works,
    webhook_works,
)
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from plimsoll_operator.cluster.client import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource. name: of the only object, if the rule names one."""

    kind: str
    role: str
    group: str
    resource: str
    name: str
    verb: str

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        what = f"{what}/{self.name}" if self.name else what
        return f"{self.role}:{self.verb}:{what}"

    @property
    def rule(self) -> dict[str, Any]:
        """It as a rule of its own."""
        names = {"resourceNames": [self.name]} if self.name else {}
        return {
            "apiGroups": [self.group],
            "resources": [self.resource],
            "verbs": [self.verb],
            **names,
        }


def rights(role: Manifest) -> list[Right]:
    """Every right that a role gives, one by one."""
    return [
        Right(role["kind"], role["metadata"]["name"], group, resource, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    ]


ROLES = [o for kind in ("ClusterRole", "Role") for o in find(render(), kind)]
EACH = {str(right): right for role in ROLES for right in rights(role)}
ONE_OF_EACH_ROLE = {str(right) for role in ROLES for right in rights(role)[-1:]}
AUTHORIZED = "authorization.k8s.io"


@pytest.fixture(scope="module")
def release(control_plane: object) -> Iterator[Installed]:
    """The chart as it is by default, on a control plane of its own: roles are taken apart."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("changes roles: needs a control plane of our own")
    with ControlPlane().keep_audit_log() as plane:
        plane.create([gpu_node("a100-0"), *others()])
        yield install_chart(plane, {"webhook": {"failurePolicy": "Ignore"}})


@contextlib.contextmanager
def without(release: Installed, right: Right) -> Iterator[None]:
    """The role as it is, except for one right."""
    which = (right.kind, right.role, *(("-n", NAMESPACE) if right.kind == "Role" else ()))
    role = release.plane.get(*which)

    def write(rules: list[dict[str, Any]]) -> None:
        patch = json.dumps({"rules": rules})
        release.plane.kubectl("patch", *which, "--type=merge", "-p", patch)

    write([each.rule for each in rights(role) if each != right])
    try:
        yield
    finally:
        write(role["rules"])


def scenario(right: Right) -> Callable[[Installed], None]:
    """What is to fail without a right: that of the process or the user who has it."""
    match right.role.removeprefix(f"{RELEASE}-"):
        case "controller":
            return controller_works
        case "webhook" | "override":
            return webhook_works
        case _:
            return functools.partial(user_works, role=right.role)


def test_no_right_is_given_twice_or_with_a_wildcard() -> None:
    assert len(EACH) > 40
    assert len(EACH) == sum(len(rights(role)) for role in ROLES)
    assert not [name for name in EACH if "*" in name]


def used(plane: ControlPlane) -> set[tuple[str, str, str, str, str]]:
    """By which role what was allowed: role, group, resource, name if there was one, verb."""
    found = set()
    for event in plane.audited():
        notes, about = event.get("annotations", {}), event.get("objectRef", {})
        by = re.search(r'of (?:Cluster)?Role "([^"]+)"', notes.get(f"{AUTHORIZED}/reason", ""))
        if by and notes[f"{AUTHORIZED}/decision"] == "allow":
            parts = (about.get("resource", ""), about.get("subresource", ""))
            what = (about.get("apiGroup", ""), "/".join(filter(None, parts)))
            for name in {about.get("name", ""), ""}:
                found.add((by[1], *what, name, event["verb"]))
    return found


def test_the_charts_rights_are_enough_for_everything_and_none_is_idle(release: Installed) -> None:
    everything_works(release)
    done = used(release.plane)
    asked = {
        name: (right.role, right.group, right.resource, right.name, right.verb)
        for name, right in EACH.items()
        if right.verb != "override"  # which no request has: it is asked about
    }
    assert not [name for name, right in asked.items() if right not in done]


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH_ROLE))
def test_something_fails_without(release: Installed, name: str) -> None:
    """And it fails for want of that right, not by chance: what is said names it."""
    right = EACH[name]
    with (
        without(release, right),
        pytest.raises((Forbidden, ApiError), match=wanted(right)),
    ):
        scenario(right)(release)


def wanted(right: Right) -> str:
    """What the API server says if a right is missing; the verb `override` is our own."""
    if right.verb == "override":
        return "may not override Plimsoll's verdict"
    which = f'"{right.name}" is forbidden.*' if right.name else ""
    return f'{which}cannot {right.verb} resource "{right.resource}" in API group "{right.group}"'
