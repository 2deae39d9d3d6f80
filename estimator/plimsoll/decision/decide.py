"""The decision: whether a request is allowed, refused, or allowed with a warning, and why.

It reads nothing (no cluster, no network, no clock), never raises, and words nothing:
`plimsoll.report` says what it finds.

    deny   the request contradicts itself or the engine, or certainly does not fit: model known,
           accelerator known, need above usable by more than the estimate's error, no flag unread
    warn   within the error; model unknown or known by size alone; a misfit that is not certain
    allow  fits, error included, whether or not the cluster has nodes for it today

What is refused follows from the request and the accelerator table; an inventory decides where
something runs, and may know a larger GPU or node than the table does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.decision import by_size, candidates, checks
from plimsoll.decision.capacity import nodes_today
from plimsoll.decision.knowledge import Knowledge, shipped
from plimsoll.decision.placement import placement, seated
from plimsoll.decision.policy import DEFAULT_POLICY, Policy
from plimsoll.decision.request_hash import request_hash
from plimsoll.decision.search import Choice, choose
from plimsoll.decision.splits import MOST_GPUS, asked
from plimsoll.decision.trial import Case, Trial
from plimsoll.decision.verdict import Because, Decision, Reason, Verdict, Why
from plimsoll.decision.walk import walk
from plimsoll.engines.base import TermName
from plimsoll.findings import Rule, finding
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.paths import Field

if TYPE_CHECKING:
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Request
    from plimsoll.engines.assemble import Engine
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_CACHE_ASSUMED: Final = (Rule.CACHE_DTYPE_ASSUMED, Rule.CACHE_SIZE_ASSUMED)


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

    policy: what is done with a denial; it changes nothing of the verdict but its hash.
    knowledge: engines and accelerators to decide by; left out, the ones that we ship.
    """
    known = knowledge or shipped()
    engine = known.engines.get(request.engine.name)
    request = replace(request, wanted=candidates.canonical(request.wanted, known))
    nodes = candidates.nodes_for(request.wanted, inventory)
    matter = Matter(
        request,
        inventory,
        nodes,
        known,
        candidates.from_table(request.wanted, inventory, known),
        candidates.from_pools(request.wanted, nodes) if inventory.known else (),
    )
    problems, warnings = _problems(matter, engine)
    architecture = request.model.architecture
    if problems or engine is None:
        verdict = _verdict(matter, Decision.DENY, Reason.INVALID_SPEC, problems=problems)
    elif architecture is None:
        verdict = _by_size(matter)
    else:
        verdict = _by_estimate(matter, Case(request, architecture, engine))
    gates = engine.gates(request.engine.version) if engine is not None else ()
    return replace(
        _as_far_as_read(verdict, request),
        walk=walk(verdict, gates),
        policy=policy,
        warnings=(
            *request.unread,
            *request.open,
            *request.warnings,
            *warnings,
            *verdict.warnings,
        ),
        request_hash=request_hash(request, policy, known, engine),
    )


def _as_far_as_read(verdict: Verdict, request: Request) -> Verdict:
    """The verdict, or a warning if it rests on what was not read."""
    unsure = {
        Reason.ENOUGH_MEMORY: (*request.unread, *request.open),
        Reason.NOT_ENOUGH_MEMORY: request.unread,
    }
    if not unsure.get(verdict.reason):
        return verdict
    return replace(verdict, decision=Decision.WARN, reason=Reason.NOT_ALL_READ)


def _problems(
    matter: Matter, engine: Engine | None
) -> tuple[tuple[Finding | Problem, ...], list[Finding]]:
    """Everything that is wrong with the request, and warnings about what may be."""
    request, inventory, table = matter.request, matter.inventory, matter.table
    sizes = checks.sizes(request)
    found: list[Finding | Problem] = [*request.problems, *sizes]
    found += candidates.problems(request.wanted, inventory, matter.knowledge)
    if engine is None:
        engines = tuple(sorted(matter.knowledge.engines))
        found.append(
            finding(Rule.UNKNOWN_ENGINE, Field.ENGINE, request.engine.name, engines=engines)
        )
    if sizes:
        return checks.deduplicated(found), []
    found += checks.contradictions(request)
    beyond, warnings = checks.beyond_node(request, inventory, table, engine)
    found += beyond
    architecture = request.model.architecture
    if engine is not None and architecture is not None:
        found += engine.problems(architecture, request.engine, asked(request.wanted), None)
        if not found:
            found += checks.split_problems(request, architecture, engine, table)
    return checks.deduplicated(found), warnings


def _by_estimate(matter: Matter, case: Case) -> Verdict:
    """The decision on a model whose structure is known."""
    on_pools = choose(case, matter.pools) if matter.pools else None
    planned = on_pools if on_pools and on_pools.best else choose(case, matter.table)
    if planned.best is None and on_pools and on_pools.within:
        planned = on_pools
    trial = planned.chosen or planned.miss
    if trial is None:
        return _nowhere(matter, planned)
    nodes = nodes_today(matter.request, matter.inventory, matter.nodes, planned.chosen, on_pools)
    accelerator = trial.candidate.accelerator
    found = replace(
        _verdict(matter, Decision.ALLOW, Reason.ENOUGH_MEMORY),
        warnings=_doubts(case, trial, planned),
        estimate=trial.estimate,
        accelerator=accelerator.name,
        short_by=trial.fit.short_by,
        placement=placement(case, planned),
        rule_of_thumb=by_size.rule(matter.request.model, accelerator),
        nodes=nodes,
    )
    if planned.best is not None and matter.request.model.certain:
        return found
    if planned.best is not None:
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_MODEL)
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
    if case.architecture.assumed or not matter.request.model.certain:
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_MODEL)
    return replace(found, decision=Decision.DENY, reason=Reason.NOT_ENOUGH_MEMORY)


def _weights_exceed(trial: Trial) -> bool:
    """Whether the weights alone are surely more than a GPU has, whatever else is set."""
    return trial.estimate.terms[TermName.WEIGHTS].low > trial.estimate.physical


def _doubts(case: Case, trial: Trial, planned: Choice) -> tuple[Finding, ...]:
    """What a user should know of a decision though it may well be right."""
    request, pool = case.request, trial.candidate.pool
    doubts: list[Finding] = []
    host_memory = case.host_memory(trial)
    if host_memory and not (pool and pool.memory):
        doubts.append(finding(Rule.HOST_MEMORY, Field.CPU_OFFLOAD, memory=host_memory))
    doubts += [note for note in trial.estimate.notes if note.rule is Rule.MAIN_MEMORY_NOT_COUNTED]
    flags, accelerator = request.engine.unread, trial.candidate.accelerator
    if flags:
        doubts.append(finding(Rule.UNREAD_FLAGS, Field.EXTRA_ARGS, flags=flags))
    dtype = request.engine.kv_cache_dtype
    if dtype and any(note.rule in _CACHE_ASSUMED for note in trial.estimate.notes):
        doubts.append(finding(Rule.UNKNOWN_CACHE_DTYPE, Field.KV_CACHE_DTYPE, dtype))
    if not accelerator.certain:
        name = accelerator.name
        doubts.append(finding(Rule.NOMINAL_MEMORY, Field.ALLOWED, accelerator=name))
    architecture = request.model.architecture
    if architecture is not None and architecture.assumed:
        doubts += _unread_of(request.model.name, architecture)
    if not request.model.certain:
        doubts.append(finding(Rule.UNSURE_REVISION, Field.URI, model=request.model.name))
    if planned.idle:
        doubts.append(
            finding(
                Rule.IDLE_GPUS,
                Field.GPUS,
                idle=planned.idle,
                asked=planned.idle + trial.gpus,
                gpus=trial.gpus,
            )
        )
    return tuple(doubts)


def _unread_of(name: str, architecture: Architecture) -> list[Finding]:
    """What of a model is not known: how its weights are stored, or else its type."""
    quantization, found = architecture.quantization, []
    if quantization is not None and quantization.unread:
        count = len(quantization.unread)
        found.append(finding(Rule.RULES_UNREAD, Field.MODEL, model=name, count=count))
    if quantization is not None and (
        quantization.unsized or not (quantization.default or quantization.special)
    ):
        found.append(finding(Rule.WEIGHTS_UNSIZED, Field.MODEL, model=name))
    return found or [finding(Rule.MODEL_TYPE_ASSUMED, Field.MODEL, model=name)]


def _nowhere(matter: Matter, planned: Choice) -> Verdict:
    """Nothing could be estimated: the engine starts on none of the GPUs, or there are none."""
    if planned.refused:
        first = planned.refused[0][0]
        wanted = matter.request.wanted
        problems = checks.deduplicated(
            checks.as_written(p, wanted) for c, p in planned.refused if c is first
        )
        return _verdict(matter, Decision.DENY, Reason.INVALID_SPEC, problems=problems)
    return _verdict(
        matter,
        Decision.WARN,
        Reason.UNKNOWN_ACCELERATOR,
        warnings=(finding(Rule.NOTHING_TO_PLAN_ON, Field.ALLOWED),),
    )


def _elsewhere(matter: Matter) -> tuple[list[Candidate], list[Candidate]]:
    """Accelerators that the request does not allow, and all pools that its labels do."""
    wanted = replace(matter.request.wanted, allowed=())
    here = candidates.from_pools(wanted, matter.nodes) if matter.inventory.known else ()
    allowed = matter.request.wanted.allowed
    if not allowed:
        return [], list(here)
    others: dict[str, Candidate] = {}
    for candidate in (*here, *candidates.from_table(wanted, matter.inventory, matter.knowledge)):
        name = candidate.accelerator.name
        if name not in allowed and candidate.accelerator.certain:
            others.setdefault(name, candidate)
    return list(others.values()), list(here)


def _by_size(matter: Matter) -> Verdict:
    """The decision on a model whose size is known, or only its name."""
    request = matter.request
    pools, table = (
        by_size.by_size(request.model, request.wanted, c) for c in (matter.pools, matter.table)
    )
    sized = pools if pools and not pools.short_by and not pools.over else table
    by_rule = finding(Rule.RULE_OF_THUMB_ALONE, Field.MODEL)
    if request.model.parameters is None:
        return _verdict(matter, Decision.WARN, Reason.UNKNOWN_MODEL, warnings=(_unknown(request),))
    if sized is None:
        return _verdict(matter, Decision.WARN, Reason.RULE_OF_THUMB, warnings=(by_rule,))
    accelerator = sized.seat.candidate.accelerator
    holds = not sized.short_by and not sized.over and sized.seat.gpus <= MOST_GPUS
    seat = sized.seat if holds else None
    why = Why(Because.RULE_OF_THUMB)
    found = replace(
        _verdict(matter, Decision.WARN, Reason.RULE_OF_THUMB, warnings=(by_rule,)),
        accelerator=accelerator.name,
        short_by=sized.short_by,
        placement=seated(request, sized.seat, (), why) if holds else None,
        rule_of_thumb=by_size.rule(request.model, accelerator),
        nodes=nodes_today(request, matter.inventory, matter.nodes, seat, None),
    )
    certain = all(c.accelerator.certain for c in matter.table)
    engine = request.engine
    elsewhere = engine.unread or engine.options.said() or engine.cpu_offload
    if sized.short_by and certain and not elsewhere:
        return replace(found, decision=Decision.DENY, reason=Reason.NOT_ENOUGH_MEMORY)
    return found


def _unknown(request: Request) -> Finding:
    """A model that nobody knows, with the names of the catalogue that are like its own."""
    name, near = request.model.name, request.model.suggestions[:3]
    if near:
        return finding(Rule.UNKNOWN_MODEL_LIKE, Field.MODEL, name, near=near)
    return finding(Rule.UNKNOWN_MODEL, Field.MODEL, name)


def _verdict(
    matter: Matter,
    decision: Decision,
    reason: Reason,
    problems: tuple[Finding | Problem, ...] = (),
    warnings: tuple[Finding, ...] = (),
) -> Verdict:
    """A verdict with what follows from the request alone."""
    model = matter.request.model
    return Verdict(
        decision,
        reason,
        model,
        problems=problems,
        warnings=warnings,
        rule_of_thumb=by_size.rule(model, None),
        places=matter.request.places,
    )
