"""The single changes that advice tries on the same GPUs, each as strong as it must be.

Every kind takes an option to start from and gives that with one change more, or None if the change
means nothing there. What is lowered becomes the largest value that fits, or the least that is
allowed if not even that fits:

    least allowed     tried first: only if it fits is there anything to look for
    between           where a line through the excess at both ends crosses zero, rounded down;
                      the need is close to linear in what is lowered, so one guess mostly does;
                      an end that stays twice counts half (the Illinois rule of false position)
    powers of two     by halving the range

A change that the engine would refuse is none. What it refused before the change does not count
against it, but nothing that is refused is advised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Final

from plimsoll.decision.changes import apply
from plimsoll.decision.trial import Case, Trial
from plimsoll.decision.verdict import Change, Note
from plimsoll.engines.base import LimitName, State, TermName
from plimsoll.findings import Finding, Rule
from plimsoll.models.architecture import ModelSource
from plimsoll.models.resolve import checkpoint_like, known_at
from plimsoll.paths import Field
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from plimsoll.engines.base import Estimate, Limit
    from plimsoll.errors import Problem

MOST_TRIALS: Final = 24
"""Changed requests that one verdict's advice may try on the GPUs that were asked for."""
MOST_GUESSES: Final = 5
"""Values between the least and the one that was asked for that are tried."""
FEWEST_SEQS: Final = 16
"""No maxNumSeqs below this is advised."""
SMALLEST_BATCH: Final = 512
"""No maxNumBatchedTokens below this is advised."""
SIXTEEN_BITS: Final = frozenset({"", "auto", "bfloat16", "bf16", "float16", "half", "fp16", "f16"})
FP8_FAMILIES: Final = frozenset({"cdna3", "cdna4"})
"""Families without a compute capability that compute in fp8 (MI300 and later)."""
STORED_FROM: Final = (8, 0)
"""Compute capability from which fp8 and 4-bit checkpoints have kernels in the engines."""
UTILIZATION_MOST: Final = Decimal("0.95")
"""Above this, engines are known to run out while they capture graphs (vLLM issue 57475)."""
HUNDREDTH: Final = Decimal("0.01")
FP8_FROM: Final = (8, 9)
"""Compute capability from which a GPU computes in fp8 (Ada, Hopper and later)."""
SHORTEST: Final = 1024
"""No maxModelLen below this is advised, in tokens; larger ones are multiples of it."""
SHORTENED_MOST: Final = 16
"""Nor, as long as anything else fits, one of less than this part of what was asked."""

_REPAIRS: Final[dict[Rule, tuple[Field, str]]] = {
    Rule.SHARE_NEVER_FREE: (Field.UTILIZATION, "most"),
    Rule.SHARE_NEVER_FREE_TOGETHER: (Field.UTILIZATION, "most"),
    Rule.SHARE_HELD_BY_OTHERS: (Field.UTILIZATION, "most"),
    Rule.SEQUENCES_BEYOND_BATCH: (Field.MAX_NUM_SEQS, "tokens"),
}
"""Refusals that one value settles: of which field, and the fact of the refusal that holds it."""


@dataclass(slots=True)
class Purse:
    """How many trials are left; shared by all options of one verdict."""

    left: int = MOST_TRIALS


@dataclass(frozen=True)
class Option:
    """Changes that were tried together. trial: what they come to, whether it fits or not.

    refused: what the engine has against it still, of what it had before any change.
    """

    case: Case
    changes: tuple[Change, ...]
    trial: Trial
    refused: frozenset[object] = frozenset()
    notes: tuple[Note, ...] = ()
    purse: Purse = field(default_factory=Purse)

    @property
    def estimate(self) -> Estimate:
        """The estimate after the changes."""
        return self.trial.estimate

    @property
    def fits(self) -> bool:
        """Whether it holds, error included, and the engine would start."""
        return self.trial.fit.fits and not self.refused

    @property
    def excess(self) -> int:
        """Bytes by which the need, error included, exceeds what is usable, and limits what they
        have: all of them together, so that each change counts that makes one of them less."""
        over = self.estimate.required_high - self.estimate.usable
        beside = sum(_over(limit) for limit in self.estimate.limits)
        return max(0, over) + beside if beside else over

    def limit(self, name: LimitName) -> Limit | None:
        """The limit of that name, if it may not hold."""
        limits = (limit for limit in self.estimate.limits if limit.name is name)
        return next((limit for limit in limits if limit.state is not State.FITS), None)

    @property
    def weights_exceed(self) -> bool:
        """Whether the weights alone are surely more than a GPU has, whatever else is set."""
        return self.estimate.terms[TermName.WEIGHTS].low > self.estimate.physical

    def then(self, name: Field, value: object, *notes: Note) -> Option | None:
        """One change more on the same GPUs; None if the engine refuses it, or nothing is left."""
        return self.also((Change(name, str(value)),), *notes)

    def also(self, changes: Sequence[Change], *notes: Note) -> Option | None:
        """A few changes more, made together; see `then`."""
        if self.purse.left <= 0:
            return None
        request = apply(self.case.request, changes)
        architecture = request.model.architecture or self.case.architecture
        case = Case(request, architecture, self.case.engine)
        candidate, split = self.trial.candidate, self.estimate.parallelism
        refused = marks(case.refusals(candidate, split))
        if not refused <= self.refused:
            return None
        self.purse.left -= 1
        made = {change.field: change for change in (*self.changes, *changes)}
        return Option(
            case,
            tuple(made.values()),
            case.trial(candidate, split),
            refused,
            tuple(dict.fromkeys((*self.notes, *notes))),
            self.purse,
        )


def _over(limit: Limit) -> int:
    """Bytes by which a limit may be exceeded; 0 if it holds."""
    if limit.state is State.FITS:
        return 0
    return max(1, (limit.need.high - limit.has.low) * limit.each)


def marks(refusals: Iterable[Finding | Problem]) -> frozenset[object]:
    """What tells refusals apart, whatever figures they name."""
    return frozenset((one.rule, one.field) if isinstance(one, Finding) else one for one in refusals)


def unchanged(case: Case, base: Trial) -> Option:
    """The request as it is, with what the engine refuses of it mended where one value does."""
    candidate, split = base.candidate, base.estimate.parallelism
    refusals = case.refusals(candidate, split)
    option = Option(case, (), base, marks(refusals))
    for one in refusals:
        known = _REPAIRS.get(one.rule) if isinstance(one, Finding) else None
        if not isinstance(one, Finding) or known is None:
            continue
        name, fact = known
        value = str(dict(one.facts)[fact])
        if name is Field.UTILIZATION:
            value = str(Decimal(value).quantize(HUNDREDTH, rounding=ROUND_FLOOR))
        option = option.then(name, value) or option
    return option


# -- each kind of change ---------------------------------------------------------------------------


def _utilization(start: Option) -> Option | None:
    """A larger share of the memory: just large enough, or the largest that may be."""
    e = start.estimate
    if start.case.request.engine.kv_cache_memory is not None:
        return None
    need = Decimal(e.required_high) / Decimal(max(1, e.physical))
    enough = need.quantize(HUNDREDTH, rounding=ROUND_CEILING)
    most = _most_share(start)
    option = None
    if e.utilization < enough < most:
        option = start.then(Field.UTILIZATION, enough)
    if (option is None or not option.fits) and e.utilization < most:
        option = start.then(Field.UTILIZATION, most) or option
    return option


def _smaller_share(start: Option) -> Option | None:
    """A smaller share of the memory, where what comes after the cache lacks it: just as small."""
    limit, e = start.limit(LimitName.AFTER_CACHE), start.estimate
    if limit is None:
        return None
    share = e.utilization - Decimal(_over(limit)) / Decimal(max(1, e.physical))
    share = share.quantize(HUNDREDTH, rounding=ROUND_FLOOR)
    return start.then(Field.UTILIZATION, share) if share > 0 else None


def _most_share(start: Option) -> Decimal:
    """The largest share that is free on that GPU, as the engine checks it, and that is advised."""
    request = apply(start.case.request, (Change(Field.UTILIZATION, str(UTILIZATION_MOST)),))
    case = Case(request, start.case.architecture, start.case.engine)
    most = UTILIZATION_MOST
    for one in case.refusals(start.trial.candidate, start.estimate.parallelism):
        if isinstance(one, Finding) and _REPAIRS.get(one.rule) == (Field.UTILIZATION, "most"):
            free = Decimal(str(dict(one.facts)["most"]))
            most = min(most, free.quantize(HUNDREDTH, rounding=ROUND_FLOOR))
    return most


def cache_by_share(start: Option) -> Option | None:
    """A cache as large as the engine's share allows, where its size was said."""
    if start.case.request.engine.kv_cache_memory is None:
        return None
    return start.then(Field.KV_CACHE_MEMORY, "")


def _fewer_seqs(start: Option) -> Option | None:
    """The most sequences at once, in powers of two, that leave room; at least those asked for."""
    e = start.estimate
    least = max(start.case.request.workload.concurrent or 1, FEWEST_SEQS)
    return _lowered_by_halves(start, Field.MAX_NUM_SEQS, e.max_num_seqs, least)


def _smaller_batch(start: Option) -> Option | None:
    """The largest batch of tokens, in powers of two, that leaves room."""
    tokens = start.estimate.max_num_batched_tokens
    if not start.estimate.terms[TermName.ACTIVATION].high:
        return None
    return _lowered_by_halves(start, Field.MAX_NUM_BATCHED_TOKENS, tokens, SMALLEST_BATCH)


def _no_draft(start: Option) -> Option | None:
    """Nothing guessed ahead."""
    if start.case.request.engine.speculative is None:
        return None
    return start.then(Field.SPECULATIVE, "", Note.NO_DRAFT)


def _fewer_adapters(start: Option) -> Option | None:
    """As many LoRA adapters at once as fit; the engine swaps the others in."""
    adapters = start.case.request.engine.lora
    slots = adapters.slots if adapters else None
    if not slots or TermName.LORA not in start.estimate.terms:
        return None
    return _lowered(start, Field.LORA_SLOTS, slots, 1)


def _no_graphs(start: Option) -> Option | None:
    """No CUDA graphs, where they are charged or lack memory after the cache is taken."""
    after = start.limit(LimitName.AFTER_CACHE) is not None
    if start.case.request.engine.enforce_eager or not (after or _graphs(start.estimate)):
        return None
    return start.then(Field.ENFORCE_EAGER, "true", Note.NO_GRAPHS)


def _graphs(estimate: Estimate) -> int:
    terms = estimate.terms
    return terms[TermName.CUDA_GRAPHS].high if TermName.CUDA_GRAPHS in terms else 0


def _narrow_cache(start: Option) -> Option | None:
    """Half the KV cache, if it is 16 bits wide now; an fp8 one if the GPU computes in it."""
    e, accelerator = start.estimate, start.trial.candidate.accelerator
    dtype = start.case.engine.narrow_cache
    able = accelerator.compute >= FP8_FROM or accelerator.family in FP8_FAMILIES
    if not dtype or (dtype.startswith("fp8") and not able):
        return None
    if e.kv_cache_dtype not in SIXTEEN_BITS or not e.terms[TermName.KV_CACHE].high:
        return None
    return start.then(Field.KV_CACHE_DTYPE, dtype)


def _shorter(start: Option, part: int = SHORTENED_MOST) -> Option | None:
    """The longest context that fits, not shorter than what the workload says of one sequence."""
    workload = start.case.request.workload
    sequence = (workload.input_tokens or 0) + (workload.output_tokens or 0)
    length = start.estimate.max_model_len
    least = max(SHORTEST, sequence, ceil_div(length, part * SHORTEST) * SHORTEST)
    return _lowered(start, Field.MAX_MODEL_LEN, length, least, SHORTEST)


def _shortest(start: Option) -> Option | None:
    """The longest context that fits, however much less it is than was asked."""
    return _shorter(start, part=start.estimate.max_model_len)


def _fewer_at_once(start: Option) -> Option | None:
    """As many concurrent sequences as fit; each data rank holds whole ones."""
    asked, ranks = start.case.request.workload.concurrent, start.estimate.parallelism.data
    if not asked or asked <= ranks:
        return None
    return _lowered(start, Field.CONCURRENT, asked, ranks, ranks)


def _no_videos(start: Option) -> Option | None:
    """No video in any prompt, if the request says nothing of videos and the model takes some."""
    tower, engine = start.case.architecture.tower, start.case.request.engine
    if tower is None or not tower.videos or engine.videos is not None or engine.images == 0:
        return None
    return start.then(Field.VIDEOS, 0, Note.NO_VIDEOS)


def _text_alone(start: Option) -> Option | None:
    """No image in any prompt, if the request says nothing of images."""
    if not start.case.architecture.multimodal or start.case.request.engine.images is not None:
        return None
    return start.then(Field.IMAGES, 0, Note.TEXT_ALONE)


def _lowered(start: Option, name: Field, value: int, least: int, unit: int = 1) -> Option | None:
    """The largest value of a field from `least` to below `value` that fits; else the least.

    Values above the least are multiples of `unit`, which is also how far the result may be from
    the largest.
    """
    if value <= least:
        return None
    best = start.then(name, least)
    if best is None or not best.fits:
        return best
    low, below, high, above = least, float(best.excess), value, float(max(1, start.excess))
    fitted: bool | None = None
    for _ in range(MOST_GUESSES):
        share = -below / (above - below)
        if high - low <= unit or (high - low) * share < unit:
            break
        guess = int(low + (high - low) * share) // unit * unit
        guess = min(max(guess, (low // unit + 1) * unit), (high - 1) // unit * unit)
        if not low < guess < high:
            break
        option = start.then(name, guess)
        if option is not None and option.fits:
            best, low, below = option, guess, option.excess
            above /= 2 if fitted is True else 1
        else:
            high, above = guess, max(1, option.excess if option else above)
            below /= 2 if fitted is False else 1
        fitted = option is not None and option.fits
    return best


def _lowered_by_halves(start: Option, name: Field, value: int, least: int) -> Option | None:
    """The largest power of two below `value` that fits, at least `least`; else the least."""
    if value <= least:
        return None
    best = start.then(name, least)
    if best is None or not best.fits:
        return best
    powers = [1 << n for n in range(least.bit_length(), value.bit_length())]
    low, high = 0, len([power for power in powers if power < value])
    while low < high:
        middle = (low + high) // 2
        option = start.then(name, powers[middle])
        if option is not None and option.fits:
            best, low = option, middle + 1
        else:
            high = middle
    return best


def _stored(method: str, bits: int, note: Note) -> Kind:
    """A checkpoint of the same model with fewer bits, if it has more now."""

    def kind(start: Option) -> Option | None:
        own = start.case.architecture.quantization
        now = 16 if own is None else own.default.bits if own.default else 0
        accelerator = start.trial.candidate.accelerator
        runs = accelerator.compute >= STORED_FROM or accelerator.family in FP8_FAMILIES
        offered = (method, bits) in start.case.engine.checkpoints
        if not runs or not offered or bits >= now or start.case.request.engine.quantization:
            return None
        changes = _checkpoint(start, method)
        named = any(change.field is Field.URI and change.value for change in changes)
        made = () if named else (Note.TO_BE_MADE,)
        return start.also(changes, note, *made) if changes else None

    return kind


def _checkpoint(start: Option, method: str) -> tuple[Change, ...]:
    """What to write for another checkpoint of the model; nothing if it cannot be written.

    The catalogue's own, by its uri, where it has one that is stored so. Else one has to be made:
    it lies elsewhere than the one of the catalogue, whose structure it has.
    """
    request, model = start.case.request, start.case.request.model
    at_catalogue = known_at(model.uri)
    if at_catalogue and model.source is ModelSource.CATALOGUE:
        other = checkpoint_like(at_catalogue, method)
        if other is not None:
            unsaid = (Change(Field.STORED, ""),) if "+" in model.digest else ()
            return (Change(Field.URI, f"hf://{other.id}"), *unsaid)
    if request.places.path(Field.STORED) == request.places.path(Field.URI):
        return ()
    stored = Change(Field.STORED, method)
    if not at_catalogue:
        return (stored,)
    elsewhere = Change(Field.URI, "")
    if model.source is ModelSource.CATALOGUE:
        return (elsewhere, Change(Field.BASE_MODEL, at_catalogue), stored)
    return (elsewhere, stored)


Kind = Callable[[Option], Option | None]
CHECKPOINTS: Final[tuple[Kind, ...]] = (
    _stored("fp8", 8, Note.FP8_CHECKPOINT),
    _stored("awq", 4, Note.FOUR_BIT_CHECKPOINT),
)
KINDS: Final[tuple[Kind, ...]] = (
    _utilization,
    _smaller_share,
    _fewer_seqs,
    _smaller_batch,
    _no_draft,
    _fewer_adapters,
    _narrow_cache,
    _shorter,
    _no_graphs,
    _fewer_at_once,
    _no_videos,
    _text_alone,
    *CHECKPOINTS,
)
"""From what costs least."""
LOWERED: Final = frozenset({_fewer_seqs, _smaller_batch, _fewer_adapters, _shorter, _fewer_at_once})
"""Kinds whose value can be anything down to a least: tried last of several changes, so that it is
lowered no further than the others leave it to be."""
LAST_RESORT: Final[Kind] = _shortest
