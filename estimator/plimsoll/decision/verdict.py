"""What a decision says: the types that the command line, admission and the status all read.

It must not compute: `decide` fills these, `plimsoll.report.messages` words them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from plimsoll.paths import NO_PLACES, Places

if TYPE_CHECKING:
    from plimsoll.engines.base import Estimate, Parallelism
    from plimsoll.errors import Problem
    from plimsoll.findings import Finding
    from plimsoll.models.model import Model


class Decision(StrEnum):
    """allow: it fits. warn: nobody can be sure. deny: it certainly does not fit, or is wrong."""

    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"


class Mode(StrEnum):
    """What a namespace wants done with a denial."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


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


class Capacity(StrEnum):
    """Whether the cluster has nodes for the placement today (condition CapacityAvailable)."""

    AVAILABLE = "NodesMatch"
    TOO_FEW = "TooFewNodes"
    NO_NODES = "NoNodesMatch"
    UNKNOWN = "InventoryUnknown"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the namespace says. mode: see `Mode`; source: who said so, for the message."""

    mode: Mode = Mode.ENFORCE
    source: str = "default"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one replica runs, enough to run it.

    accelerator: Plimsoll's name. gpus_per_replica, gpus_per_node, nodes_per_replica: counts.
    resource: the extended resource asked for, gpus_per_node of it per pod.
    node_selector: labels, empty where no node was there to read a dialect from.
    tolerations: of the taints on those nodes, as (key, operator, value, effect).
    engine_args: the engine's flags. reason: why this one, in one sentence.
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
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """One field to change. path: from ``spec.``; value: as written into YAML; empty: remove it."""

    path: str
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
    note: str = ""


@dataclass(frozen=True, slots=True)
class RuleOfThumb:
    """The corrected rule of thumb for comparison. needed: bytes for the whole replica.

    gpus: how many of the GPU in question it would take; 0 where no GPU is in question.
    """

    parameters: int
    bits: float
    needed: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision, with everything needed to explain it.

    decision, reason: see their types. problems: what is wrong with the spec (deny).
    places: where the object that was decided on keeps its fields.
    estimate: of the placement, or of the nearest miss where nothing fits; None where the model
        is not known well enough. accelerator: the one that `estimate` is for.
    short_by: bytes per GPU that are missing; 0 where it fits.
    placement: None where nothing fits. alternatives: cheapest first.
    capacity, capacity_message: what the cluster has today for it.
    request_hash: of spec, resolved model, constants and policy; never of the inventory.
    """

    decision: Decision
    reason: Reason
    model: Model
    policy: Policy
    problems: tuple[Finding | Problem, ...] = ()
    warnings: tuple[Finding | str, ...] = ()
    estimate: Estimate | None = None
    accelerator: str = ""
    short_by: int = 0
    placement: Placement | None = None
    alternatives: tuple[Alternative, ...] = ()
    rule_of_thumb: RuleOfThumb | None = None
    capacity: Capacity = Capacity.UNKNOWN
    capacity_message: str = ""
    request_hash: str = ""
    places: Places = NO_PLACES

    @property
    def admitted(self) -> bool:
        """Whether the namespace's mode lets it in."""
        return self.decision is not Decision.DENY or self.policy.mode is not Mode.ENFORCE
