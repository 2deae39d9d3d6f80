"""What a decision says: the types that the command line, admission and the status all read.

`plimsoll.decision.decide` fills these, `plimsoll.report` words them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from plimsoll.decision.policy import DEFAULT_POLICY, Policy
from plimsoll.paths import NO_PLACES, Field, Places

if TYPE_CHECKING:
    from plimsoll.decision.walk import Walk
    from plimsoll.engines.base import Estimate, Limit, Parallelism
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.inventory.held import Quota
    from plimsoll.inventory.pools import SetAside
    from plimsoll.models.architecture import Model


class Decision(StrEnum):
    """allow: it fits. warn: nobody can be sure. deny: it certainly does not fit, or is wrong."""

    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"


class Reason(StrEnum):
    """Why, in one word: the reason of condition Fits (and of metrics)."""

    ENOUGH_MEMORY = "EnoughMemory"
    WITHIN_ERROR = "WithinError"
    NOT_ENOUGH_MEMORY = "NotEnoughMemory"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_MODEL = "UnknownModel"
    UNKNOWN_ACCELERATOR = "UnknownAccelerator"
    RULE_OF_THUMB = "RuleOfThumb"
    UNREAD_FLAGS = "UnreadFlags"
    NOT_ALL_READ = "NotAllRead"
    SHORTER_CONTEXT = "ShorterContext"
    ENGINE_REFUSED = "EngineRefused"


class Capacity(StrEnum):
    """Whether the cluster has nodes for the placement today (condition CapacityAvailable)."""

    AVAILABLE = "NodesMatch"
    TOO_FEW = "TooFewNodes"
    TOO_SMALL = "NodesTooSmall"
    TAKEN = "GPUsTaken"
    OVER_QUOTA = "OverQuota"
    NO_NODES = "NoNodesMatch"
    UNKNOWN = "InventoryUnknown"


@dataclass(frozen=True, slots=True)
class Free:
    """What pods leave of the nodes that match and are ready.

    replicas: how many could start now, of so many wanted. gpus: that are free, of how many.
    holders: nodes with taken GPUs, the fullest first, as (node, taken, of, the pod that holds most
    of them, how many other pods hold some); more: how many nodes beyond those.
    own: GPUs among the free ones that its own pods hold already. promised: GPUs of placements that
    were there before it, by name, and others: how many of them beyond those.
    quota: the ResourceQuota that leaves room for no more replicas, if that is what lacks.
    near: how close the nodes of a replica may be; None for one node, or where nobody says.
    """

    replicas: int
    wanted: int
    gpus: int
    of: int
    holders: tuple[tuple[str, int, int, str, int], ...]
    more: int
    own: int = 0
    promised: tuple[tuple[str, int], ...] = ()
    others: int = 0
    quota: Quota | None = None
    near: Near | None = None


@dataclass(frozen=True, slots=True)
class Near:
    """How close the nodes of a replica may be. level: the label of which they should share a value.

    domain: that value, of nodes that have room for a replica now; empty if no such nodes are near
    enough to one another.
    """

    level: str
    domain: str


class Beside(StrEnum):
    """What a pod asks of a node beside accelerators, by the resource's name. PODS: room for one."""

    DISK = "ephemeral-storage"
    MEMORY = "memory"
    CPU = "cpu"
    PODS = "pods"


@dataclass(frozen=True, slots=True)
class TooSmall:
    """Nodes that have less of something than one pod asks for, so that none can be bound there; or,
    if `left`, than the pods ask for that their free GPUs are enough for.

    asked: of one pod, has: the most that one of the nodes has, or has left; bytes, thousandths of a
    CPU, or pods. nodes: how many have too little.
    """

    what: Beside
    asked: int
    has: int
    nodes: int
    left: bool = False


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that carry a placement's labels today. needed, there, ready: how many.

    gpus: of each. labels: by which a pod finds them. away: the first few that are not ready.
    pool: the AcceleratorPool that they are of, or empty; most: nodes that it may have, if said.
    free: None if no pods were read.
    small: what some of them have too little of for one of its pods; large: how many of the ready
    ones have enough of everything. None: nobody said what a pod asks for, or all are large enough.
    room: replicas for which the ready ones have room, where that is fewer than their GPUs are good
    for and than are wanted; else None.
    """

    needed: int
    there: int
    ready: int
    gpus: int
    labels: tuple[tuple[str, str], ...]
    free: Free | None = None
    away: tuple[str, ...] = ()
    pool: str = ""
    most: int | None = None
    small: tuple[TooSmall, ...] = ()
    large: int | None = None
    room: int | None = None

    @property
    def near(self) -> Near | None:
        """How close the nodes of a replica may be; None where nobody says, or it is one node."""
        return self.free.near if self.free is not None else None


class Unfit(StrEnum):
    """Why a pool of nodes is not for a request."""

    NOT_ALLOWED = "not-allowed"
    TOO_LITTLE_MEMORY = "too-little-memory"
    LACKS_LABELS = "lacks-labels"
    TAINTED = "tainted"
    SHORT = "short"
    REFUSED = "refused"
    WITHIN_ERROR = "within-error"


@dataclass(frozen=True, slots=True)
class NearPool:
    """A pool that comes near to what was looked for. node: its first; nodes: how many there are.

    why: what is against it. memory: bytes that its GPUs have, wanted: that were asked for.
    missing: labels that it does not carry, or taints (with their effect) that are not tolerated.
    gpus, estimate: what did not fit on it.
    problem: what the engine said of it.
    """

    accelerator: str
    node: str
    nodes: int
    why: Unfit
    memory: int = 0
    wanted: int = 0
    missing: tuple[tuple[str, str], ...] = ()
    gpus: int = 0
    estimate: Estimate | None = None
    problem: Finding | Problem | None = None


@dataclass(frozen=True, slots=True)
class Lacking:
    """No node carries what was looked for. accelerator: its name.

    either: sets of labels each of which would have made a node match. labels: the request's own.
    nearest: the pools that come nearest, and nodes that were set aside; more: how many others.
    """

    accelerator: str
    either: tuple[tuple[tuple[str, str], ...], ...]
    labels: tuple[tuple[str, str], ...]
    nearest: tuple[NearPool | SetAside, ...]
    more: int


class Unseen(StrEnum):
    """Why nothing is known of nodes for a placement."""

    NOT_DECIDED = "not-decided"
    NOT_READ = "not-read"
    NOTHING_TO_PLACE = "nothing-to-place"


class Because(StrEnum):
    """What a placement was chosen by."""

    FITS = "fits"
    WITHIN_ERROR = "within-error"
    RULE_OF_THUMB = "rule-of-thumb"
    LESS_IS_SHORT = "less-is-short"
    LESS_DOES_NOT_START = "less-does-not-start"
    LESS_IS_WITHIN_ERROR = "less-is-within-error"


@dataclass(frozen=True, slots=True)
class Why:
    """Why a placement is this one. spare: bytes per GPU that it leaves.

    less: the smaller count that was tried and is too small, estimate: what it needs; 0 and None
    if no smaller one was tried.
    """

    because: Because
    spare: int = 0
    less: int = 0
    estimate: Estimate | None = None


class Note(StrEnum):
    """What an alternative costs or takes beside its changes."""

    NO_DRAFT = "no-draft"
    NO_VIDEOS = "no-videos"
    TEXT_ALONE = "text-alone"
    FP8_CHECKPOINT = "fp8-checkpoint"
    FOUR_BIT_CHECKPOINT = "four-bit-checkpoint"
    TO_BE_MADE = "to-be-made"
    NO_GRAPHS = "no-graphs"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one replica runs, enough to run it.

    accelerator: Plimsoll's name. gpus_per_replica, gpus_per_node, nodes_per_replica: counts.
    resource: the extended resource asked for, gpus_per_node of it per pod.
    node_selector: labels, empty if no node was there to read a dialect from.
    tolerations: of the taints on those nodes, as (key, operator, value, effect).
    engine_args: the engine's flags. why: what it was chosen by.
    on_nodes: whether nodes were seen when it was chosen, or a pool of them was declared, so that
    it stays there. price: of a replica an hour, in millionths; None if nobody said it.
    topology: the label of which the nodes of a replica should share a value; empty: nobody says.
    """

    accelerator: str
    gpus_per_replica: int
    gpus_per_node: int
    nodes_per_replica: int
    total_gpus: int
    parallelism: Parallelism
    resource: str
    node_selector: tuple[tuple[str, str], ...]
    tolerations: tuple[tuple[str, str, str, str], ...]
    engine_args: tuple[str, ...]
    why: Why
    on_nodes: bool = False
    price: int | None = None
    topology: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One field to change. value: as written into YAML; empty: remove the field."""

    field: Field
    value: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """Changes that, made together, make it fit; verified by `fit` on the changed request.

    required, usable: bytes per GPU after the change. available: nodes for it are there today.
    """

    changes: tuple[Change, ...]
    accelerator: str
    gpus_per_replica: int
    required: int
    usable: int
    available: bool
    notes: tuple[Note, ...] = ()


class Gain(StrEnum):
    """Why another placement would be better."""

    FEWER_GPUS = "FewerGPUs"
    LESS_MEMORY = "LessMemory"
    NODES_TODAY = "NodesToday"
    PREFERRED = "Preferred"
    CHEAPER = "Cheaper"


@dataclass(frozen=True, slots=True)
class Better:
    """A placement that is better than the one that stays. gpus: of a replica.

    gpus_saved, memory_saved: of a replica, the memory in bytes; negative if it takes more.
    price_saved: of a replica an hour, in millionths; 0 if no prices are known.
    """

    gain: Gain
    accelerator: str
    gpus: int
    gpus_saved: int
    memory_saved: int
    price_saved: int = 0


@dataclass(frozen=True, slots=True)
class RuleOfThumb:
    """The corrected rule of thumb for comparison. needed: bytes for the whole replica.

    gpus: how many of the GPU in question it would take; 0 if no GPU is in question.
    """

    parameters: int
    bits: float
    needed: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision, with everything needed to explain it.

    decision, reason: see their types. problems: what is wrong with the spec (deny).
    warnings: what a reader should know though it may well be right; a text if a reader of
        manifests or an engine words its own.
    places: where the object that was decided on keeps its fields.
    estimate: of the placement, or of the nearest miss if nothing fits; None if the model
        is not known well enough. accelerator: the one that `estimate` is for.
    short_by: bytes per GPU that are missing; 0 if it fits.
    planned_to: GPUs up to which replicas were planned and none holds it; 0 if that was not so.
    limit: what does not hold, or may not, where the budget is not what decides; None else.
    placement: None if nothing fits. alternatives: cheapest first.
    better: what would be better than a placement that stays; None if nothing is.
    nodes: what the cluster has today for it, in figures; `capacity` says it in one word.
    policy: what the namespace wants done with a denial; `plimsoll.decision.policy.outcome` does it.
    request_hash: of spec, resolved model, constants and policy; never of the inventory.
    walk: how far the engine's start gets; None if it came to none of the engine's gates.
    """

    decision: Decision
    reason: Reason
    model: Model
    problems: tuple[Finding | Problem, ...] = ()
    warnings: tuple[Finding | str, ...] = ()
    estimate: Estimate | None = None
    accelerator: str = ""
    short_by: int = 0
    planned_to: int = 0
    limit: Limit | None = None
    placement: Placement | None = None
    alternatives: tuple[Alternative, ...] = ()
    better: Better | None = None
    rule_of_thumb: RuleOfThumb | None = None
    nodes: Nodes | Lacking | Unseen = Unseen.NOT_DECIDED
    request_hash: str = ""
    places: Places = NO_PLACES
    policy: Policy = DEFAULT_POLICY
    walk: Walk | None = None

    @property
    def capacity(self) -> Capacity:
        """What the cluster has today for the placement, in one word."""
        match self.nodes:
            case Nodes(there=0):
                return Capacity.NO_NODES
            case Nodes(needed=needed, ready=ready, large=int() as large) if ready >= needed > large:
                return Capacity.TOO_SMALL
            case Nodes(needed=needed, ready=ready, room=int()) if ready >= needed:
                return Capacity.TOO_SMALL
            case Nodes(needed=needed, ready=ready, free=Free() as free) if ready >= needed:
                if free.replicas >= free.wanted:
                    return Capacity.AVAILABLE
                return Capacity.OVER_QUOTA if free.quota else Capacity.TAKEN
            case Nodes(needed=needed, ready=ready):
                return Capacity.AVAILABLE if ready >= needed else Capacity.TOO_FEW
            case Lacking():
                return Capacity.NO_NODES
        return Capacity.UNKNOWN

    @property
    def denied(self) -> bool:
        """Whether it certainly does not fit, or is wrong."""
        return self.decision is Decision.DENY
