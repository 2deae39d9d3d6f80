"""Single changes to a request on the same GPUs, each tried: what advice is made of.

It must not choose among them, and none of them may ask for more GPUs.

Every kind takes an option to start from and gives that with one change more, whether it fits then
or not, or None where the change means nothing there. What is lowered is lowered to the largest
value that fits, found by false position: the need is close to linear in the value, so two or
three estimates do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Final

from plimsoll.decision import changes as paths
from plimsoll.decision.changes import apply
from plimsoll.decision.trial import Case, Trial
from plimsoll.decision.verdict import Change
from plimsoll.engines.base import TermName
from plimsoll.units import ceil_div

if TYPE_CHECKING:
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
"""Nor one of less than the so-manieth part of what was asked: that is another deployment."""


@dataclass(frozen=True)
class Option:
    """Changes that were tried together. trial: what they come to, whether it fits or not."""

    case: Case
    changes: tuple[Change, ...]
    trial: Trial
    note: str = ""

    @property
    def estimate(self) -> Estimate:
        """The estimate after the changes."""
        return self.trial.estimate

    @property
    def excess(self) -> int:
        """Bytes by which the need, error included, exceeds what is usable."""
        return self.estimate.required_high - self.estimate.usable

    def then(self, path: str, value: object, note: str = "") -> Option | None:
        """One change more on the same GPUs; None where the engine would not start with it."""
        change = Change(path, str(value))
        request = apply(self.case.request, (change,))
        architecture = request.model.architecture or self.case.architecture
        case = Case(request, architecture, self.case.engine)
        candidate, split = self.trial.candidate, self.estimate.parallelism
        if case.refusals(candidate, split):
            return None
        notes = " and ".join(n for n in (self.note, note) if n)
        return Option(case, (*self.changes, change), case.trial(candidate, split), notes)


def _utilization(start: Option) -> Option | None:
    """A larger share of the memory, just large enough."""
    e = start.estimate
    share = (Decimal(e.required_high) / Decimal(max(1, e.physical))).quantize(
        Decimal("0.01"), rounding=ROUND_CEILING
    )
    if start.case.request.engine.kv_cache_memory is not None:
        return None
    return (
        start.then(paths.UTILIZATION, share) if e.utilization < share <= UTILIZATION_MOST else None
    )


def _fewer_seqs(start: Option) -> Option | None:
    """The most sequences at once, in powers of two, that leave room; at least those asked for."""
    e = start.estimate
    least = max(start.case.request.workload.concurrent or 1, FEWEST_SEQS)
    others = e.required_high - e.terms[TermName.WEIGHTS].high - e.terms[TermName.KV_CACHE].high
    if least >= e.max_num_seqs or start.excess > others:
        return None
    best = start.then(paths.MAX_NUM_SEQS, least)
    if best is None or not best.trial.fit.fits:
        return best
    powers = [1 << n for n in range(least.bit_length(), e.max_num_seqs.bit_length())]
    low, high = 0, len([p for p in powers if p < e.max_num_seqs])
    while low < high:
        middle = (low + high) // 2
        option = start.then(paths.MAX_NUM_SEQS, powers[middle])
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
    return _lowered(start, paths.LORA_SLOTS, slots, 1, slots, TermName.LORA)


def _no_draft(start: Option) -> Option | None:
    """Nothing guessed ahead."""
    if start.case.request.engine.speculative is None:
        return None
    return start.then(paths.DRAFT, "null", "one token at a time")


def _narrow_cache(start: Option) -> Option | None:
    """Half the KV cache, where it is 16 bits wide now; an fp8 one where the GPU computes in it."""
    e, accelerator = start.estimate, start.trial.candidate.accelerator
    dtype = start.case.engine.narrow_cache
    able = accelerator.compute >= FP8_FROM or accelerator.family in FP8_FAMILIES
    if not dtype or (dtype.startswith("fp8") and not able):
        return None
    if e.kv_cache_dtype not in SIXTEEN_BITS or not e.terms[TermName.KV_CACHE].high:
        return None
    return start.then(paths.KV_CACHE_DTYPE, dtype)


def _shorter(start: Option) -> Option | None:
    """The longest context that fits, not shorter than what the workload says of one sequence."""
    workload = start.case.request.workload
    sequence = (workload.input_tokens or 0) + (workload.output_tokens or 0)
    e = start.estimate
    most = e.largest_max_model_len or e.max_model_len
    least = max(SHORTEST, sequence, e.max_model_len // SHORTENED_MOST)
    return _lowered(start, paths.MAX_MODEL_LEN, e.max_model_len, least, most)


def _fewer_at_once(start: Option) -> Option | None:
    """As many concurrent sequences as fit."""
    asked = start.case.request.workload.concurrent
    return _lowered(start, paths.CONCURRENT, asked, 1, asked) if asked and asked > 1 else None


def _no_videos(start: Option) -> Option | None:
    """No video in any prompt, where the request says nothing of videos and the model takes some."""
    tower, engine = start.case.architecture.tower, start.case.request.engine
    if tower is None or not tower.videos or engine.videos is not None or engine.images == 0:
        return None
    return start.then(paths.VIDEOS, 0, "for images and text")


def _text_alone(start: Option) -> Option | None:
    """No image in any prompt, where the request says nothing of images."""
    if not start.case.architecture.multimodal or start.case.request.engine.images is not None:
        return None
    return start.then(paths.IMAGES, 0, "for text alone")


def _lowered(
    start: Option, path: str, value: int, least: int, most: int, name: TermName = TermName.KV_CACHE
) -> Option | None:
    """The largest value of a field, from `least` to `most`, that fits, by false position.

    name: the term that is close to linear in it.
    """
    e = start.estimate
    share = e.terms[name].high
    room = e.usable - (e.required_high - share)
    if room <= 0 or share <= 0 or value <= least:
        return None
    unit = SHORTEST if path == paths.MAX_MODEL_LEN else 1
    next_value = min(most, value * room // share)
    for _ in range(4):
        next_value = min(next_value // unit * unit, value - 1)
        if next_value < least:
            return None
        option = start.then(path, next_value)
        if option is None or option.trial.fit.fits:
            return option
        gained = e.required_high - option.estimate.required_high
        if gained <= 0:
            return None
        rest = ceil_div(max(1, option.excess) * (value - next_value), gained)
        next_value = next_value - max(unit, rest)
    return None


def _stored(method: str, bits: int, note: str) -> Kind:
    """A checkpoint of the same model with fewer bits, where it has more now."""

    def kind(start: Option) -> Option | None:
        own = start.case.architecture.quantization
        now = 16 if own is None else own.default.bits if own.default else 0
        compute = start.trial.candidate.accelerator.compute
        runs = compute >= STORED_FROM or start.trial.candidate.accelerator.family in FP8_FAMILIES
        offered = (method, bits) in start.case.engine.checkpoints
        if not runs or not offered or bits >= now or start.case.request.engine.quantization:
            return None
        return start.then(paths.STORED, method, note)

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
    _stored("fp8", 8, "an fp8 checkpoint of the model"),
    _stored("awq", 4, "a 4-bit checkpoint of the model"),
)
ON_TOP: Final = frozenset({_narrow_cache, _shorter})
"""Kinds that are tried on top of a later one too: the cache of a model whose weights shrank."""
