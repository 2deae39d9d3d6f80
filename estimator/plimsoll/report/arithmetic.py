"""The arithmetic of a verdict as people read it: needs, has, short by, and what would fit.

A need is rounded up and a possession down, to tenths of a GiB; the terms that are shown add up to
the need that is shown (the tenths are dealt out by largest remainder), and a shortfall is the
difference of the two numbers that are shown beside it. So a reader who adds up gets what is
printed, and no number flatters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.decision.fit import fit
from plimsoll.decision.verdict import Note
from plimsoll.engines.base import NO_CACHE, LimitName, TermName
from plimsoll.paths import Field
from plimsoll.units import GB, GIB, ceil_div, count, gb, gib_down, gib_up, grouped

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Alternative, Change, Verdict
    from plimsoll.engines.base import Estimate, Limit, Workload
    from plimsoll.paths import Places

TERMS: Final = {
    TermName.WEIGHTS: "weights",
    TermName.KV_CACHE: "KV cache",
    TermName.ACTIVATION: "activation",
    TermName.NON_TORCH: "non-torch",
    TermName.CUDA_GRAPHS: "CUDA graphs",
    TermName.RUNNER: "runner state",
    TermName.STATES: "recurrent states",
    TermName.LORA: "LoRA slots",
    TermName.DRAFT: "draft model",
}
"""What a term is called in a sentence."""
LIMITS: Final = {
    LimitName.LOADING: "loading peak",
    LimitName.STATES: "sequences",
    LimitName.AFTER_CACHE: "after the cache",
}
"""What a limit is called at the head of a line."""
NOTES: Final = {
    Note.NO_DRAFT: "one token at a time",
    Note.NO_VIDEOS: "for images and text",
    Note.TEXT_ALONE: "for text alone",
    Note.FP8_CHECKPOINT: "an fp8 checkpoint of the model",
    Note.FOUR_BIT_CHECKPOINT: "a 4-bit checkpoint of the model",
    Note.TO_BE_MADE: "which has to be made: the catalogue has none",
    Note.NO_GRAPHS: "without CUDA graphs",
}
"""What stands behind an alternative."""
_TEXTS: Final = (Field.UTILIZATION, Field.VERSION)
"""Fields of a manifest that are texts and look like numbers: YAML needs quotes around them."""


def need(estimate: Estimate) -> str:
    """What a GPU must hold, rounded up."""
    return gib_up(estimate.required)


def have(estimate: Estimate) -> str:
    """What the engine may use of a GPU, rounded down.

    An engine's share is cut to whole bytes; that byte is given back before rounding, else 0.92 of
    80 GiB would read 73.5.
    """
    return gib_down(estimate.usable + 1)


def shortfall(estimate: Estimate) -> str:
    """The difference of `need` and `have` as they are shown."""
    tenths = ceil_div(estimate.required * 10, GIB) - (estimate.usable + 1) * 10 // GIB
    return f"{max(0, tenths) / 10:.1f} GiB"


def error(estimate: Estimate) -> str:
    """How far off the need may be, to the side to which it may be more, rounded up."""
    over = estimate.required_high - estimate.required
    return gib_up(max(over, estimate.required - estimate.required_low))


def breakdown(request: Request, verdict: Verdict) -> list[str]:
    """Needs, has and short by, per GPU, indented: the arithmetic of a misfit."""
    e = verdict.estimate
    if e is None:
        return _weights_alone(verdict)
    terms = " + ".join(_term(e, name, tenths) for name, tenths in tenths_of(e).items())
    lines = [f"  needs {need(e)} per GPU = {terms}", f"  has   {have(e)} per GPU{_share(e)}"]
    lines += [f"  {said}" for said in worst_stage(e)]
    if e.required > e.usable:
        lines.append(f"  short by {shortfall(e)} per GPU; {room(request.workload, e)}")
    else:
        lines.append(f"  leaves {gib_down(e.spare)} per GPU, the estimate's error is {error(e)}")
    return lines + [f"  {LIMITS[limit.name]}: {limit_line(limit)}" for limit in e.limits]


def limit_line(limit: Limit) -> str:
    """What a limit needs and has, with both bands and what the need is made of."""
    if limit.each != 1:
        has = limit.has
        return (
            f"{grouped(limit.need.middle)} of {grouped(has.middle)} blocks "
            f"({grouped(has.low)} to {grouped(has.high)}), {limit.basis}"
        )
    needed, left = limit.need, limit.has
    return (
        f"needs {gib_up(needed.middle)} ({gib_up(needed.low)} to {gib_up(needed.high)}) of "
        f"{gib_down(max(0, left.middle))} ({gib_down(max(0, left.low))} to "
        f"{gib_down(max(0, left.high))}): {limit.basis}"
    )


def short_of(estimate: Estimate) -> str:
    """What is missing: memory of the budget, or what the first limit that fails lacks."""
    limit = fit(estimate).limit
    if limit is None:
        return f"short by {shortfall(estimate)} per GPU"
    if limit.each != 1:
        return f"short of blocks of state for {grouped(limit.need.middle)} sequences"
    when = "while loading" if limit.name is LimitName.LOADING else "after the cache is taken"
    return f"short by {gib_up(limit.short_by)} per GPU {when}"


def worst_stage(estimate: Estimate) -> list[str]:
    """Which pipeline stage needs most and by how much, in a sentence; nothing if all need alike."""
    needs = estimate.stage_needs
    if not needs:
        return []
    least = min(range(len(needs)), key=needs.__getitem__)
    more = needs[estimate.stage] - needs[least]
    if more * 10 < GIB:
        return []
    return [
        f"stage {estimate.stage + 1} of {len(needs)} needs most: {gib_up(more)} per GPU more than "
        f"stage {least + 1}"
    ]


def _share(estimate: Estimate) -> str:
    """How much of the memory that is, and why it is less or more than the engine's share."""
    physical, share = f"{estimate.physical / GIB:.2f}", estimate.utilization
    whole, usable = int(estimate.physical * share), estimate.usable + estimate.headroom
    free = f", less {gib_up(estimate.headroom)} that stay free" if estimate.headroom else ""
    if usable > whole:
        return f" of {physical} GiB: the cache gets {share} of what the rest leaves{free}"
    beside = " less what the engine takes beside its share" if usable < whole else ""
    return f" = {physical} x {share}{beside}{free}"


def _weights_alone(verdict: Verdict) -> list[str]:
    """The arithmetic if nothing but the size of a model is known."""
    rule, short_by = verdict.rule_of_thumb, verdict.short_by
    if rule is None or not short_by:
        return []
    weights = rule.parameters * rule.bits / 8 / GB
    return [
        f"  the weights alone are {weights:.1f} GB ({count(rule.parameters)} parameters at "
        f"{rule.bits:g} bits)",
        f"  short by {gib_up(short_by)} per GPU before anything else is counted",
    ]


def room(workload: Workload, estimate: Estimate) -> str:
    """What there is room for, against what was asked: tokens of cache, or of one request."""
    length = estimate.max_model_len
    said = workload.input_tokens, workload.output_tokens
    sequence = length if None in said else sum(n or 0 for n in said)
    asked = max(length, (workload.concurrent or 1) * sequence)
    if estimate.terms[TermName.KV_CACHE].basis == NO_CACHE:
        return NO_CACHE
    if estimate.kv_capacity <= 0:
        return f"no room for KV cache, {grouped(asked)} tokens asked"
    if 0 < estimate.required - estimate.usable <= estimate.headroom:
        return "it would start, and leave less free than the policy asks for"
    if estimate.largest_max_model_len < length >= asked:
        longest = grouped(estimate.largest_max_model_len)
        return f"room for {longest} tokens, {grouped(length)} asked"
    return f"room for {grouped(estimate.kv_tokens)} tokens in all, {grouped(asked)} asked"


def fixes(verdict: Verdict) -> list[str]:
    """The alternatives, aligned, each with what it leaves."""
    if not verdict.alternatives:
        return [_no_way_out(verdict)]
    said = [fix(alternative, verdict.places) for alternative in verdict.alternatives]
    width = min(72, max(map(len, said)))
    one = "Any one of these fits:" if len(said) > 1 else "This fits:"
    return [one] + [
        f"  {text:<{width}}  {leaves(alternative, verdict)}"
        for text, alternative in zip(said, verdict.alternatives, strict=True)
    ]


def _no_way_out(verdict: Verdict) -> str:
    """What can be said if nothing that is tried makes it fit: a smaller model only if nothing of
    this one would ever run."""
    tried = "No change that Plimsoll tries makes it"
    e = verdict.estimate
    if e is None:
        return f"{tried} fit."
    if e.required_low <= e.usable:
        return f"{tried} sure to fit: only a start can tell."
    if e.kv_capacity > 0:
        return f"{tried} fit: these GPUs have room for less than the workload asks for."
    return f"{tried} fit: it takes a smaller model, or GPUs with more memory."


def fix(alternative: Alternative, places: Places) -> str:
    """One alternative as the fields to write into the manifest."""
    return " and ".join(written(change, places) for change in alternative.changes)


def written(change: Change, places: Places) -> str:
    """One change as a line of the manifest, or of the command line where a flag says it."""
    path = places.path(change.field)
    if not change.value:
        return f"without {path}"
    quoted = change.field in _TEXTS and " -" not in path
    return f'{path}: "{change.value}"' if quoted else f"{path}: {change.value}"


def leaves(alternative: Alternative, verdict: Verdict) -> str:
    """What an alternative leaves, on which GPUs if they are others, and its note."""
    spare = gib_down(max(0, alternative.usable - alternative.required))
    now = verdict.estimate.parallelism.gpus if verdict.estimate else 0
    gpus, kind = alternative.gpus_per_replica, alternative.accelerator
    where = f" on {gpus} x {kind}" if (gpus, kind) != (now, verdict.accelerator) else ""
    notes = ", ".join(NOTES[note] for note in alternative.notes)
    return f"leaves {spare} per GPU{where}" + (f", {notes}" if notes else "")


def rule_of_thumb(verdict: Verdict) -> list[str]:
    """The rule of thumb beside the estimate, one line, if the model's size is known."""
    rule = verdict.rule_of_thumb
    if rule is None:
        return []
    gpus = f", {rule.gpus} x {verdict.accelerator}" if rule.gpus and verdict.accelerator else ""
    return [
        f"Rule of thumb, for comparison: {gb(rule.needed)}{gpus} "
        f"({count(rule.parameters)} parameters at {rule.bits:g} bits x 1.2; no context in it)"
    ]


def tenths_of(estimate: Estimate) -> dict[TermName, int]:
    """Tenths of a GiB per term that add up to the need rounded up: by largest remainder."""
    total = ceil_div(estimate.required * 10, GIB)
    shares = {term.name: divmod(term.bytes * 10, GIB) for term in estimate.terms}
    left = total - sum(whole for whole, _ in shares.values())
    ranked = sorted(shares, key=lambda name: shares[name][1], reverse=True)
    extra = set(ranked[: max(0, left)])
    return {name: whole + (name in extra) for name, (whole, _) in shares.items()}


def _term(estimate: Estimate, name: TermName, tenths: int) -> str:
    basis = estimate.terms[name].basis if name is TermName.KV_CACHE else ""
    return f"{TERMS[name]} {tenths / 10:.1f}" + (f" ({basis})" if basis else "")
