"""Changes to a request on the same GPUs: how each is made, and the single ones that advice tries.

Every kind takes an option to start from and gives that with one change more, whether it fits then
or not, or None if the change means nothing there. What is lowered is lowered to the largest value
that fits, found by false position: the need is close to linear in the value, so two or three
estimates do. A field that is not in `_SETTERS` is an error of ours (`KeyError`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.splits import tensor_counts
from plimsoll.decision.trial import Case, Trial
from plimsoll.decision.verdict import Change, Note
from plimsoll.engines.base import Lora, TermName
from plimsoll.models.architecture import Architecture, ModelSource
from plimsoll.models.quantization_config import stored
from plimsoll.models.resolve import checkpoint_like, resolve
from plimsoll.paths import Field
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.request import Request
    from plimsoll.engines.base import Estimate

FEWEST_SEQS = 16
"""No maxNumSeqs below this is advised."""
SIXTEEN_BITS = frozenset({"", "auto", "bfloat16", "bf16", "float16", "half", "fp16", "f16"})
FP8_FAMILIES = frozenset({"cdna3", "cdna4"})
"""Families without a compute capability that compute in fp8 (MI300 and later)."""
STORED_FROM = (8, 0)
"""Compute capability from which fp8 and 4-bit checkpoints have kernels in the engines."""
UTILIZATION_MOST = Decimal("0.95")
"""Above this, engines are known to run out while they capture graphs (vLLM issue 57475)."""
FP8_FROM = (8, 9)
"""Compute capability from which a GPU computes in fp8 (Ada, Hopper and later)."""
SHORTEST = 1024
"""No maxModelLen below this is advised, in tokens; larger ones are multiples of it."""
SHORTENED_MOST = 16
"""Nor one of less than this part of what was asked: that is another deployment."""


# -- how a change is made -------------------------------------------------------------------------

Setter = Callable[["Request", str], "Request"]


def apply(request: Request, changes: Iterable[Change]) -> Request:
    """The request after the changes, made together."""
    for change in changes:
        request = _SETTERS[change.field](request, change.value)
    return request


def stored_as(architecture: Architecture, method: str) -> Architecture:
    """The same model from a checkpoint stored as `method`, a word such as awq.

    Kept with the architecture, so that an engine derives what it needs of it only once.
    """
    key = ("stored as", method)
    known = architecture.memo.get(key)
    if not isinstance(known, Architecture):
        known = replace(architecture, quantization=stored(method))
        architecture.memo[key] = known
    return known


def _engine(name: str, read: Callable[[str], object]) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {name: read(text)}
        return replace(request, engine=replace(request.engine, **fields))

    return change


def _wanted(name: str, read: Callable[[str], object]) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {name: read(text)}
        return replace(request, wanted=replace(request.wanted, **fields))

    return change


def _split(field: str) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {field: int(text)}
        split = replace(request.wanted.split, **fields)
        return replace(request, wanted=replace(request.wanted, split=split))

    return change


def _tensor(request: Request, text: str) -> Request:
    """The tensor size as the user writes it."""
    split = replace(request.wanted.split, tensor=max(1, int(text) // tensor_counts(request)))
    return replace(request, wanted=replace(request.wanted, split=split))


def _slots(request: Request, text: str) -> Request:
    adapters = replace(request.engine.lora or Lora(), slots=int(text))
    return replace(request, engine=replace(request.engine, lora=adapters))


def _images(request: Request, text: str) -> Request:
    """Without images there are no videos either, unless they are asked for."""
    engine = replace(request.engine, images=int(text))
    if engine.images == 0 and engine.videos is None:
        engine = replace(engine, videos=0)
    return replace(request, engine=engine)


def _draft(request: Request, text: str) -> Request:
    if text != "null":
        raise KeyError(f"{Field.SPECULATIVE}: {text}")
    return replace(request, engine=replace(request.engine, speculative=None))


def _concurrent(request: Request, text: str) -> Request:
    return replace(request, workload=replace(request.workload, concurrent=int(text)))


def _store_as(request: Request, text: str) -> Request:
    model = request.model
    if model.architecture is None:
        return request
    return replace(
        request,
        model=replace(
            model,
            architecture=stored_as(model.architecture, text),
            digest=f"{model.digest}+{text}",
        ),
    )


def _at(request: Request, text: str) -> Request:
    """Another checkpoint of the catalogue."""
    return replace(request, model=resolve(uri=text))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.strip("[]").split(","))


_SETTERS: Final[dict[Field, Setter]] = {
    Field.MAX_MODEL_LEN: _engine("max_model_len", int),
    Field.MAX_NUM_SEQS: _engine("max_num_seqs", int),
    Field.KV_CACHE_DTYPE: _engine("kv_cache_dtype", str),
    Field.UTILIZATION: _engine("utilization", Decimal),
    Field.IMAGES: _images,
    Field.VIDEOS: _engine("videos", int),
    Field.LORA_SLOTS: _slots,
    Field.SPECULATIVE: _draft,
    Field.TENSOR: _tensor,
    Field.PIPELINE: _split("pipeline"),
    Field.GPUS: _wanted("gpus_per_replica", int),
    Field.ALLOWED: _wanted("allowed", _names),
    Field.CONCURRENT: _concurrent,
    Field.STORED: _store_as,
    Field.URI: _at,
}


# -- what advice tries -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """Changes that were tried together. trial: what they come to, whether it fits or not."""

    case: Case
    changes: tuple[Change, ...]
    trial: Trial
    notes: tuple[Note, ...] = ()

    @property
    def estimate(self) -> Estimate:
        """The estimate after the changes."""
        return self.trial.estimate

    @property
    def excess(self) -> int:
        """Bytes by which the need, error included, exceeds what is usable."""
        return self.estimate.required_high - self.estimate.usable

    def then(self, field: Field, value: object, *notes: Note) -> Option | None:
        """One change more on the same GPUs; None if the engine would not start with it."""
        change = Change(field, str(value))
        request = apply(self.case.request, (change,))
        architecture = request.model.architecture or self.case.architecture
        case = Case(request, architecture, self.case.engine)
        candidate, split = self.trial.candidate, self.estimate.parallelism
        if case.refusals(candidate, split):
            return None
        trial = case.trial(candidate, split)
        return Option(case, (*self.changes, change), trial, (*self.notes, *notes))


def _utilization(start: Option) -> Option | None:
    """A larger share of the memory, just large enough."""
    e = start.estimate
    share = (Decimal(e.required_high) / Decimal(max(1, e.physical))).quantize(
        Decimal("0.01"), rounding=ROUND_CEILING
    )
    if start.case.request.engine.kv_cache_memory is not None:
        return None
    return (
        start.then(Field.UTILIZATION, share) if e.utilization < share <= UTILIZATION_MOST else None
    )


def _fewer_seqs(start: Option) -> Option | None:
    """The most sequences at once, in powers of two, that leave room; at least those asked for."""
    e = start.estimate
    least = max(start.case.request.workload.concurrent or 1, FEWEST_SEQS)
    others = e.required_high - e.terms[TermName.WEIGHTS].high - e.terms[TermName.KV_CACHE].high
    if least >= e.max_num_seqs or start.excess > others:
        return None
    best = start.then(Field.MAX_NUM_SEQS, least)
    if best is None or not best.trial.fit.fits:
        return best
    powers = [1 << n for n in range(least.bit_length(), e.max_num_seqs.bit_length())]
    low, high = 0, len([p for p in powers if p < e.max_num_seqs])
    while low < high:
        middle = (low + high) // 2
        option = start.then(Field.MAX_NUM_SEQS, powers[middle])
        if option is not None and option.trial.fit.fits:
            best, low = option, middle + 1
        else:
            high = middle
    return best


def _fewer_adapters(start: Option) -> Option | None:
    """As many LoRA adapters at once as fit; the engine swaps the others in."""
    adapters = start.case.request.engine.lora
    slots = adapters.slots if adapters else None
    held = any(term.name is TermName.LORA for term in start.estimate.terms)
    if not slots or not held:
        return None
    return _lowered(start, Field.LORA_SLOTS, slots, 1, slots, TermName.LORA)


def _no_draft(start: Option) -> Option | None:
    """Nothing guessed ahead."""
    if start.case.request.engine.speculative is None:
        return None
    return start.then(Field.SPECULATIVE, "null", Note.NO_DRAFT)


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


def _shorter(start: Option) -> Option | None:
    """The longest context that fits, not shorter than what the workload says of one sequence."""
    workload = start.case.request.workload
    sequence = (workload.input_tokens or 0) + (workload.output_tokens or 0)
    e = start.estimate
    most = e.largest_max_model_len or e.max_model_len
    least = max(SHORTEST, sequence, e.max_model_len // SHORTENED_MOST)
    return _lowered(start, Field.MAX_MODEL_LEN, e.max_model_len, least, most)


def _fewer_at_once(start: Option) -> Option | None:
    """As many concurrent sequences as fit."""
    asked = start.case.request.workload.concurrent
    return _lowered(start, Field.CONCURRENT, asked, 1, asked) if asked and asked > 1 else None


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


def _lowered(
    start: Option,
    field: Field,
    value: int,
    least: int,
    most: int,
    name: TermName = TermName.KV_CACHE,
) -> Option | None:
    """The largest value of a field, from `least` to `most`, that fits, by false position.

    name: the term that is close to linear in it.
    """
    e = start.estimate
    share = e.terms[name].high
    room = e.usable - (e.required_high - share)
    if room <= 0 or share <= 0 or value <= least:
        return None
    unit = SHORTEST if field is Field.MAX_MODEL_LEN else 1
    next_value = min(most, value * room // share)
    for _ in range(4):
        next_value = min(next_value // unit * unit, value - 1)
        if next_value < least:
            return None
        option = start.then(field, next_value)
        if option is None or option.trial.fit.fits:
            return option
        gained = e.required_high - option.estimate.required_high
        if gained <= 0:
            return None
        rest = ceil_div(max(1, option.excess) * (value - next_value), gained)
        next_value = next_value - max(unit, rest)
    return None


def _stored(method: str, bits: int, note: Note) -> Kind:
    """A checkpoint of the same model with fewer bits, if it has more now."""

    def kind(start: Option) -> Option | None:
        own = start.case.architecture.quantization
        now = 16 if own is None else own.default.bits if own.default else 0
        compute = start.trial.candidate.accelerator.compute
        runs = compute >= STORED_FROM or start.trial.candidate.accelerator.family in FP8_FAMILIES
        offered = (method, bits) in start.case.engine.checkpoints
        if not runs or not offered or bits >= now or start.case.request.engine.quantization:
            return None
        model = start.case.request.model
        at_uri = model.source is ModelSource.CATALOGUE
        if at_uri and (other := checkpoint_like(model.name, method)) is not None:
            return start.then(Field.URI, f"hf://{other.id}", note)
        return start.then(Field.STORED, method, note)

    return kind


Kind = Callable[[Option], Option | None]
KINDS: Final[tuple[Kind, ...]] = (
    _utilization,
    _fewer_seqs,
    _no_draft,
    _fewer_adapters,
    _narrow_cache,
    _shorter,
    _fewer_at_once,
    _no_videos,
    _text_alone,
    _stored("fp8", 8, Note.FP8_CHECKPOINT),
    _stored("awq", 4, Note.FOUR_BIT_CHECKPOINT),
)
ON_TOP: Final = frozenset({_narrow_cache, _shorter})
"""Kinds that are tried on top of a later one too: the cache of a model whose weights shrank."""
