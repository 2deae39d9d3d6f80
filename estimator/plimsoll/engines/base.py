"""What every engine's memory model takes and gives: settings in, terms per rank out.

It must not compute anything: an engine's own package does, from its own constants.

    required  = sum of the terms (KV cache: for what the workload asks)
    usable    = floor(physical memory x utilization)
    spare     = usable - required
    band      = [required - sum(term - low), required + sum(high - term)], see `Estimate`
    limits    what a start has to hold beside that: need <= has, each with a band, see `Limit`
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from plimsoll.findings import Finding


class State(StrEnum):
    """What can be said of a need against what there is."""

    FITS = "fits"
    WITHIN_ERROR = "within_error"
    DOES_NOT_FIT = "does_not_fit"


class Known(StrEnum):
    """How a term is known."""

    EXACT = "exact"
    """Follows from the model's structure and the engine's own arithmetic."""
    MODELLED = "modelled"
    """From a formula fitted to measured start-ups; its error is known."""
    ASSUMED = "assumed"
    """From a formula or constant that was not measured for this case."""


class TermName(StrEnum):
    """The terms of a rank's memory, in the order in which they are shown."""

    WEIGHTS = "weights"
    KV_CACHE = "kvCache"
    ACTIVATION = "activation"
    NON_TORCH = "nonTorch"
    CUDA_GRAPHS = "cudaGraphs"
    RUNNER = "runner"
    """What a model runner keeps beside the weights; only where the engine charges it."""
    STATES = "states"
    """Recurrent states of all sequences, where they lie beside the pool of the cache."""
    LORA = "lora"
    """Slots for LoRA adapters; only where there are some."""
    DRAFT = "draft"
    """A draft model's weights and buffers; only where there is one. Its cache is in KV_CACHE."""


NO_CACHE: Final = "nothing is cached"
"""What the term of the cache comes from where a model keeps none (encoders)."""


@dataclass(frozen=True, slots=True)
class Term:
    """One share of a GPU's memory.

    bytes: the estimate; low, high: the band in which the truth lies, low <= bytes <= high.
    known: how it is known. basis: what it was computed from, in one short phrase for people
    (``1 request x 32768 tokens, bfloat16``).
    """

    name: TermName
    bytes: int
    low: int
    high: int
    known: Known
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one rank, in the order of `TermName`; each is had by its name."""

    each: tuple[Term, ...]

    def __iter__(self) -> Iterator[Term]:
        return iter(self.each)

    def __contains__(self, name: TermName) -> bool:
        return any(term.name is name for term in self.each)

    def __getitem__(self, name: TermName) -> Term:
        for term in self.each:
            if term.name is name:
                return term
        raise KeyError(name)

    @property
    def bytes(self) -> int:
        """Their sum."""
        return sum(term.bytes for term in self.each)

    @property
    def low(self) -> int:
        """The least that they may turn out to be together."""
        return sum(term.low for term in self.each)

    @property
    def high(self) -> int:
        """The most that they may turn out to be together."""
        return sum(term.high for term in self.each)

    @property
    def beside_cache(self) -> int:
        """Bytes of everything but the KV cache."""
        return self.bytes - self[TermName.KV_CACHE].bytes

    @property
    def low_beside_cache(self) -> int:
        """The least of everything but the KV cache."""
        return self.low - self[TermName.KV_CACHE].low

    def replaced(self, term: Term) -> Terms:
        """The same with another term of a name that is there."""
        return Terms(tuple(term if one.name is term.name else one for one in self.each))


@dataclass(frozen=True, slots=True)
class Span:
    """A figure with the band in which the truth lies: low <= middle <= high."""

    middle: int
    low: int
    high: int


class LimitName(StrEnum):
    """What a start has to hold beside the budget, in the order of a start."""

    LOADING = "loading"
    """The peak of memory while weights are loaded, against the whole GPU."""
    STATES = "states"
    """Sequences against the blocks of the cache, each of which holds one recurrent state."""
    AFTER_CACHE = "afterCache"
    """What is taken once the cache is there, against what the budget leaves of the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One comparison beside the budget's: a start needs `need` <= `has`.

    need, has: in bytes per GPU, or in things of `each` bytes. known: how the two are known.
    basis: what the need is made of, in one short phrase for people. said: what is said of it
    where it does not hold, at the field that a user would change.
    """

    name: LimitName
    need: Span
    has: Span
    said: Finding
    known: Known
    basis: str = ""
    each: int = 1

    @property
    def state(self) -> State:
        """Whether it certainly holds, certainly does not, or neither.

        The errors of the two sides have nothing to do with each other: they add up as squares.
        """
        spare = self.has.middle - self.need.middle
        up, down = self.need.high - self.need.middle, self.has.middle - self.has.low
        if spare >= 0 and spare * spare >= up * up + down * down:
            return State.FITS
        up, down = self.has.high - self.has.middle, self.need.middle - self.need.low
        certain = spare < 0 and spare * spare > up * up + down * down
        return State.DOES_NOT_FIT if certain else State.WITHIN_ERROR

    @property
    def short_by(self) -> int:
        """Bytes per GPU that are missing by the middle figures."""
        return max(0, self.need.middle - self.has.middle) * self.each


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How one replica is spread: tensor x pipeline x data GPUs, experts whole or cut."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True, slots=True)
class AskedSplit:
    """The split of a replica as far as somebody asks for one; None means unsaid."""

    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: bool | None = None


NOTHING_ASKED: Final = AskedSplit()


@dataclass(frozen=True, slots=True)
class Lora:
    """Adapters that are held at once. slots: in GPU memory; rank: the largest; None: unsaid."""

    slots: int | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Speculative:
    """Tokens that are guessed ahead of the model, and who guesses them.

    method: as the engine calls it (``ngram``, ``draft_model``, ``eagle3``, ``mtp``); "" where it
    follows from the model. model: Hugging Face id of the draft; tokens: guessed in one step.
    """

    method: str = ""
    model: str = ""
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What only one engine can be told; each has its own, named as its flags. None: unsaid."""

    @classmethod
    def of(cls, settings: EngineSettings) -> Self:
        """An engine's options in settings; all unsaid if there are none."""
        return settings.options if isinstance(settings.options, cls) else cls._unsaid()

    @classmethod
    @cache
    def _unsaid(cls) -> Self:
        return cls()

    def said(self) -> tuple[tuple[str, object], ...]:
        """Names and values of those that are said."""
        pairs = ((option.name, getattr(self, option.name)) for option in fields(self))
        return tuple(pair for pair in pairs if pair[1] is not None)

    def as_mapping(self) -> dict[str, object]:
        """All of them by name; None: unsaid."""
        return {option.name: getattr(self, option.name) for option in fields(self)}

    def or_none(self) -> Options:
        """These options, or `NO_OPTIONS` if nothing is said."""
        return self if self.said() else NO_OPTIONS


NO_OPTIONS: Final = Options()


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a user says to the engine; None and "" mean unsaid, so the engine's default holds.

    Lengths are tokens, memory is bytes. `quantization` is applied at load time.
    utilization: the share of physical memory that the engine may take.
    unread: flags in extraArgs that touch memory and that the model does not read: a denial
        becomes a warning that names them, unless the weights alone exceed the GPU.
    shrinking: those of them with which weights may be smaller, so that it becomes one all the same.
    flags: flags in extraArgs that change nothing about memory, passed on as they are.
    lora, speculative: adapters and a draft model; None where there are none.
    cpu_offload: bytes of weights per GPU that are held in host memory instead.
    images, videos: most of each in one prompt; both 0 for a model served with text alone.
    fitted_length: the engine takes the longest context that fits, whatever max_model_len is.
    options: what only this engine can be told.
    """

    name: str = "vllm"
    version: str = ""
    dtype: str = ""
    quantization: str = ""
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: str = ""
    kv_cache_memory: int | None = None
    utilization: Decimal | None = None
    enforce_eager: bool | None = None
    block_size: int | None = None
    unread: tuple[str, ...] = ()
    shrinking: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    options: Options = NO_OPTIONS
    lora: Lora | None = None
    speculative: Speculative | None = None
    cpu_offload: int | None = None
    images: int | None = None
    videos: int | None = None
    fitted_length: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a command line says together with the typed fields.

    settings: with the flags filled in. split: as far as either says it.
    problems: contradictions and unreadable values. warnings: what is said without effect.
    """

    settings: EngineSettings
    split: AskedSplit = NOTHING_ASKED
    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """What must be held at once; unsaid means one request of max_model_len.

    concurrent: sequences held at once. input_tokens, output_tokens: of one of them; where
    either is unsaid a sequence is max_model_len long.
    """

    concurrent: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the worst rank of one replica needs on one kind of GPU.

    terms: the first five of `TermName` always. stage: the pipeline stage that needs most (from 0).
    stage_needs: bytes that a rank of each stage needs, in their order.
    physical, usable: bytes of one GPU, and what the engine may take of it, less the headroom.
    headroom: bytes of it that a policy keeps free.
    utilization, max_model_len, max_num_seqs, max_num_batched_tokens, kv_cache_dtype, version:
        as resolved from the settings and the engine's defaults.
    kv_capacity: bytes left for KV cache (usable less the other terms; may be negative).
    kv_tokens: tokens of cache that those bytes hold over the whole replica, as the engine
        reports it. max_concurrency: requests of max_model_len that they hold.
    largest_max_model_len: the longest max_model_len of which one request fits; 0 for none.
    notes: what was assumed. limits: what a start must hold beside the budget, in its order.
    """

    parallelism: Parallelism
    terms: Terms
    stage: int
    physical: int
    usable: int
    utilization: Decimal
    version: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_dtype: str
    kv_capacity: int
    kv_tokens: int
    max_concurrency: float
    largest_max_model_len: int
    notes: tuple[Finding, ...] = ()
    stage_needs: tuple[int, ...] = ()
    limits: tuple[Limit, ...] = ()
    headroom: int = 0

    @property
    def required(self) -> int:
        """Bytes that the rank needs: the sum of its terms."""
        return self.terms.bytes

    @property
    def required_low(self) -> int:
        """The least that it may turn out to need."""
        return self.terms.low

    @property
    def required_high(self) -> int:
        """The most that it may turn out to need."""
        return self.terms.high

    @property
    def spare(self) -> int:
        """Usable less required; negative where it does not fit."""
        return self.usable - self.required

    @property
    def kv_capacity_low(self) -> int:
        """The least that may be left for KV cache: where all else needs most."""
        return self.usable - (self.terms.high - self.terms[TermName.KV_CACHE].high)

    @property
    def kv_capacity_high(self) -> int:
        """The most that may be left for KV cache: where all else needs least."""
        return self.usable - self.terms.low_beside_cache
