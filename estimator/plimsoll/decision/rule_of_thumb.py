"""The rule of thumb for serving an LLM, corrected; shown beside the estimate, never instead of it.

It must not pretend to know context, concurrency or an engine: it does not.

    M = (P x 4 bytes) / (32 / Q) x 1.2          P parameters, Q bits per parameter

70B at 16 bits: 70 x 4 / (32 / 16) x 1.2 = 168 GB; at 4 bits: 42 GB (decimal GB). Copies in
circulation lose the division, multiplying or leaving it out, and print 21 or 210 GB for the same
case. Source: S. Stoelinga, "Calculating GPU memory for serving LLMs", 16 November 2023,
https://www.substratus.ai/blog/calculating-gpu-memory-for-llm/. The 1.2 is not derived there; the
same figure stands in https://blog.eleuther.ai/transformer-math/ as at most 20 % for a forward
pass.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from plimsoll.units import ceil_div

_OVERHEAD = Fraction(12, 10)


@lru_cache(maxsize=4096)
def rule_of_thumb(parameters: int, bits: float) -> int:
    """Bytes for the whole replica, rounded up: parameters x 4 / (32 / bits) x 1.2.

    parameters: above 0. bits: per parameter, above 0 (16, 8, 4, 4.25 ...). Raises `ValueError`
    for anything else.
    """
    if parameters <= 0 or not 0 < bits <= 64:
        raise ValueError("parameters and bits must be above 0, and bits at most 64")
    needed = Fraction(parameters * 4) / (32 / Fraction(str(bits))) * _OVERHEAD
    return ceil_div(needed.numerator, needed.denominator)


def gpus_needed(needed: int, memory: int) -> int:
    """GPUs of `memory` bytes, all of it counted, that hold `needed` bytes. memory: above 0."""
    return max(1, ceil_div(needed, memory))
