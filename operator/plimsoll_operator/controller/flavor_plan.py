"""What is to be written on a Workload of Kueue, from how it stands on its queue's flavors. Pure.

    waits for quota      flavors on which it certainly does not start are closed to it beforehand,
                         as long as another one of the queue is left (see `workloads.kueue.away`)
    has quota reserved   Ready      on a flavor that may do, or of which nobody knows
                         Retry      on one that does not, while another is left: Kueue takes the
                                    quota back, and that flavor is closed to it
                         Rejected   no flavor of its queue is left: Kueue deactivates it
    is being evicted     nothing: Kueue sets the check back by itself, and what is written meanwhile
                         leaves the workload stuck (KEP-3258, "race condition")

Admitted, finished, deactivated and deleted ones are nobody's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plimsoll.report import queueing
from plimsoll.workloads.kueue import asking, away
from plimsoll.workloads.roles import at, elements, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.kueue import Flavor
    from plimsoll_operator.controller.flavor_task import Standing

CONTROLLER_NAME: Final = "plimsoll.dev/fit"
"""The controllerName of AdmissionChecks that are answered here."""
PENDING: Final = "Pending"
READY: Final = "Ready"
RETRY: Final = "Retry"
REJECTED: Final = "Rejected"
LONGEST_DELAY: Final = 64
"""Seconds after which a workload is tried again at the latest."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A ClusterQueue. groups: the resources that each covers, with its flavors in their order.

    checks: the AdmissionChecks, each with the flavors that it is for; none: for all.
    """

    name: str
    groups: tuple[tuple[frozenset[str], tuple[str, ...]], ...]
    checks: Mapping[str, frozenset[str]]

    def flavors(self, resource: str) -> tuple[str, ...]:
        """The flavors that a resource may come from; of the first group if none covers it."""
        covering = [flavors for resources, flavors in self.groups if resource in resources]
        return (covering or [flavors for _, flavors in self.groups] or [()])[0]


@dataclass(frozen=True, slots=True)
class Step:
    """What to write. state, message: of the check, empty if nothing. delay: seconds of a Retry.

    affinity: of pod sets, by their index.
    """

    state: str = ""
    message: str = ""
    delay: int | None = None
    affinity: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def read_queue(obj: Mapping[str, Any]) -> Queue:
    """A ClusterQueue object."""
    groups = []
    for group in map(mapping, elements(at(obj, "spec.resourceGroups"))):
        resources = frozenset(map(str, elements(group.get("coveredResources"))))
        flavors = tuple(str(mapping(one).get("name")) for one in elements(group.get("flavors")))
        groups.append((resources, flavors))
    strategy = elements(at(obj, "spec.admissionChecksStrategy.admissionChecks"))
    checks = {
        str(one.get("name")): frozenset(map(str, elements(one.get("onFlavors"))))
        for one in map(mapping, strategy)
    }
    return Queue(str(at(obj, "metadata.name")), tuple(groups), checks)


def condition(workload: Mapping[str, Any], kind: str) -> bool:
    """Whether a condition of a Workload is true."""
    found = map(mapping, elements(at(workload, "status.conditions")))
    return any(one.get("type") == kind and one.get("status") == "True" for one in found)


def is_open(workload: Mapping[str, Any]) -> bool:
    """Whether it is still to be seen on which flavor a Workload starts."""
    if at(workload, "metadata.deletionTimestamp") or at(workload, "spec.active") is False:
        return False
    return not condition(workload, "Finished") and not condition(workload, "Admitted")


def state_of(workload: Mapping[str, Any], check: str) -> Mapping[str, Any]:
    """What a Workload's status says of a check; empty if it does not speak of it."""
    states = map(mapping, elements(at(workload, "status.admissionChecks")))
    return next((one for one in states if one.get("name") == check), {})


def to_judge(workload: Mapping[str, Any], check: str, queue: Queue) -> tuple[str, ...]:
    """The flavors that a Workload is to be judged on."""
    asked = asking(workload)
    only = queue.checks.get(check, frozenset())
    flavors = queue.flavors(asked[0][1]) if asked else ()
    return tuple(name for name in flavors if not only or name in only)


def step(
    workload: Mapping[str, Any],
    check: str,
    queue: Queue,
    flavors: Mapping[str, Flavor],
    standings: Mapping[str, Standing],
) -> Step | None:
    """What to write now; None: nothing. standings: of the flavors in `to_judge`."""
    reserved = condition(workload, "QuotaReserved")
    current = state_of(workload, check)
    if reserved and (condition(workload, "Evicted") or current.get("state") != PENDING):
        return None
    asked = asking(workload)
    if not asked:
        return Step(READY, queueing.not_judged("it asks for no GPU")) if reserved else None
    names = queue.flavors(asked[0][1])
    misfits = [name for name in names if name in standings and standings[name].misfit]
    rest = [name for name in names if name not in misfits]
    known = [flavors[name] for name in rest if name in flavors]
    closed = [flavors[name] for name in misfits if name in flavors]
    apart = away(workload, closed, known) if closed and rest else {}
    if not reserved:
        return Step(affinity=apart) if apart else None
    given = _given(workload, *asked[0])
    if given not in standings:
        why = f"how its pods work together on ResourceFlavor {given} is not known"
        return Step(READY, queueing.not_judged(why))
    said = standings[given].said
    if given not in misfits:
        return Step(READY, queueing.ready(given, said))
    if not rest:
        return Step(REJECTED, queueing.refused(queue.name, {n: standings[n].said for n in misfits}))
    if apart is None:
        return Step(REJECTED, queueing.indistinct(given, said))
    tried = current.get("retryCount")
    delay = min(LONGEST_DELAY, 1 << min(int(tried), 10)) if isinstance(tried, int) else 1
    return Step(RETRY, queueing.moved(given, said, rest), delay)


def _given(workload: Mapping[str, Any], index: int, resource: str) -> str:
    """The flavor that a pod set was given for a resource, else for whatever it was given one."""
    name = mapping(elements(at(workload, "spec.podSets"))[index]).get("name")
    for one in map(mapping, elements(at(workload, "status.admission.podSetAssignments"))):
        if one.get("name") == name:
            flavors = mapping(one.get("flavors"))
            return str(flavors.get(resource) or next(iter(flavors.values()), ""))
    return ""
