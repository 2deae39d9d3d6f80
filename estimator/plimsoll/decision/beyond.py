"""Where a request goes beyond what policies allow it, and what they leave of what it asks for.

    narrowed   GPUs, their kinds and their memory that policies leave, as part of what is wanted: so
               planning, placements that stay and every way out keep to them
    problems   what is certainly beyond them; doubts: what nobody can tell
    facts      what of a request the bounds look at, for its hash

Policies only narrow: what is refused without them is refused with them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.decision.bounds import UNBOUND, numbers
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from plimsoll.decision.bounds import Bounds
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request, Wanted
    from plimsoll.findings import Finding


def stated_gpus(request: Request) -> int:
    """GPUs of a replica that a request asks for, as far as it says; 0 if it leaves that open."""
    wanted = request.wanted
    if wanted.gpus_per_replica is not None:
        return wanted.gpus_per_replica
    split = wanted.split
    said = [size for size in (split.tensor, split.pipeline, split.data) if size is not None]
    product = 1 if said else 0
    for size in said:
        product *= size
    return product


def narrowed(request: Request, bounds: Bounds, knowledge: Knowledge) -> Wanted:
    """What is wanted as far as the bounds leave it."""
    wanted = request.wanted
    if bounds == UNBOUND:
        return wanted
    among = bounds.accelerators
    if among is not None:
        found = ((name, knowledge.find(name)) for name in among)
        among = tuple(known.name if known else name for name, known in found)
    caps = [] if bounds.gpus_per_replica is None else [bounds.gpus_per_replica]
    if bounds.gpus_per_object is not None and request.replicas > 0:
        caps.append((bounds.gpus_per_object - request.other_gpus) // request.replicas)
    return replace(
        wanted,
        among=among,
        most_gpus=max(1, min(caps)) if caps else None,
        headroom=bounds.headroom,
        headroom_percent=bounds.headroom_percent,
    )


def problems(request: Request, asked: Wanted, bounds: Bounds, *, table: bool) -> list[Finding]:
    """What is certainly beyond the bounds.

    request: narrowed. asked: what it wanted as it was written. table: whether the table has an
    accelerator left that the request allows.
    """
    if bounds == UNBOUND:
        return []
    found = [
        _accelerator(request, asked, bounds, table=table),
        _replica(request, bounds),
        _object(request, bounds),
        _older(request, bounds),
        _unannotated(request, bounds),
    ]
    return [one for one in found if one is not None]


def doubts(request: Request, bounds: Bounds) -> list[Finding]:
    """What the bounds ask and the object leaves unsaid: the version of its engine."""
    engine, version = request.engine_said
    oldest = bounds.oldest_of(engine)
    if not oldest or numbers(version) is not None:
        return []
    by = bounds.set_by(f"oldest.{engine}")
    return [
        finding(
            Rule.ENGINE_VERSION_UNSAID,
            Field.VERSION,
            version or None,
            engine=engine,
            oldest=oldest,
            by=by,
        )
    ]


def facts(request: Request, bounds: Bounds) -> tuple[object, ...]:
    """What of a request the bounds look at and its hash does not see; empty where nothing is."""
    engine, version = request.engine_said
    carried = request.annotations
    there = ("unseen",) if carried is None else sorted(carried.intersection(bounds.annotations))
    return (
        *(there if bounds.annotations else ()),
        *((engine, version) if bounds.oldest_of(engine) else ()),
        *((request.other_gpus,) if bounds.gpus_per_object is not None else ()),
    )


def _accelerator(request: Request, asked: Wanted, bounds: Bounds, *, table: bool) -> Finding | None:
    """Accelerators of which none is among those that are left."""
    wanted, among = request.wanted, request.wanted.among
    if among is None:
        return None
    by = bounds.set_by("accelerators")
    if not among:
        return finding(Rule.NO_ACCELERATOR_LEFT, Field.ALLOWED, by=by)
    if wanted.memory is not None and not wanted.allowed:
        return finding(Rule.STATED_CARD_UNDER_POLICY, Field.ALLOWED, allowed=among, by=by)
    left = set(wanted.allowed) & set(among) if wanted.allowed else table
    if left:
        return None
    by_labels = wanted.allowed and not asked.allowed
    return finding(
        Rule.ACCELERATOR_BEYOND_POLICY,
        Field.NODE_SELECTOR if by_labels else Field.ALLOWED,
        ", ".join(wanted.allowed) or None,
        allowed=among,
        by=by,
    )


def _count_field(wanted: Wanted) -> tuple[Field, int]:
    """The field that says how many GPUs a replica has, and what it says."""
    if wanted.gpus_per_replica is not None:
        return Field.GPUS, wanted.gpus_per_replica
    split = wanted.split
    sizes = (
        (Field.TENSOR, split.tensor),
        (Field.PIPELINE, split.pipeline),
        (Field.DATA, split.data),
    )
    return max(
        ((field, size) for field, size in sizes if size is not None),
        key=lambda pair: pair[1],
        default=(Field.GPUS, 1),
    )


def _replica(request: Request, bounds: Bounds) -> Finding | None:
    """More GPUs a replica than are allowed."""
    gpus, most = stated_gpus(request), bounds.gpus_per_replica
    if most is None or gpus <= most:
        return None
    field, given = _count_field(request.wanted)
    by = bounds.set_by("gpus_per_replica")
    return finding(Rule.GPUS_BEYOND_POLICY, field, given, gpus=gpus, most=most, by=by)


def _object(request: Request, bounds: Bounds) -> Finding | None:
    """More GPUs for all replicas and engines of an object than are allowed.

    Where a replica's are left open, each has one at least.
    """
    most, replicas = bounds.gpus_per_object, request.replicas
    each = stated_gpus(request) or 1
    gpus = each * replicas + request.other_gpus
    if most is None or gpus <= most or replicas < 1:
        return None
    field, given = (Field.REPLICAS, replicas) if replicas > 1 else _count_field(request.wanted)
    return finding(
        Rule.OBJECT_BEYOND_POLICY,
        field,
        given,
        gpus=gpus,
        parts=(f"{replicas} x {each}", *([str(others)] if (others := request.other_gpus) else [])),
        most=most,
        by=bounds.set_by("gpus_per_object"),
    )


def _older(request: Request, bounds: Bounds) -> Finding | None:
    """An engine that is older than is allowed."""
    engine, version = request.engine_said
    oldest, said = bounds.oldest_of(engine), numbers(version)
    if not oldest or said is None or said >= (numbers(oldest) or ()):
        return None
    return finding(
        Rule.ENGINE_OLDER_THAN_POLICY,
        Field.VERSION,
        version,
        engine=engine,
        oldest=oldest,
        by=bounds.set_by(f"oldest.{engine}"),
    )


def _unannotated(request: Request, bounds: Bounds) -> Finding | None:
    """Annotations that must be there and are not."""
    carried = request.annotations
    if carried is None:
        return None
    missing = tuple(key for key in bounds.annotations if key not in carried)
    if not missing:
        return None
    by = (name for key in missing for name in bounds.set_by(f"annotations.{key}"))
    return finding(
        Rule.ANNOTATIONS_MISSING,
        Field.ANNOTATIONS,
        missing=missing,
        by=tuple(dict.fromkeys(by)),
    )
