"""The words of a placement: why it is this one, and which nodes there are for it today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.decision.verdict import (
    Because,
    Beside,
    Capacity,
    Free,
    Lacking,
    NearPool,
    Nodes,
    TooSmall,
    Unfit,
    Unseen,
)
from plimsoll.errors import clean
from plimsoll.paths import Field
from plimsoll.report.arithmetic import short_of
from plimsoll.report.wording import problem
from plimsoll.units import ceil_mib, counted, floor_mib, gib_down, gib_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.verdict import Placement, Verdict
    from plimsoll.paths import Places

LONGEST = 2000
"""Characters of what is said of nodes; a condition holds fewer."""
_LESS: Final = "lower that request in output.template, or add larger nodes"
_WAYS: Final = {
    Beside.DISK: "say output.cacheClaim: NAME, or another volume cache in output.template",
    Beside.MEMORY: _LESS,
    Beside.CPU: _LESS,
    Beside.PODS: "raise maxPods of its kubelet, or add nodes",
}
"""What to do where nodes have too little."""


def placement_reason(placement: Placement) -> str:
    """Why this placement, in one sentence without a full stop."""
    why, gpus = placement.why, placement.gpus_per_replica
    match why.because:
        case Because.RULE_OF_THUMB:
            return f"by the rule of thumb alone: {gpus} x {placement.accelerator}"
        case Because.WITHIN_ERROR:
            return f"{gpus} may fit: the need is within the estimate's error of what there is"
        case Because.FITS:
            return f"{gpus} fits, with {gib_down(why.spare)} to spare per GPU"
        case Because.LESS_DOES_NOT_START:
            less = f"{why.less} would hold it, but the engine does not start so"
        case Because.LESS_IS_WITHIN_ERROR:
            less = f"{why.less} is within the estimate's error"
        case Because.LESS_IS_SHORT:
            less = f"{why.less} is {short_of(why.estimate)}" if why.estimate else ""
    return f"smallest count that fits: {less}, {gpus} fits"


def nodes_message(verdict: Verdict, *, steady: bool = False) -> str:
    """The message of condition CapacityAvailable: which nodes there are, or what was looked for.

    steady: the same however many nodes there are, as long as they are enough.
    """
    said = _today(verdict, steady=steady)
    small = small_message(verdict)
    return clean(f"{said}; {small}" if said and small else said, LONGEST)


def small_message(verdict: Verdict) -> str:
    """What nodes have too little of for a pod, and what to do; empty if enough others have room."""
    nodes = verdict.nodes
    if not isinstance(nodes, Nodes) or verdict.capacity is Capacity.AVAILABLE:
        return ""
    return "; ".join(_small(one, nodes) for one in nodes.small)


def _small(small: TooSmall, nodes: Nodes) -> str:
    """One thing of which nodes have less than a pod asks for, with both figures."""
    if small.what is Beside.PODS:
        return f"no node takes more than {counted(small.has, 'further pod')}: {_WAYS[small.what]}"
    asked, has = gib_up(small.asked), gib_down(small.has)
    if small.what is Beside.CPU:
        asked, has = _cpus(small.asked), _cpus(small.has)
    if small.left:
        there = f"no node with GPUs for more of them has more than {has} left"
    elif small.nodes >= nodes.there:
        there = f"no node has more than {has}"
    else:
        verb = "has" if small.nodes == 1 else "have"
        there = f"{small.nodes} of {counted(nodes.there, 'node')} {verb} less"
    return f"each pod asks for {asked} of {small.what}, and {there}: {_WAYS[small.what]}"


def _cpus(thousandths: int) -> str:
    return f"{thousandths / 1000:g}"


def _today(verdict: Verdict, *, steady: bool) -> str:
    """Which nodes there are, or what was looked for."""
    match verdict.nodes:
        case Nodes(room=int() as room) as nodes if verdict.capacity is Capacity.TOO_SMALL:
            there = f"{counted(nodes.ready, 'node')} ({_each(nodes)}), room for"
            if free := nodes.free:
                there = f"{free.gpus} of {free.of} GPUs are free ({_each(nodes)}), room for"
            return clean(f"{there} {counted(room, 'replica')}", LONGEST)
        case Nodes() as nodes if verdict.capacity is Capacity.TOO_SMALL:
            needed = f"{counted(nodes.needed, 'node')} needed"
            verb = "is" if nodes.large == 1 else "are"
            return f"{needed}, {nodes.large} of those that match {verb} large enough"
        case Nodes(free=Free() as free) as nodes if nodes.ready >= nodes.needed:
            return clean(_free(free, nodes, steady=steady), LONGEST)
        case Nodes() as nodes if steady and nodes.ready >= nodes.needed:
            return clean(f"enough nodes match ({_each(nodes)}); {nodes.needed} needed", LONGEST)
        case Nodes() as nodes:
            return clean(_nodes(nodes), LONGEST)
        case Lacking() as lacking:
            return clean(_lacking(lacking, verdict.places), LONGEST)
        case Unseen.NOT_READ:
            return "no nodes were read: the accelerator table says what would do"
        case Unseen.NOTHING_TO_PLACE:
            return "nothing to place"
    return ""


def _nodes(nodes: Nodes) -> str:
    """Whether the nodes that match are enough."""
    each = _each(nodes)
    if nodes.ready >= nodes.needed:
        match = "matches" if nodes.there == 1 else "match"
        ready = "" if nodes.ready == nodes.there else f", {nodes.ready} ready"
        return f"{counted(nodes.there, 'node')} {match}{ready} ({each}); {nodes.needed} needed"
    there = f"{nodes.there} match"
    if nodes.ready != nodes.there:
        there += f" and {nodes.ready} are ready"
    if nodes.pool:
        grows = f"may grow to {nodes.most}" if nodes.most is not None else "may grow"
        there += f", {nodes.pool} {grows}"
    away = f"; cordoned or not ready: {', '.join(nodes.away)}" if nodes.away else ""
    return f"{counted(nodes.needed, 'node')} needed, {there} ({each}){away}"


def _free(free: Free, nodes: Nodes, *, steady: bool) -> str:
    """How many replicas could start now, and what is in the way of others."""
    enough = free.replicas >= free.wanted
    if enough and steady:
        there = f"enough GPUs are free ({_each(nodes)}) for {counted(free.wanted, 'replica')}"
        return f"{there}{_near(free)}"
    said = f"{free.gpus} of {free.of} GPUs are free ({_each(nodes)})"
    if free.own:
        said += f", its own pods' {free.own} among them"
    if enough:
        return f"{said}{_near(free)}"
    said += f", enough for {free.replicas} of {free.wanted} replicas"
    if quota := free.quota:
        return (
            f"{said}: ResourceQuota {quota.name} lets namespace {quota.namespace} have "
            f"{quota.hard} {quota.resource}, and {quota.used} are used"
        )
    way = [
        f"{count} of {of} GPUs on {node} taken by {pod}" + (f" and {others} more" if others else "")
        for node, count, of, pod, others in free.holders
    ]
    way += [f"on {counted(free.more, 'more node')}"] if free.more else []
    way += [
        f"{counted(gpus, 'GPU')} {'is' if gpus == 1 else 'are'} for {name}, which was first"
        for name, gpus in free.promised
    ]
    way += [f"and for {counted(free.others, 'more LLMDeployment')}"] if free.others else []
    return f"{said}: {'; '.join(way)}" if way else said


def _near(free: Free) -> str:
    """Whether the nodes of a replica are close to one another, by a Topology of the cluster."""
    near = free.near
    if near is None:
        return ""
    if near.domain:
        return f"; {near.level}={near.domain} has room for all nodes of a replica"
    return f"; no single {near.level} has room for all nodes of a replica: it would span several"


def _each(nodes: Nodes) -> str:
    gpus = f"{counted(nodes.gpus, 'GPU')} each"
    return ", ".join([gpus, *([_labels(nodes.labels, ", ")] if nodes.labels else [])])


def _labels(labels: Iterable[tuple[str, str]], between: str) -> str:
    return between.join(f"{key}={value}" for key, value in labels)


def _lacking(lacking: Lacking, places: Places) -> str:
    """What was looked for and what there is instead."""
    either = " or ".join(_labels(labels, " and ") for labels in lacking.either)
    looked = lacking.accelerator + (f" ({either})" if either else "")
    if lacking.labels:
        looked += f" with {_labels(lacking.labels, ', ')}"
    if not lacking.nearest:
        return f"no node matches: looked for {looked}; the cluster has no GPU node"
    near = "; ".join(
        f"{pool.accelerator} ({_names(pool)}): {_unfit(pool, places)}"
        if isinstance(pool, NearPool)
        else f"{pool.node} set aside: {pool.why}"
        for pool in lacking.nearest
    )
    more = f"; and {lacking.more} more" if lacking.more else ""
    return f"no node matches: looked for {looked}; nearest: {near}{more}"


def _names(pool: NearPool) -> str:
    """A pool for people: its first node and how many more."""
    first = pool.node or "no name"
    return first if pool.nodes <= 1 else f"{first} and {pool.nodes - 1} more"


def _unfit(pool: NearPool, places: Places) -> str:
    """What is against a pool."""
    match pool.why:
        case Unfit.NOT_ALLOWED:
            return f"not among {places.path(Field.ALLOWED)}"
        case Unfit.TOO_LITTLE_MEMORY:
            least = f"{places.path(Field.MIN_MEMORY)} is {ceil_mib(pool.wanted)}"
            return f"has {floor_mib(pool.memory)} per GPU, {least}"
        case Unfit.TAINTED:
            taints = ", ".join(f"{taint.rstrip('=')}:{effect}" for taint, effect in pool.missing)
            return f"has the taint {taints}, which {places.path(Field.TOLERATIONS)} does not name"
        case Unfit.LACKS_LABELS if pool.missing:
            return f"lacks the label {_labels(pool.missing, ', ')}"
        case Unfit.LACKS_LABELS:
            return "lacks the labels asked for"
        case Unfit.SHORT:
            return f"{pool.gpus} GPUs are {short_of(pool.estimate)}" if pool.estimate else ""
        case Unfit.REFUSED:
            return problem(pool.problem, places).wanted if pool.problem else ""
        case Unfit.WITHIN_ERROR:
            return "too close to the estimate's error"
