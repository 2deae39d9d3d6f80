"""A request: what one manifest or command line asks to have decided, resolved and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from plimsoll.engines.base import NOTHING_ASKED, AskedSplit, EngineSettings, Workload
from plimsoll.paths import NO_PLACES, Places
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Model


class Prefer(StrEnum):
    """Which of several placements that fit is taken, of those that have nodes alike."""

    FEWEST_GPUS = "FewestGPUs"
    """Fewest GPUs, then least memory."""
    SMALLEST = "Smallest"
    """Least memory of all GPUs of a replica, then fewest GPUs."""
    CHEAPEST = "Cheapest"
    """Least price an hour, then fewest GPUs; what has no price comes last."""
    FIRST_AVAILABLE = "FirstAvailable"
    """The first of the accelerators that are allowed, in the order in which they are named."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request says about GPUs; None and () mean unsaid: to be planned.

    allowed: accelerator names, as written. gpus_per_replica: unset: computed; set: checked.
    split: the same, for how the replica is spread.
    min_memory: bytes of physical memory that a GPU must have at least.
    reserved: bytes of each GPU that other processes hold, such as a second engine.
    node_selector: labels that the nodes must carry, too.
    memory: bytes of one GPU as its driver reports them, for a card that is stated by hand;
    compute, family: its compute capability and its family, as far as they are said.
    tolerations: taints that may be on the nodes, as (key, operator, value, effect).
    prefer: which of several placements that fit is taken.

    What policies add, never the request itself: among: accelerators that they leave, None for any.
    most_gpus: of a replica that is planned. headroom, headroom_percent: what stays free of each
    GPU, in bytes and in hundredths of its memory, the larger of the two.
    """

    allowed: tuple[str, ...] = ()
    gpus_per_replica: int | None = None
    split: AskedSplit = NOTHING_ASKED
    min_memory: int | None = None
    reserved: int | None = None
    node_selector: tuple[tuple[str, str], ...] = ()
    memory: int | None = None
    compute: tuple[int, int] | None = None
    family: str = ""
    tolerations: tuple[tuple[str, str, str, str], ...] = ()
    prefer: Prefer = Prefer.FEWEST_GPUS
    among: tuple[str, ...] | None = None
    most_gpus: int | None = None
    headroom: int = 0
    headroom_percent: int = 0

    def kept_free(self, physical: int) -> int:
        """Bytes of a GPU of so many bytes that stay free."""
        return max(self.headroom, ceil_div(physical * self.headroom_percent, 100))


@dataclass(frozen=True, slots=True)
class Request:
    """One model to be served by one engine for one workload.

    name: how the object is called in messages (``chat/llama-70b``); not part of the hash.
    replicas: how many such replicas; placement is per replica.
    problems: what was already found wrong while reading it; any of them means deny.
    places: where the object that states the request keeps its fields.
    warnings: what the user should read though nothing is wrong; a text is a sentence already.
    unread: what the object says and nobody could read, or what was assumed of it, as sentences:
        the verdict is a warning then, whether it fits or not.
    follow: whether its placement follows what is best today, rather than stay where it is.
    open: what the object leaves to chance, as sentences: that it fits is a warning then.
    any_release: a sentence where nothing says which release of the engine runs: a refusal that
        hangs on what only the release decides is a warning then, and so is one by a gate of some
        releases only, if an earlier one would start.

    What policies ask for beside that: annotations: the keys that the object carries; None for
    what is no object and has none. engine_said: its engine and the version of it as they are
    written, modelled here or not. other_gpus: GPUs that its other engines ask for, of all their
    replicas.
    """

    model: Model
    engine: EngineSettings = field(default_factory=EngineSettings)
    workload: Workload = field(default_factory=Workload)
    wanted: Wanted = field(default_factory=Wanted)
    replicas: int = 1
    name: str = ""
    problems: tuple[Finding | Problem, ...] = ()
    warnings: tuple[Finding | str, ...] = ()
    places: Places = NO_PLACES
    unread: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    any_release: str = ""
    follow: bool = False
    annotations: frozenset[str] | None = None
    engine_said: tuple[str, str] = ("", "")
    other_gpus: int = 0
