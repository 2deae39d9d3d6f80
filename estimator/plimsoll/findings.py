"""What was found out about a request, as facts: which rule, at which field, with which figures.

Nothing here is worded: `plimsoll.report.wording` has one sentence for every rule. A finding is a
problem or a warning by where it is kept (`Verdict.problems`, `Verdict.warnings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from plimsoll.paths import Field, Places

if TYPE_CHECKING:
    from plimsoll.errors import Problem

Fact = int | float | str | bool | Field | tuple[str, ...]


class Rule(StrEnum):
    """What a finding says; the key of its sentence. Grouped by who finds it out."""

    # the decision
    SIZE = "size"
    REPLICAS = "replicas"
    SHARE = "share"
    BITS = "bits"
    SEQUENCE_BEYOND_CONTEXT = "sequence-beyond-context"
    FEWER_SEQUENCES_THAN_ASKED = "fewer-sequences-than-asked"
    COUNT_IS_NOT_THE_SPLIT = "count-is-not-the-split"
    COUNT_IS_NO_MULTIPLE = "count-is-no-multiple"
    NO_SPLIT_OF_THAT_COUNT = "no-split-of-that-count"
    TENSOR_ACROSS_SLICES = "tensor-across-slices"
    TENSOR_BEYOND_NODE = "tensor-beyond-node"
    UNKNOWN_ENGINE = "unknown-engine"
    UNKNOWN_ACCELERATOR = "unknown-accelerator"
    UNKNOWN_ACCELERATOR_LIKE = "unknown-accelerator-like"
    NO_SUCH_MEMORY = "no-such-memory"
    NO_SUCH_MEMORY_IN_ANY = "no-such-memory-in-any"
    # and what it doubts
    TENSOR_BEYOND_USUAL_NODE = "tensor-beyond-usual-node"
    UNREAD_FLAGS = "unread-flags"
    NOMINAL_MEMORY = "nominal-memory"
    MODEL_TYPE_ASSUMED = "model-type-assumed"
    IDLE_GPUS = "idle-gpus"
    NOTHING_TO_PLAN_ON = "nothing-to-plan-on"
    RULE_OF_THUMB_ALONE = "rule-of-thumb-alone"
    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_MODEL_LIKE = "unknown-model-like"

    # what is said of the model
    UNKNOWN_BASE = "unknown-base"
    UNKNOWN_BASE_LIKE = "unknown-base-like"

    # what every engine's layers refuse
    TOO_MANY_STAGES = "too-many-stages"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a request that somebody should read.

    field: what it is about; index: which element of it, if it is a list.
    given: the value that was there, as it stood; None if there was none.
    facts: the figures and names of the sentence, by the names that the sentence uses.
    """

    rule: Rule
    field: Field
    given: object = None
    facts: tuple[tuple[str, Fact], ...] = ()
    index: int | None = None


def finding(
    rule: Rule, field: Field, given: object = None, index: int | None = None, **facts: Fact
) -> Finding:
    """A finding with its facts by name."""
    return Finding(rule, field, given, tuple(facts.items()), index)


def path_of(problem: Finding | Problem, places: Places) -> str:
    """Where an object keeps what a problem is about."""
    if isinstance(problem, Finding):
        return places.path(problem.field, problem.index)
    return problem.path
