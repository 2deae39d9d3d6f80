"""What it takes to run a replica in the seat that was chosen: labels, taints, resource, flags."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from plimsoll.decision.taints import tolerations
from plimsoll.decision.verdict import Because, Nodes, Placement, Why
from plimsoll.engines.base import State
from plimsoll.inventory.dialects import asked_for

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Dialect
    from plimsoll.decision.request import Request
    from plimsoll.decision.search import Choice
    from plimsoll.decision.staying import Kept
    from plimsoll.decision.trial import Case, Seat


def placement(
    case: Case,
    choice: Choice,
    speaks: Dialect | None,
    nodes: object = None,
    kept: Kept | None = None,
) -> Placement | None:
    """The chosen trial as a placement with all that is needed to run it; None without one.

    nodes: what the inventory has for it. kept: the placement that it was, if it stays on its nodes.
    """
    trial = choice.chosen
    if trial is None:
        return None
    arguments = case.engine.pinned_arguments(trial.estimate, case.request.engine)
    found = seated(case.request, trial, arguments, why_chosen(choice), speaks)
    if kept is not None:
        found = replace(found, **_as_it_was(case.request, trial, kept))
    close = nodes.near if isinstance(nodes, Nodes) else None
    return replace(found, topology=close.level) if close is not None else found


def _as_it_was(request: Request, seat: Seat, kept: Kept) -> dict[str, Any]:
    """Selector and tolerations of a placement that stays: those that it had, and what its nodes of
    today want tolerated beside.
    """
    pool = seat.candidate.pool
    selector = {**dict(kept.selector), **dict(request.wanted.node_selector)}
    said: dict[str, Any] = {"node_selector": tuple(sorted(selector.items()))}
    if pool is not None:
        taints = tuple(sorted({*pool.taints, *kept.taints}))
        with_both = replace(pool, taints=taints)
        both = tolerations(with_both, request.wanted.tolerations)
        said["tolerations"] = tuple(dict.fromkeys(both))
    return said


def seated(
    request: Request, seat: Seat, arguments: tuple[str, ...], why: Why, speaks: Dialect | None
) -> Placement:
    """A seat as a placement.

    Without nodes it is selected in the dialect that the cluster's other nodes speak; where they
    speak none, there is no selector but the user's own labels.
    """
    pool, asked = seat.candidate.pool, request.wanted.tolerations
    to_come = asked_for(seat.candidate.accelerator, speaks)
    selector = dict(pool.selector if pool else to_come)
    selector.update(request.wanted.node_selector)
    return Placement(
        accelerator=seat.candidate.accelerator.name,
        gpus_per_replica=seat.gpus,
        gpus_per_node=seat.per_node,
        nodes_per_replica=seat.nodes,
        total_gpus=seat.gpus * request.replicas,
        parallelism=seat.parallelism,
        resource=seat.candidate.accelerator.resource,
        node_selector=tuple(sorted(selector.items())),
        tolerations=tolerations(pool, asked) if pool else asked,
        engine_args=arguments,
        why=why,
        on_nodes=pool is not None,
        price=seat.candidate.price * seat.gpus if seat.candidate.price is not None else None,
    )


def why_chosen(choice: Choice) -> Why:
    """What the chosen trial was chosen by."""
    trial, smaller = choice.chosen, choice.smaller
    if trial is None or choice.best is None:
        return Why(Because.WITHIN_ERROR)
    if smaller is None:
        return Why(Because.FITS, spare=trial.fit.spare)
    if smaller.fit.state is State.DOES_NOT_FIT:
        because = Because.LESS_IS_SHORT
    elif smaller.fit.fits:
        because = Because.LESS_DOES_NOT_START
    else:
        because = Because.LESS_IS_WITHIN_ERROR
    return Why(because, trial.fit.spare, smaller.gpus, smaller.estimate)
