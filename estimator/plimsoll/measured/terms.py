"""The terms that are compared, and when a range counts as a prediction.

It must not compute a prediction.

    a row's unknown input leaves a range [low, high]: the least and the most over its candidates
    GiB terms         counts where high - low < 5 % of the GPU's physical memory; where that is
                      unknown, of `high` itself, which is stricter
    tokens, requests  counts where high - low < 5 % of `high`: stricter than 5 % of the memory,
                      since the cache is a part of it
    predicted         the middle of the range
    error             0 where low <= measured <= high, else the distance to the nearer end
    in per cent       of the measured value
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class TermId(StrEnum):
    """What is compared, by the name that rows and results have for it."""

    WEIGHTS = "weights_gib_per_gpu"
    ACTIVATION = "activation_peak_gib"
    NON_TORCH = "non_torch_gib"
    GRAPHS = "cuda_graph_gib"
    KV_GIB = "kv_cache_gib_per_gpu"
    KV_TOKENS = "kv_cache_tokens"
    TOKENS_GIVEN_GIB = "kv_cache_tokens_given_gib"
    CONCURRENCY = "max_concurrency"

    @property
    def in_gib(self) -> bool:
        """Whether it is memory, in GiB."""
        return self not in (self.KV_TOKENS, self.TOKENS_GIVEN_GIB, self.CONCURRENCY)

    @property
    def measured_as(self) -> str:
        """The field of a row that holds what was measured."""
        return str(self.KV_TOKENS if self is self.TOKENS_GIVEN_GIB else self)


OUTCOME: Final = "outcome"
"""The word for the verdict among the reasons for leaving out."""
NARROW: Final = 0.05
"""A range counts only where it is narrower than this share."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a term may be. low, high: GiB, tokens or requests."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The middle of the range: what counts as predicted."""
        return self.low if self.low == self.high else (self.low + self.high) / 2

    def error(self, measured: float) -> float:
        """How far the measured value lies outside of the range; 0 within it."""
        return max(0.0, self.low - measured, measured - self.high)

    def counts(self, term: TermId, physical_gib: float | None) -> bool:
        """Whether the range is narrow enough to say something."""
        if self.low == self.high:
            return True
        whole = physical_gib if term.in_gib and physical_gib else abs(self.high)
        return self.high - self.low < NARROW * whole
