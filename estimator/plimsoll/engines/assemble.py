"""What all engines do alike: refuse a feature they lack, add terms up, say what they assumed.

held       the larger of one request of max_model_len and the workload, on the busiest rank
worst      the pipeline stage whose terms sum up to most
room       usable - everything but the cache, on each stage
weights    the size, and a band around it of the figure's error
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from plimsoll.engines import gates
from plimsoll.engines.base import Known, Reading, Term, TermName
from plimsoll.engines.layers import faults
from plimsoll.findings import Finding, Rule, finding
from plimsoll.models.storage import spread_by_name
from plimsoll.paths import Field
from plimsoll.units import ceil_div, grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import (
        AskedSplit,
        EngineSettings,
        Estimate,
        Parallelism,
        Terms,
        Workload,
    )
    from plimsoll.engines.gates import Gate
    from plimsoll.engines.ranges import RangeTable
    from plimsoll.engines.tables import Constants, VersionTable
    from plimsoll.models.architecture import Architecture
    from plimsoll.models.quantization import Quantization

FEATURES: Final = (
    Field.LORA,
    Field.SPECULATIVE,
    Field.CPU_OFFLOAD,
    Field.IMAGES,
    Field.VIDEOS,
)
"""Settings that not every engine has."""


class Engine(ABC):
    """One engine's memory model and command line.

    name, title: as a request names it and as people write it. narrow_cache: the KV cache dtype
    of 8 bits that advice may offer, and checkpoints: the stored quantizations, with their bits;
    empty if there is none to offer. features: those of `FEATURES` that this one has.
    table: its figures by version; None for an engine whose versions are not known. stages: whether
    it has pipeline stages. share_flag: a flag says which share of a GPU's memory it takes.
    share_said: what that flag says by default, where the engine takes something off it; None: the
    share itself, whose default differs from release to release. halves_groups: 4-bit experts that
    Marlin cannot cut go to a kernel that cuts their groups in two. ranges: of its terms, from
    measured start-ups; None: it has none.
    """

    name: str
    title: str
    narrow_cache: str = ""
    checkpoints: tuple[tuple[str, int], ...] = (("fp8", 8), ("awq", 4))
    features: tuple[Field, ...] = ()
    stages: bool = True
    share_flag: bool = False
    share_said: Decimal | None = None
    halves_groups: bool = True
    table: VersionTable | None = None
    ranges: RangeTable | None = None

    @abstractmethod
    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """What the worst rank of one replica needs; total for what `problems` lets through."""

    @abstractmethod
    def check(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding, ...]:
        """Everything that any release of the engine would refuse, memory aside."""

    @final
    def problems(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding, ...]:
        """Why the engine's version would refuse to start, memory aside (heads not divisible ...).

        Of what `check` finds that whose gate is in force in that version.
        """
        found = self.check(architecture, settings, parallelism, accelerator)
        return gates.held(found, self.name, self.table, settings.version)

    def has_stages(self, architecture: Architecture, settings: EngineSettings) -> bool:
        """Whether the engine's version can cut this model into pipeline stages."""
        return self.stages

    def gates(self, version: str) -> tuple[Gate, ...]:
        """All reasons for which a version refuses to start, in the order of a start."""
        return gates.in_force(self.name, self.table, version)

    @abstractmethod
    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The flags that make the engine run as estimated."""

    @final
    def pinned_arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """The same, with the share of a GPU's memory said outright where there is a flag for it."""
        if self.share_flag and settings.utilization is None and settings.kv_cache_memory is None:
            settings = replace(settings, utilization=self.share_said or estimate.utilization)
        return self.arguments(estimate, settings)

    def constants_digest(self, version: str) -> str:
        """Short hash of the figures in force for a version; of the newest for an unreadable one."""
        if self.table is None:
            return ""
        figures = self.table.or_newest(version).digest
        if self.ranges is None:
            return figures
        return hashlib.sha256(f"{figures} {self.ranges.digest}".encode()).hexdigest()[:12]

    @abstractmethod
    def read(self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
        """The engine's own flags beside the typed settings; never raises."""

    @final
    def read_arguments(
        self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit
    ) -> Reading:
        """The flags beside the typed settings and split, without features the engine lacks.

        Never raises: what is wrong is in `Reading.problems`.
        """
        strange = [
            field
            for field in FEATURES
            if field not in self.features and getattr(settings, field.value) is not None
        ]
        unsaid: dict[str, Any] = dict.fromkeys(field.value for field in strange)
        settings = replace(settings, **unsaid)
        reading = self.read(args, settings, asked)
        refused = (finding(Rule.NO_SUCH_FIELD, field, engine=self.name) for field in strange)
        return replace(reading, problems=(*refused, *reading.problems))

    def shortened(self, estimate: Estimate, settings: EngineSettings) -> int:
        """Tokens of the longest request that it serves where it does not fit as asked: the engine
        shortens by itself a context that nobody said. 0: it would not start so.
        """
        return 0

    def named_models(self, settings: EngineSettings) -> tuple[tuple[str, str], ...]:
        """Flags that name the file of a model beside the request's own, each with that name."""
        return ()

    def tensor_counts(self, settings: EngineSettings, data: int) -> int:
        """By how much the tensor size that a user writes is more than `Parallelism.tensor`.

        data: data ranks of the replica, which lie inside that size in some engines.
        """
        return 1

    def tensor_parallel_sizes(self, architecture: Architecture, most: int) -> tuple[int, ...]:
        """Tensor-parallel sizes up to `most` that divide the heads and the padded vocabulary."""
        return faults.tensor_parallel_sizes(architecture, most, halved=self.halves_groups)


@dataclass(frozen=True, slots=True)
class Held:
    """What a rank must hold at once: so many requests of so many tokens each."""

    requests: int
    tokens: int

    def __str__(self) -> str:
        requests = f"{grouped(self.requests)} request{'s' * (self.requests != 1)}"
        return f"{requests} x {grouped(self.tokens)} tokens"


def sequence_tokens(workload: Workload, length: int) -> int:
    """Tokens of one sequence: what the workload says, at most the context."""
    if workload.input_tokens is None or workload.output_tokens is None:
        return length
    return max(1, min(length, workload.input_tokens + workload.output_tokens))


def held_at_once(
    workload: Workload,
    length: int,
    ranks: int = 1,
    size: Callable[[int, int], int] = lambda requests, tokens: requests * tokens,
) -> Held:
    """What the busiest of so many data ranks holds.

    size: how much of the cache so many requests of so many tokens take.
    """
    tokens = sequence_tokens(workload, length)
    requests = ceil_div(max(1, workload.concurrent or 1), ranks)
    whole = workload.concurrent is None or size(requests, tokens) <= size(1, length)
    return Held(1, length) if whole else Held(requests, tokens)


def worst_stage(stages: Sequence[Terms]) -> int:
    """The first of the stages that need most."""
    needs = [terms.bytes for terms in stages]
    return needs.index(max(needs))


def reaching(stages: Sequence[Terms], worst: int) -> Terms:
    """The terms of the stage that needs most, as high as any other stage may come out.

    What another may need beyond it is a pass's: its activation's range takes it.
    """
    terms = stages[worst]
    beyond = max(other.high for other in stages) - terms.high
    if not beyond:
        return terms
    term = terms[TermName.ACTIVATION]
    return terms.replaced(replace(term, high=term.high + beyond))


def room_for_cache(usable: int, stages: Sequence[Terms]) -> list[int]:
    """Bytes that each stage has left for its cache; may be negative."""
    return [usable - terms.beside_cache for terms in stages]


def around(size: int, error: float) -> tuple[int, int]:
    """The band of a size, its error as a share."""
    return int(size * (1 - error)), round(size * (1 + error))


def as_asked(
    architecture: Architecture, in_force: Quantization | None, word: str
) -> Quantization | None:
    """A quantization while loading under the engine's own word for it."""
    at_load = in_force is not None and architecture.quantization is None
    return replace(in_force, method=word.lower()) if in_force is not None and at_load else in_force


def weights_term(
    architecture: Architecture,
    size: int,
    band: tuple[int, int],
    known: Known,
    dtype: str,
    in_force: Quantization | None,
    asked: str = "",
) -> Term:
    """The weights and how they are stored. asked: the word for a quantization while loading.

    Where only the checkpoint's name says how it is stored, the band is as wide as that leaves it.
    """
    basis = f"{dtype}, {asked} not counted" if asked else dtype
    if in_force is not None:
        basis = f"{in_force.method}, rest {dtype}"
    least, most = spread_by_name(architecture)
    if least != most:
        band = (int(band[0] * least), math.ceil(band[1] * most))
        known = Known.ASSUMED
    return Term(TermName.WEIGHTS, size, *band, known, basis)


def stored_by_name(architecture: Architecture) -> Iterator[Finding]:
    """That only a checkpoint's name says how it is stored."""
    held = architecture.quantization
    if held is not None and held.by_name:
        rule = Rule.STORED_BY_NAME if held.default is not None else Rule.FILE_BY_NAME
        yield finding(rule, Field.MODEL, method=held.method)


def newer_version(title: str, figures: Constants) -> Iterator[Finding]:
    """That an engine is newer than its figures."""
    if figures.newer:
        version = figures.version
        yield finding(Rule.NEWER_VERSION_ASSUMED, Field.VERSION, engine=title, version=version)


def uncounted(settings: EngineSettings, accelerator: Accelerator) -> Iterator[Finding]:
    """That a GPU's memory is nominal, and which flags are not counted."""
    if not accelerator.certain:
        yield finding(Rule.NOMINAL_MEMORY_ASSUMED, Field.ALLOWED, gpu=accelerator.title)
    if settings.unread:
        yield finding(Rule.FLAGS_NOT_COUNTED, Field.EXTRA_ARGS, flags=settings.unread)
