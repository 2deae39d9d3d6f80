"""The words of a verdict: one place for what kubectl, the command line and the status say.

`plimsoll.report.arithmetic` rounds its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.decision.policy import Outcome, outcome
from plimsoll.decision.splits import tensor_counts
from plimsoll.decision.verdict import Decision, Gain, Reason
from plimsoll.engines.base import State
from plimsoll.errors import Problem, clean, shown
from plimsoll.paths import Field
from plimsoll.report.arithmetic import (
    breakdown,
    error,
    fix,
    fixes,
    have,
    need,
    room,
    rule_of_thumb,
    short_of,
    shortfall,
    worst_stage,
)
from plimsoll.report.nodes import placement_reason
from plimsoll.report.starts import at_gate, stop_line
from plimsoll.report.wording import problem, problems_of, warnings_of
from plimsoll.units import count, counted, gib_down, gib_up, grouped, money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.bounds import Bounds
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Better, Verdict
    from plimsoll.engines.base import Estimate, Limit
    from plimsoll.models.architecture import Model
    from plimsoll.paths import Places

LONGEST = 1000
"""Characters of a condition's message, so that it stays under 1 KiB."""
LONGEST_LINE = 4000
"""Characters of one line of a denial, a warning or a summary."""
MAX_REASON = 200
"""Characters of an override's reason that are repeated."""
USUAL_NODE = 8
"""GPUs of a usual node; that no more than these were planned needs no word."""
MOST_PROBLEMS = 20
"""Problems that one message lists."""


# -- what is refused ------------------------------------------------------------------------------


def misfit(request: Request, verdict: Verdict) -> Problem:
    """A misfit as a problem at the field that pins the count, else at what was left open."""
    wanted, name = request.wanted, verdict.model.name
    if verdict.limit is not None:
        return problem(verdict.limit.said, verdict.places)
    if wanted.split.tensor is not None:
        field, given = Field.TENSOR, shown(wanted.split.tensor * tensor_counts(request))
    elif wanted.gpus_per_replica is not None:
        field, given = Field.GPUS, shown(wanted.gpus_per_replica)
    elif wanted.allowed:
        field, given = Field.ALLOWED, f"[{', '.join(map(clean, wanted.allowed[:4]))}]"
    else:
        field, given = Field.MODEL, shown(name)
    gpus = verdict.estimate.parallelism.gpus if verdict.estimate else 0
    where = f"{gpus} x {verdict.accelerator}" if gpus else verdict.accelerator
    said = f"{clean(name)} does not fit on {where}"
    if verdict.planned_to <= USUAL_NODE:
        return Problem(verdict.places.path(field), given, said)
    most = f"nothing sensible holds it: up to {verdict.planned_to} GPUs a replica were planned"
    return Problem(verdict.places.path(field), given, said, most)


def denial(request: Request, verdict: Verdict) -> str:
    """Why it is refused, all of it: what `kubectl apply` and `plimsoll check` print."""
    lines: list[str] = []
    if verdict.problems:
        lines += [str(one) for one in problems_of(verdict)[:MOST_PROBLEMS]]
        if len(verdict.problems) > MOST_PROBLEMS:
            lines.append(f"and {len(verdict.problems) - MOST_PROBLEMS} more problems")
    else:
        lines.append(str(misfit(request, verdict)))
        lines += breakdown(request, verdict)
        lines += fixes(verdict)
        lines += rule_of_thumb(verdict)
    if stopped := stop_line(verdict.walk):
        lines.append(stopped)
    lines += bounds_lines(verdict.policy.bounds)
    lines.append("Reproduce: plimsoll check FILE")
    lines.append(f"Policy: {policy_line(verdict)}")
    return "\n".join(map(_line, lines))


def bounds_lines(bounds: Bounds) -> list[str]:
    """What each SizingPolicy bounds that planning and the ways out keep to, a line each."""
    said: dict[tuple[str, ...], list[str]] = {}
    for name, text in (
        ("headroom", gib_up(bounds.headroom) + " of each GPU stay free"),
        ("headroom_percent", f"{bounds.headroom_percent} % of each GPU stay free"),
        ("gpus_per_replica", f"at most {counted(bounds.gpus_per_replica or 0, 'GPU')} a replica"),
        ("gpus_per_object", f"at most {counted(bounds.gpus_per_object or 0, 'GPU')} an object"),
        ("accelerators", f"on {', '.join(map(clean, bounds.accelerators or ()))} alone"),
    ):
        if getattr(bounds, name):
            said.setdefault(bounds.set_by(name), []).append(text)
    return [f"{' and '.join(map(clean, by))}: {', '.join(texts)}" for by, texts in said.items()]


def policy_line(verdict: Verdict) -> str:
    """Who says what becomes of a denial, and who may say otherwise."""
    mode, source = verdict.policy.mode, verdict.policy.source
    said = f"{mode} ({source})" if str(mode) not in source else source
    return (
        f"{said}; the namespace's label {verdict.policy.label} sets it, "
        "the annotation plimsoll.dev/override overrides it for those who may"
    )


def overridden_line(reason: str) -> str:
    """What a pipeline says of an override: it cannot know who will apply the object."""
    said = clean(reason, MAX_REASON)
    return f"overridden by annotation (if whoever applies it may override): {said}"


# -- one line ------------------------------------------------------------------------------------


def warning(request: Request, verdict: Verdict) -> tuple[str, ...]:
    """What kubectl prints after ``Warning: `` for something that is let in; one line each."""
    if outcome(verdict) is Outcome.AUDITED:
        return ()
    name = clean(request.name.rpartition("/")[2]) or clean(verdict.model.name)
    lines: list[str] = []
    if verdict.decision is Decision.DENY:
        lines += [f"{name}: {one}" for one in problems_of(verdict)[:MOST_PROBLEMS]]
    if verdict.decision is not Decision.ALLOW and verdict.estimate is not None:
        said = _need_and_have(verdict.estimate, verdict.accelerator)
        if verdict.limit is not None:
            said = _limited(verdict.limit, verdict)
        lines.append(f"{name}: {said}")
        if verdict.alternatives:
            lines.append(f"{name}: would fit with {fix(verdict.alternatives[0], verdict.places)}")
    lines += [f"{name}: {sentence}" for sentence in _some(warnings_of(verdict))]
    return tuple(dict.fromkeys(map(_line, lines)))


def _need_and_have(estimate: Estimate, accelerator: str) -> str:
    gpus = estimate.parallelism.gpus
    said = f"needs {need(estimate)} per GPU, {gpus} x {accelerator} has {have(estimate)} usable"
    if estimate.required_low > estimate.usable or estimate.required_high <= estimate.usable:
        return said
    return f"{said}: within the estimate's error of {error(estimate)}"


def _limited(limit: Limit, verdict: Verdict) -> str:
    """What a start does not hold beside the budget, or may not."""
    said = str(problem(limit.said, verdict.places))
    if limit.state is State.DOES_NOT_FIT:
        return said
    return f"{said}: within the estimate's error"


def headline(request: Request, verdict: Verdict) -> str:
    """The verdict in a few words, for a column of a table."""
    e = verdict.estimate
    short = f"short by {shortfall(e) if e is not None else gib_up(verdict.short_by)}"
    if verdict.limit is not None and e is not None:
        short = short_of(e)
    match verdict.reason:
        case Reason.ENOUGH_MEMORY if e is not None:
            return f"fits, {gib_down(e.spare)} spare"
        case Reason.WITHIN_ERROR:
            return "too close to be sure"
        case Reason.INVALID_SPEC:
            return clean(problems_of(verdict)[0].wanted, 200) if verdict.problems else "invalid"
        case Reason.ENGINE_REFUSED:
            return "the engine itself refuses"
        case Reason.UNKNOWN_MODEL:
            return "unknown model"
        case Reason.UNKNOWN_ACCELERATOR if not verdict.short_by:
            return "if the GPU has that memory"
        case Reason.RULE_OF_THUMB:
            return "by the rule of thumb only"
        case Reason.UNREAD_FLAGS:
            return f"{short}, but {_flags(request)} may change that"
        case Reason.NOT_ALL_READ:
            return "not everything is known"
        case Reason.SHORTER_CONTEXT if e is not None:
            return _served(e)
        case _:
            return short


def _served(e: Estimate) -> str:
    longest, asked = grouped(e.largest_max_model_len), grouped(e.max_model_len)
    return f"starts, and serves {longest} tokens, not {asked}"


def _flags(request: Request) -> str:
    return ", ".join(clean(flag) for flag in request.engine.unread[:3])


def summary(request: Request, verdict: Verdict) -> list[str]:
    """A whole verdict in a few lines, for a terminal: where it runs, or why not and what would."""
    lines: list[str] = []
    if verdict.decision is Decision.DENY:
        lines += denial(request, verdict).splitlines()[:-2]
    else:
        if verdict.placement is not None:
            lines.append(placement_message(verdict))
        if verdict.decision is Decision.WARN and verdict.estimate is not None:
            lines.append(fits_message(request, verdict))
            lines += fixes(verdict)
    lines += [f"warning: {sentence}" for sentence in _some(warnings_of(verdict))]
    return list(map(_line, lines))


def _some(sentences: Sequence[str]) -> list[str]:
    """As many sentences as one message lists, and how many more there are."""
    more = len(sentences) - MOST_PROBLEMS
    return [*sentences[:MOST_PROBLEMS], *([f"and {more} more warnings"] if more > 0 else [])]


# -- conditions ----------------------------------------------------------------------------------


def fits_message(request: Request, verdict: Verdict) -> str:
    """The message of condition Fits."""
    e = verdict.estimate
    if verdict.problems:
        return _short("; ".join(map(str, problems_of(verdict))) + at_gate(verdict.walk))
    if e is None:
        if verdict.short_by:
            return _short(f"the weights alone are short by {gib_up(verdict.short_by)} per GPU")
        return _short("; ".join(warnings_of(verdict)) or str(verdict.reason))
    where = f"{e.parallelism.gpus} x {verdict.accelerator}"
    said = f"needs {need(e)} of {have(e)} usable per GPU on {where}"
    if verdict.limit is not None:
        return _limit_message(request, verdict, verdict.limit)
    match verdict.reason:
        case Reason.ENOUGH_MEMORY:
            return f"{said} ({gib_down(e.spare)} spare)"
        case Reason.WITHIN_ERROR:
            within = f"{said}: within the estimate's error of {error(e)}"
            return _short("; ".join((within, *worst_stage(e))))
        case Reason.UNREAD_FLAGS:
            flags = _flags(request)
            return _short(f"{said}: short by {shortfall(e)}, but {flags} is not read")
        case Reason.UNKNOWN_MODEL if not verdict.short_by:
            return f"{said}, if the model is as it is described"
        case Reason.NOT_ALL_READ:
            return f"{said}, if what is not known changes nothing"
        case Reason.SHORTER_CONTEXT:
            return f"{said} for its whole context: {_served(e)}"
        case Reason.UNKNOWN_ACCELERATOR if not verdict.short_by:
            return f"{said}, if the GPU has the memory that is said of it"
        case Reason.UNKNOWN_ACCELERATOR:
            return f"{said}: short by {shortfall(e)}, but that memory is not certain"
        case _:
            first = verdict.alternatives[0] if verdict.alternatives else None
            hint = f"; would fit with {fix(first, verdict.places)}" if first else ""
            missing = f"{said}: short by {shortfall(e)}; {room(request.workload, e)}{hint}"
            return _short(missing + at_gate(verdict.walk))


def _limit_message(request: Request, verdict: Verdict, limit: Limit) -> str:
    """The message of condition Fits where the budget is enough and something else is not."""
    said = _limited(limit, verdict)
    if verdict.reason is Reason.UNREAD_FLAGS:
        return _short(f"{said}, but {_flags(request)} is not read")
    if verdict.reason is not Reason.NOT_ENOUGH_MEMORY or not verdict.alternatives:
        return _short(said + at_gate(verdict.walk))
    way_out = f"; would fit with {fix(verdict.alternatives[0], verdict.places)}"
    return _short(said + way_out + at_gate(verdict.walk))


def placement_message(verdict: Verdict) -> str:
    """The message of condition Ready for something that is placed."""
    p = verdict.placement
    if p is None:
        return "not placed"
    split = p.parallelism
    sizes = (("tensor", split.tensor), ("pipeline", split.pipeline), ("data", split.data))
    words = " x ".join(f"{word} {n}" for word, n in sizes if n > 1)
    nodes = f", {p.gpus_per_node} on each of {p.nodes_per_replica} nodes"
    return _short(
        f"{p.gpus_per_replica} x {p.accelerator} per replica"
        + (f" ({words})" if words else "")
        + (nodes if p.nodes_per_replica > 1 else "")
        + f": {placement_reason(p)}"
    )


def better_message(better: Better, places: Places) -> str:
    """The message of condition BetterPlacement: what would be better, and how it is taken."""
    there = f"{better.gpus} x {better.accelerator} per replica"
    match better.gain:
        case Gain.FEWER_GPUS:
            fewer = "1 GPU" if better.gpus_saved == 1 else f"{better.gpus_saved} GPUs"
            said = f"{there} would do: {fewer} fewer"
        case Gain.LESS_MEMORY:
            said = f"{there} would do: {gib_down(better.memory_saved)} less GPU memory"
        case Gain.PREFERRED:
            said = f"{there} would do, which is preferred"
        case Gain.CHEAPER:
            said = f"{there} would do: {money(better.price_saved)} an hour less"
        case Gain.NODES_TODAY:
            said = f"nodes for {there} are there today, those of the placement are not"
    policy = places.path(Field.PLACEMENT_POLICY)
    return f"{said}; set {policy} to Follow, or change the spec, to have it taken"


def model_message(model: Model) -> str:
    """The message of condition ModelResolved: what is known of the model."""
    name = clean(model.name)
    a = model.architecture
    if model.parameters is None:
        near = f"; did you mean {' or '.join(model.suggestions[:3])}?" if model.suggestions else ""
        return _short(f"{name} is unknown{near}")
    said = f"{name}: {count(model.parameters)} parameters"
    if a is None:
        return _short(f"{said} at {model.bits or 16:g} bits; nothing else is known")
    stored = a.quantization.method if a.quantization else a.dtype
    heads = next((f", {m.kv_heads} KV heads x {m.head_dim}" for m in a.mixers() if m.kv_heads), "")
    active = f" ({count(a.active_parameters)} active)" if _mixture(model) else ""
    return _short(f"{said}{active}, {stored}, {len(a.blocks)} layers{heads}")


def _mixture(model: Model) -> bool:
    blocks = model.architecture.blocks if model.architecture else ()
    return any(b.feed_forward is not None and b.feed_forward.experts for b in blocks)


def _short(text: str) -> str:
    """The message of a condition."""
    return clean(text, LONGEST)


def _line(text: str) -> str:
    """One line of a message."""
    return clean(text, LONGEST_LINE)
