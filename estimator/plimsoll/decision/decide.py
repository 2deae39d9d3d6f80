"""The decision: whether a request is allowed, refused, or allowed with a warning, and why.

It must not read anything (no cluster, no network, no clock), must not raise on any request, and
must not word messages: `plimsoll.report.messages` does.

    deny   the request contradicts itself or the engine, or certainly does not fit: model known,
           accelerator known, need above usable by more than the estimate's error, no flag unread
    warn   within the error; model unknown or known by size alone; a misfit that is not certain
    allow  fits, error included, whether or not the cluster has nodes for it today

What is refused follows from the request and the accelerator table; an inventory decides where
something runs, and may know a larger GPU or node than the table does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from plimsoll.decision import by_size, checks
from plimsoll.decision import candidates as kinds
from plimsoll.decision.capacity import capacity
from plimsoll.decision.knowledge import Knowledge, shipped
from plimsoll.decision.placement import Plan, placement, plan, seated
from plimsoll.decision.request_hash import request_hash
from plimsoll.decision.splits import asked
from plimsoll.decision.trial import Case, Trial
from plimsoll.decision.verdict import Decision, Policy, Reason, Verdict
from plimsoll.engines.base import TermName
from plimsoll.errors import Problem, shown
from plimsoll.findings import path_of
from plimsoll.inventory.pools import NO_INVENTORY, Inventory

if TYPE_CHECKING:
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Request
    from plimsoll.engines.base import Engine
    from plimsoll.findings import Finding

DEFAULT_POLICY = Policy()


@dataclass(frozen=True, slots=True)
class Matter:
    """Everything that one decision is made of.

    nodes: the part of the inventory that carries the request's labels. table, pools: where it
    may run, see `plimsoll.decision.candidates`.
    """

    request: Request
    inventory: Inventory
    nodes: Inventory
    knowledge: Knowledge
    table: tuple[Candidate, ...]
    pools: tuple[Candidate, ...]


def decide(
    request: Request,
    inventory: Inventory = NO_INVENTORY,
    policy: Policy = DEFAULT_POLICY,
    knowledge: Knowledge | None = None,
) -> Verdict:
    """The verdict on a request. Pure and total: the same arguments give the same verdict.

    knowledge: engines and accelerators to decide by; left out, the ones that we ship.
    """
    known = knowledge or shipped()
    engine = known.engines.get(request.engine.name)
    request = replace(request, wanted=kinds.canonical(request.wanted, known))
    nodes = kinds.nodes_for(request.wanted, inventory)
    matter = Matter(
        request,
        inventory,
        nodes,
        known,
        kinds.from_table(request.wanted, inventory, known),
        kinds.from_pools(request.wanted, nodes) if inventory.known else (),
    )
    problems, warnings = _problems(matter, engine)
    architecture = request.model.architecture
    if problems or engine is None:
        verdict = _verdict(matter, Decision.DENY, Reason.INVALID_SPEC, problems=problems)
    elif architecture is None:
        verdict = _by_size(matter)
    else:
        verdict = _by_estimate(matter, Case(request, architecture, engine))
    return replace(
        verdict,
        policy=policy,
        warnings=(*request.warnings, *warnings, *verdict.warnings),
        request_hash=request_hash(request, policy, known, engine),
    )


def allowed_update(old: Verdict, new: Verdict) -> bool:
    """Whether a change of an object may pass: it is not denied, or makes nothing worse.

    An object that already failed may change in any way in which the shortfall per GPU does not
    grow and no error appears at a path that had none.
    """
    if new.decision is not Decision.DENY:
        return True
    if old.decision is not Decision.DENY:
        return False
    paths = {path_of(problem, old.places) for problem in old.problems}
    return new.short_by <= old.short_by and all(
        path_of(problem, new.places) in paths for problem in new.problems
    )


def _problems(
    matter: Matter, engine: Engine | None
) -> tuple[tuple[Finding | Problem, ...], list[str]]:
    """Everything that is wrong with the request, and warnings about what may be."""
    request, inventory, table = matter.request, matter.inventory, matter.table
    sizes = checks.sizes(request)
    found: list[Finding | Problem] = [*request.problems, *sizes]
    found += kinds.problems(request.wanted, inventory, matter.knowledge)
    if engine is None:
        engines = " or ".join(sorted(matter.knowledge.engines))
        found.append(
            Problem(
                "spec.engine.name", shown(request.engine.name), "unknown engine", f"use {engines}"
            )
        )
    if sizes:
        return checks.deduplicated(found), []
    found += checks.contradictions(request, request.problems)
    beyond, warnings = checks.beyond_node(request, inventory, table)
    found += beyond
    architecture = request.model.architecture
    if engine is not None and architecture is not None:
        found += engine.problems(architecture, request.engine, asked(request.wanted), None)
        if not found:
            found += checks.split_problems(request, architecture, engine, table)
    return checks.deduplicated(found), warnings


def _by_estimate(matter: Matter, case: Case) -> Verdict:
    """The decision on a model whose structure is known."""
    on_pools = plan(case, matter.pools) if matter.pools else None
    planned = on_pools if on_pools and on_pools.best else plan(case, matter.table)
    if planned.best is None and on_pools and on_pools.within:
        planned = on_pools
    trial = planned.chosen or planned.miss
    if trial is None:
        return _nowhere(matter, planned)
    there, message = capacity(
        matter.request, matter.inventory, matter.nodes, planned.chosen, on_pools
    )
    accelerator = trial.candidate.accelerator
    found = replace(
        _verdict(matter, Decision.ALLOW, Reason.ENOUGH_MEMORY),
        warnings=tuple(_doubts(matter.request, trial, planned)),
        estimate=trial.estimate,
        accelerator=accelerator.name,
        short_by=trial.fit.short_by,
        placement=placement(case, planned),
        rule_of_thumb=by_size.rule(matter.request.model, accelerator),
        capacity=there,
        capacity_message=message,
    )
    if planned.best is not None:
        return found
    from plimsoll.decision.advice import advise  # only a misfit needs it

    alternatives = advise(case, trial, *_elsewhere(matter))
    found = replace(found, alternatives=alternatives)
    if planned.within is not None:
        return replace(found, decision=Decision.WARN, reason=Reason.WITHIN_ERROR)
    settings = matter.request.engine
    if settings.unread and (settings.shrinking or not _weights_exceed(trial)):
        return replace(found, decision=Decision.WARN, reason=Reason.UNREAD_FLAGS)
    if not all(c.accelerator.certain for c in matter.table):
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_ACCELERATOR)
    if case.architecture.assumed:
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_MODEL)
    return replace(found, decision=Decision.DENY, reason=Reason.NOT_ENOUGH_MEMORY)


def _weights_exceed(trial: Trial) -> bool:
    """Whether the weights alone are surely more than a GPU has, whatever else is set."""
    return trial.estimate.terms[TermName.WEIGHTS].low > trial.estimate.physical


def _doubts(request: Request, trial: Trial, planned: Plan) -> list[str]:
    """What a user should know of a decision though it may well be right."""
    found = []
    flags, accelerator = request.engine.unread, trial.candidate.accelerator
    if flags:
        found.append(f"extraArgs {', '.join(flags)}: touches memory in a way that is not estimated")
    if not accelerator.certain:
        found.append(
            f"{accelerator.name}: its memory is the nominal figure, not one seen on a node"
        )
    architecture = request.model.architecture
    if architecture is not None and architecture.assumed:
        found.append(
            f"{request.model.name}: its model type {shown(architecture.model_type)} is not known "
            "in all its parts; it is estimated like the models that it resembles"
        )
    if planned.idle:
        found.append(
            f"spec.accelerator.gpusPerReplica: {planned.idle} of {planned.idle + trial.gpus} "
            f"GPUs would be idle: the engine can split this model over {trial.gpus}"
        )
    return found


def _nowhere(matter: Matter, planned: Plan) -> Verdict:
    """Nothing could be estimated: the engine starts on none of the GPUs, or there are none."""
    if planned.refused:
        first = planned.refused[0][0]
        problems = checks.deduplicated(p for c, p in planned.refused if c is first)
        return _verdict(matter, Decision.DENY, Reason.INVALID_SPEC, problems=problems)
    return _verdict(
        matter,
        Decision.WARN,
        Reason.UNKNOWN_ACCELERATOR,
        warnings=("no accelerator is known to plan on; name one in spec.accelerator.allowed",),
    )


def _elsewhere(matter: Matter) -> tuple[list[Candidate], list[Candidate]]:
    """Accelerators that the request does not allow, and all pools that its labels do."""
    wanted = replace(matter.request.wanted, allowed=())
    here = kinds.from_pools(wanted, matter.nodes) if matter.inventory.known else ()
    allowed = matter.request.wanted.allowed
    if not allowed:
        return [], list(here)
    others: dict[str, Candidate] = {}
    for candidate in (*here, *kinds.from_table(wanted, matter.inventory, matter.knowledge)):
        name = candidate.accelerator.name
        if name not in allowed and candidate.accelerator.certain:
            others.setdefault(name, candidate)
    return list(others.values()), list(here)


def _by_size(matter: Matter) -> Verdict:
    """The decision on a model of which the size is known, or only the name."""
    request = matter.request
    pools, table = (
        by_size.by_size(request.model, request.wanted, c) for c in (matter.pools, matter.table)
    )
    sized = pools if pools and not pools.short_by and not pools.over else table
    if request.model.parameters is None:
        return _verdict(matter, Decision.WARN, Reason.UNKNOWN_MODEL, warnings=(_unknown(request),))
    if sized is None:
        return _verdict(matter, Decision.WARN, Reason.RULE_OF_THUMB, warnings=(BY_RULE,))
    accelerator = sized.seat.candidate.accelerator
    holds = not sized.short_by and not sized.over
    seat = sized.seat if holds else None
    there, message = capacity(request, matter.inventory, matter.nodes, seat, None)
    why = f"by the rule of thumb alone: {sized.seat.gpus} x {accelerator.name}"
    found = replace(
        _verdict(matter, Decision.WARN, Reason.RULE_OF_THUMB, warnings=(BY_RULE,)),
        accelerator=accelerator.name,
        short_by=sized.short_by,
        placement=seated(request, sized.seat, (), why) if holds else None,
        rule_of_thumb=by_size.rule(request.model, accelerator),
        capacity=there,
        capacity_message=message,
    )
    certain = all(c.accelerator.certain for c in matter.table)
    engine = request.engine
    elsewhere = engine.unread or engine.options.said() or engine.cpu_offload
    if sized.short_by and certain and not elsewhere:
        return replace(found, decision=Decision.DENY, reason=Reason.NOT_ENOUGH_MEMORY)
    return found


BY_RULE = (
    "decided by the rule of thumb alone, which knows no context length and no concurrency; "
    "give model.baseModel or model.configMapRef for an estimate"
)


def _unknown(request: Request) -> str:
    """What to add so that an unknown model can be decided."""
    near = request.model.suggestions[:3]
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return (
        f"model {shown(request.model.name)} is unknown{hint}: nothing was checked; add "
        "model.baseModel, model.configMapRef or model.parameters"
    )


def _verdict(
    matter: Matter,
    decision: Decision,
    reason: Reason,
    problems: tuple[Finding | Problem, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Verdict:
    """A verdict with what follows from the request alone; its policy is set by `decide`."""
    model = matter.request.model
    return Verdict(
        decision,
        reason,
        model,
        DEFAULT_POLICY,
        problems=problems,
        warnings=warnings,
        rule_of_thumb=by_size.rule(model, None),
        places=matter.request.places,
    )
