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

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from plimsoll.decision import beyond, by_size, candidates, checks, releases, stated
from plimsoll.decision.capacity import nodes_today
from plimsoll.decision.knowledge import Knowledge, shipped
from plimsoll.decision.placement import placement, seated
from plimsoll.decision.policy import DEFAULT_POLICY, Policy
from plimsoll.decision.request import Prefer
from plimsoll.decision.request_hash import request_hash
from plimsoll.decision.search import Choice, choose, smaller_than
from plimsoll.decision.splits import MOST_GPUS, MOST_PLANNED, asked, pinned, splits
from plimsoll.decision.staying import better, held, where_it_was
from plimsoll.decision.trial import Case, Trial
from plimsoll.decision.verdict import Because, Decision, Reason, Verdict, Why
from plimsoll.decision.walk import walk
from plimsoll.engines.base import TermName
from plimsoll.findings import Finding, Rule, finding
from plimsoll.inventory.declared import offered
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.candidates import Candidate
    from plimsoll.decision.request import Request
    from plimsoll.decision.staying import Kept
    from plimsoll.decision.verdict import Better
    from plimsoll.engines.assemble import Engine
    from plimsoll.errors import Problem
    from plimsoll.models.architecture import Architecture

_MAY_NOT_START: Final = (
    Rule.MODEL_BY_TRANSFORMERS,
    Rule.BUILDS_WITHOUT_KERNELS,
    Rule.REPORTED_NOT_TO_START,
    Rule.QUANTIZATION_NOBODY_KNOWS,
)
"""Notes of an estimate with which nobody can be sure that the engine starts."""
_TOLD: Final = (
    Rule.MAIN_MEMORY_NOT_COUNTED,
    Rule.CONTEXT_FITTED,
    Rule.STORED_BY_NAME,
    Rule.FILE_BY_NAME,
)
"""Notes of an estimate that are told with a decision."""
_CACHE_ASSUMED: Final = (Rule.CACHE_DTYPE_ASSUMED, Rule.CACHE_SIZE_ASSUMED)


@dataclass(frozen=True, slots=True)
class Matter:
    """Everything that one decision is made of.

    nodes: the part of the inventory that carries the request's labels. table, pools: where it
    may run, see `plimsoll.decision.candidates`. kept: where it ran before. above: see
    `plimsoll.decision.stated.above_table`.
    """

    request: Request
    inventory: Inventory
    nodes: Inventory
    knowledge: Knowledge
    table: tuple[Candidate, ...]
    pools: tuple[Candidate, ...]
    kept: Kept | None = None
    above: Mapping[str, tuple[int, Accelerator]] = field(default_factory=dict)


def decide(
    request: Request,
    inventory: Inventory = NO_INVENTORY,
    policy: Policy = DEFAULT_POLICY,
    knowledge: Knowledge | None = None,
    kept: Kept | None = None,
) -> Verdict:
    """The verdict on a request. Pure and total: the same arguments give the same verdict.

    policy: what is done with a denial, which changes nothing of the verdict but its hash; and the
    bounds that the object is held to.
    knowledge: engines and accelerators to decide by; left out, the ones that we ship. Those
    that the cluster adds (`Inventory.own`) come on top.
    kept: where the same request was placed before: it stays there if it still fits.
    """
    known = (knowledge or shipped()).in_cluster(inventory)
    engine = known.engines.get(request.engine.name)
    written = request
    asked_for = request.wanted
    request = replace(request, wanted=candidates.canonical(request.wanted, known))
    hashed = request_hash(request, policy, known, engine)
    request = replace(request, wanted=beyond.narrowed(request, policy.bounds, known))
    nodes = candidates.nodes_for(request.wanted, inventory)
    seen = offered(nodes.pools_for(request.name, follow=request.follow), nodes.declared)
    pools = candidates.as_asked(
        candidates.from_pools(request.wanted, seen) if inventory.known else (),
        inventory,
        request.replicas,
    )
    reported = [c.accelerator for c in pools if c.pool is not None and not c.pool.declared]
    matter = Matter(
        request,
        inventory,
        nodes,
        known,
        candidates.as_asked(
            candidates.from_table(request.wanted, known), inventory, request.replicas
        ),
        pools,
        None if request.follow else kept,
        stated.above_table(request.wanted, known, reported),
    )
    limits = beyond.problems(request, asked_for, policy.bounds, table=bool(matter.table))
    problems = checks.deduplicated((*_problems(matter, engine), *limits))
    unsaid = beyond.doubts(request, policy.bounds)
    architecture = request.model.architecture
    if problems or engine is None:
        verdict = _verdict(matter, Decision.DENY, Reason.INVALID_SPEC, problems=problems)
    elif architecture is None:
        verdict = _by_size(matter)
    else:
        verdict = _by_estimate(matter, Case(request, architecture, engine))
    gates = engine.gates(request.engine.version) if engine is not None else ()
    walked = walk(verdict, gates)
    late = releases.decisive(verdict, engine) if engine is not None and request.any_release else ()
    if late and engine is not None:
        earlier = releases.earlier(written, engine, late)
        there = decide(earlier, inventory, policy, knowledge, kept)
        if there.decision is not Decision.DENY:
            return replace(releases.doubted(there, late), request_hash=hashed)
    verdict = _as_far_as_read(verdict, request, unsaid)
    return replace(
        verdict,
        walk=walked,
        policy=policy,
        warnings=(
            *request.unread,
            *request.open,
            *request.warnings,
            *candidates.unlisted(request.wanted, known),
            *candidates.taken_as(asked_for, known),
            *stated.doubts(request.wanted, known),
            *stated.told(request.wanted, matter.above),
            *unsaid,
            *policy.unread,
            *verdict.warnings,
        ),
        request_hash=hashed,
    )


def hash_of(
    request: Request,
    inventory: Inventory = NO_INVENTORY,
    policy: Policy = DEFAULT_POLICY,
    knowledge: Knowledge | None = None,
) -> str:
    """The hash that `decide` gives the verdict on a request, without deciding."""
    known = (knowledge or shipped()).in_cluster(inventory)
    request = replace(request, wanted=candidates.canonical(request.wanted, known))
    return request_hash(request, policy, known, known.engines.get(request.engine.name))


def _as_far_as_read(verdict: Verdict, request: Request, unsaid: list[Finding]) -> Verdict:
    """The verdict, or a warning if it rests on what was not read, or on what a policy asks for and
    nobody says."""
    released = (request.any_release,) if _hangs_on_release(verdict) and request.any_release else ()
    doubted = [
        one for one in verdict.warnings if isinstance(one, Finding) and one.rule in _MAY_NOT_START
    ]
    unsure = {
        Reason.ENOUGH_MEMORY: (*request.unread, *request.open, *doubted, *unsaid),
        Reason.NOT_ENOUGH_MEMORY: (*request.unread, *released),
    }
    if not unsure.get(verdict.reason):
        return verdict
    warnings = (*released, *verdict.warnings)
    return replace(verdict, decision=Decision.WARN, reason=Reason.NOT_ALL_READ, warnings=warnings)


def _hangs_on_release(verdict: Verdict) -> bool:
    """Whether a misfit is one of what releases of an engine differ in: weights and cache would fit
    by themselves."""
    e = verdict.estimate
    if verdict.reason is not Reason.NOT_ENOUGH_MEMORY or e is None:
        return False
    same = (e.terms[TermName.WEIGHTS], e.terms[TermName.KV_CACHE])
    return sum(term.low for term in same) <= e.usable


def _problems(matter: Matter, engine: Engine | None) -> tuple[Finding | Problem, ...]:
    """Everything that is wrong with the request."""
    request, inventory, table = matter.request, matter.inventory, matter.table
    sizes = checks.sizes(request)
    found: list[Finding | Problem] = [*request.problems, *sizes]
    found += candidates.problems(request.wanted, inventory, matter.knowledge)
    found += stated.problems(request.wanted)
    if engine is None:
        engines = tuple(sorted(matter.knowledge.engines))
        found.append(
            finding(Rule.UNKNOWN_ENGINE, Field.ENGINE, request.engine.name, engines=engines)
        )
    if sizes:
        return checks.deduplicated(found)
    found += checks.contradictions(request)
    found += checks.across_slices(request, table)
    architecture = request.model.architecture
    if engine is not None and architecture is not None:
        found += engine.problems(architecture, request.engine, asked(request.wanted), None)
        if not found:
            found += checks.split_problems(request, architecture, engine, table)
    return checks.deduplicated(found)


def _by_estimate(matter: Matter, case: Case) -> Verdict:
    """The decision on a model whose structure is known."""
    on_pools = choose(case, matter.pools) if matter.pools else None
    planned = on_pools if on_pools and on_pools.best else choose(case, matter.table)
    if planned.best is None and on_pools and (on_pools.within or not matter.table):
        planned = on_pools
    planned, gain, where = _staying(matter, case, planned)
    trial = planned.chosen or planned.miss
    if trial is None:
        return _nowhere(matter, planned)
    there = where if where is not None else matter.nodes
    nodes = nodes_today(matter.request, matter.inventory, there, planned.chosen, on_pools)
    stays = matter.kept if where is not None else None
    accelerator = trial.candidate.accelerator
    found = replace(
        _verdict(matter, Decision.ALLOW, Reason.ENOUGH_MEMORY),
        warnings=_doubts(case, trial, planned),
        estimate=trial.estimate,
        accelerator=accelerator.name,
        short_by=trial.fit.short_by,
        planned_to=_planned_to(case, planned),
        limit=trial.fit.limit,
        placement=placement(case, planned, matter.inventory.speaks, nodes, stays),
        better=gain,
        rule_of_thumb=by_size.rule(matter.request.model, accelerator),
        nodes=nodes,
    )
    unlisted = candidates.unlisted(matter.request.wanted, matter.knowledge)
    if planned.best is not None and unlisted and not matter.table:
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_ACCELERATOR)
    if planned.best is not None and _rests_on_memory_said(matter, case, trial):
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_ACCELERATOR)
    if planned.best is not None and matter.request.model.certain:
        return found
    if planned.best is not None:
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_MODEL)
    from plimsoll.decision.advice import advise  # only a misfit needs it

    alternatives = advise(case, trial, *_elsewhere(matter))
    found = replace(found, alternatives=alternatives)
    if planned.within is not None:
        return replace(found, decision=Decision.WARN, reason=Reason.WITHIN_ERROR)
    if _serves_less(case, trial):
        return replace(found, decision=Decision.WARN, reason=Reason.SHORTER_CONTEXT)
    settings = matter.request.engine
    if settings.unread and (settings.shrinking or not _weights_exceed(trial)):
        return replace(found, decision=Decision.WARN, reason=Reason.UNREAD_FLAGS)
    if unlisted or not all(c.accelerator.certain for c in matter.table):
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_ACCELERATOR)
    if matter.request.wanted.memory and _may_be_seen_whole(trial):
        return replace(found, decision=Decision.WARN, reason=Reason.WITHIN_ERROR)
    if case.architecture.assumed or not matter.request.model.certain:
        return replace(found, decision=Decision.WARN, reason=Reason.UNKNOWN_MODEL)
    return replace(found, decision=Decision.DENY, reason=Reason.NOT_ENOUGH_MEMORY)


def _staying(
    matter: Matter, case: Case, fresh: Choice
) -> tuple[Choice, Better | None, Inventory | None]:
    """The placement that was there, if it may stay, what would be better, and the nodes that it is
    on (see `where_it_was`); else the fresh one.

    One that may only fit gives way to one that surely does.
    """
    kept = matter.kept
    stays = held(case, kept, matter.nodes, matter.knowledge) if kept else None
    if kept is None or stays is None:
        return fresh, None, None
    if not stays.fit.fits and fresh.best:
        return fresh, None, None
    where = where_it_was(kept, stays, matter.nodes)
    if not stays.fit.fits:
        return Choice(within=stays, idle=fresh.idle), None, where
    choice = Choice(best=stays, smaller=smaller_than(case, stays), idle=fresh.idle)
    return choice, better(fresh.best, stays), where


def _planned_to(case: Case, planned: Choice) -> int:
    """GPUs of the largest replica that was considered, if it was planned and none holds."""
    wanted, miss = case.request.wanted, planned.miss
    if miss is None or pinned(wanted):
        return 0
    return splits(case.request, miss.candidate, case.architecture, case.engine).most


def _rests_on_memory_said(matter: Matter, case: Case, trial: Trial) -> bool:
    """Whether it would not surely fit on the card as the table has it."""
    card = trial.candidate.accelerator
    _, listed = matter.above.get(card.name, (0, None))
    if listed is None:
        return False
    as_listed = replace(trial.candidate, accelerator=replace(card, memory=listed.memory))
    return not case.trial(as_listed, trial.parallelism).fit.fits


def _may_be_seen_whole(trial: Trial) -> bool:
    """Whether it would fit if a stated memory were what the engine sees, not the driver."""
    return trial.fit.short_by <= trial.candidate.accelerator.memory - trial.estimate.physical


def _serves_less(case: Case, trial: Trial) -> bool:
    """Whether the engine starts all the same, with a context that it shortens by itself and that
    is enough for what the workload says.
    """
    work = case.request.workload
    sequence = (work.input_tokens or 0) + (work.output_tokens or 0)
    held = case.engine.shortened(trial.estimate, case.request.engine)
    at_once = (work.concurrent or 1) * sequence
    return trial.fit.limit is None and held > sequence and trial.estimate.kv_tokens >= at_once


def _weights_exceed(trial: Trial) -> bool:
    """Whether the weights alone are surely more than a GPU has, whatever else is set."""
    return trial.estimate.terms[TermName.WEIGHTS].low > trial.estimate.physical


def _doubts(case: Case, trial: Trial, planned: Choice) -> tuple[Finding, ...]:
    """What a user should know of a decision though it may well be right."""
    request, pool = case.request, trial.candidate.pool
    doubts = checks.over_nodes(trial.candidate, trial.parallelism, case.engine)
    host_memory = case.host_memory(trial)
    if host_memory and not (pool and pool.memory):
        doubts.append(finding(Rule.HOST_MEMORY, Field.CPU_OFFLOAD, memory=host_memory))
    told = (*_TOLD, *_MAY_NOT_START)
    doubts += [note for note in trial.estimate.notes if note.rule in told]
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
    candidate = trial.candidate
    if candidate.prefer is Prefer.CHEAPEST and candidate.price is None:
        name = candidate.accelerator.name
        doubts.append(finding(Rule.NO_PRICE, Field.PREFER, "Cheapest", accelerator=name))
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
    asked = matter.request.wanted
    wanted = replace(asked, allowed=())
    nodes = offered(matter.nodes.pools, matter.nodes.declared)
    here = candidates.from_pools(wanted, nodes) if matter.inventory.known else ()
    allowed = asked.allowed
    if not allowed or asked.memory or candidates.selected(asked):
        return [], list(here)
    others: dict[str, Candidate] = {}
    for candidate in (*here, *candidates.from_table(wanted, matter.knowledge)):
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
    allowed = request.wanted.most_gpus or MOST_PLANNED
    most = MOST_GPUS if pinned(request.wanted) else min(allowed, MOST_PLANNED)
    holds = not sized.short_by and not sized.over and sized.seat.gpus <= most
    seat = sized.seat if holds else None
    why = Why(Because.RULE_OF_THUMB)
    found = replace(
        _verdict(matter, Decision.WARN, Reason.RULE_OF_THUMB, warnings=(by_rule,)),
        accelerator=accelerator.name,
        short_by=sized.short_by,
        placement=seated(request, sized.seat, (), why, matter.inventory.speaks) if holds else None,
        rule_of_thumb=by_size.rule(request.model, accelerator),
        nodes=nodes_today(request, matter.inventory, matter.nodes, seat, None),
    )
    certain = all(c.accelerator.certain for c in matter.table) and not candidates.unlisted(
        request.wanted, matter.knowledge
    )
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
