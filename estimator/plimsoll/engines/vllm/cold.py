"""What a first start of vLLM is charged beyond a later one, whose kernels are compiled already.

    benchmark   vocabulary / tp x h x 2 bytes     a copy of the embedding, first stage
    peak        at least the benchmark's, with what else the allocator holds then
    pinned      from 0.27 to 0.32 the copy may stay, in a segment that is not given back, and is
                then taken from the cache beside the peak

While Inductor compiles the pass it tries combined kernels on made-up inputs as large as the real
ones, and the first of them reads the embedding. That happens inside the memory profile, which so
counts it as the pass's own; with the compile cache that a first start leaves, it does not happen.
A pod whose cache directory is new each time starts so every time. The high end of the activation's
range holds it; its middle is a start with a cache.

Figure ``embedding_copies`` in data/constants.json. Source: vllm/config/compilation.py
(benchmark_combo_kernel), https://github.com/vllm-project/vllm/issues/54122 and 54383.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.units import GIB, ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism, Term
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture


def first_start(
    term: Term,
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    constants: Constants,
) -> Term:
    """The activation's term of a stage, whose range holds a first start too."""
    copies = int(constants.number("embedding_copies"))
    if not copies or resolved.eager or resolved.first_engine or stage:
        return term
    rows = ceil_div(architecture.vocab_size, parallelism.tensor)
    size = rows * architecture.hidden_size * resolved.element
    beside = round(constants.number("embedding_copy_beside") * GIB)
    peak = max(term.high, size + beside if size else 0)
    return replace(term, high=peak + (copies - 1) * size)
