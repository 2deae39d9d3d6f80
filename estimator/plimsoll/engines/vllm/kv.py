"""How many blocks requests take, and how much a given memory holds: vLLM's own arithmetic.

It must not know where the memory comes from.

    blocks of a request   all: ceil(L / b)    window: ceil(min(W - 1 + F, L) / b) + 1
                          chunk: ceil(min(C + F, L) / b)    state: a fixed number of pages,
                          or one for every block of tokens (some hybrids, 0.26 to 0.28)
    F                     tokens in flight = batched tokens x batches that may be under way
    need                  (requests x blocks + one held back) x bytes of a pool block
    holds                 floor(memory / bytes of a pool block), the least over all stages
    tokens, as logged     holds / groups x b; from 0.21 concurrency x max_model_len

Source: vLLM 0.33.0, vllm/v1/core/kv_cache_planning.py and kv_cache_utils.py; older versions as
in data/constants.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plimsoll.engines.vllm.kv_pages import BlockPool, Keeps, pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.speculative import Draft
    from plimsoll.models.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Cache:
    """The KV cache of one replica under one split.

    pool: pages and groups. in_flight: tokens that may be scheduled and not settled.
    encoder_tokens: tokens of an encoder that cross attention keeps. state_pages: pages of state
    that one sequence takes; state_each: one for every block of its tokens where that is more.
    held_back: blocks that no request gets.
    """

    pool: BlockPool
    in_flight: int
    encoder_tokens: int
    state_pages: int
    held_back: int
    by_concurrency: bool
    state_each: bool = False

    def blocks(self, tokens: int) -> int:
        """Pool blocks that one request of `tokens` tokens takes at most."""
        total = 0
        for group in self.pool.groups:
            b = group.block
            if group.keeps is Keeps.ALL:
                total += -(-tokens // b)
            elif group.keeps is Keeps.WINDOW:
                total += -(-min(group.window - 1 + self.in_flight, tokens) // b) + 1
            elif group.keeps is Keeps.CHUNK:
                total += -(-min(group.window + self.in_flight, tokens) // b)
            elif group.keeps is Keeps.STATE:
                each = -(-tokens // b) if self.state_each else 0
                total += max(self.state_pages, each)
            else:
                total += -(-self.encoder_tokens // b)
        return total

    def need(self, stage: int, requests: int, tokens: int) -> int:
        """Bytes that a rank of a stage needs to hold so many requests of so many tokens."""
        if not self.pool.groups:
            return 0
        blocks = requests * self.blocks(tokens) + self.held_back
        return blocks * self.pool.stage_bytes[stage]

    def holds(self, memory: Sequence[int]) -> int:
        """Pool blocks for which there is memory on every stage; memory in bytes per stage."""
        counts = [
            max(0, available) // size
            for available, size in zip(memory, self.pool.stage_bytes, strict=True)
            if size
        ]
        return min(counts, default=0)

    def concurrency(self, blocks: int, max_model_len: int) -> float:
        """Requests of max_model_len that so many blocks hold, as the engine logs it."""
        each = self.blocks(max_model_len)
        return blocks / each if each else 0.0

    def tokens(self, blocks: int, max_model_len: int) -> int:
        """Tokens that so many blocks hold, as the engine of this version logs it."""
        if not self.pool.groups:
            return 0
        if self.by_concurrency:
            return blocks * max_model_len // (self.blocks(max_model_len) or 1)
        return blocks // len(self.pool.groups) * min(g.block for g in self.pool.groups)

    def longest(self, memory: Sequence[int], most: int) -> int:
        """The longest request that fits, at most `most` tokens; 0 where not one token does."""
        usable = self.holds(memory) - self.held_back
        if not self.pool.groups or self.blocks(most) <= usable:
            return most
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            if self.blocks(middle) <= usable:
                low = middle
            else:
                high = middle
        return low


def cache(
    architecture: Architecture,
    parallelism: Parallelism,
    constants: Constants,
    *,
    dtype: str,
    model_bytes: int,
    block_size: int | None,
    batched_tokens: int,
    draft: Draft | None = None,
    context: int = 1,
    apart: bool = True,
) -> Cache:
    """The cache of a model under a split, in one version of the engine.

    dtype: of the cache, as `plimsoll.engines.layers.dtypes.kv_dtype` resolves it; model_bytes: of
    an element where that is ``auto``. draft: whose layers are cached too. context: ranks that
    share the tokens of a sequence. apart: layers may be grouped by kind.
    """
    pages = pool(
        architecture,
        parallelism.tensor,
        parallelism.pipeline,
        dtype,
        model_bytes,
        block_size,
        apart and constants.flag("hybrid_cache"),
        draft,
        context,
    )
    more = int(constants.number("in_flight_batches"))
    batches = parallelism.pipeline + more if more else 1
    return Cache(
        pages,
        batched_tokens * batches,
        batched_tokens,
        int(constants.number("state_pages")) + (draft.tokens if draft else 0),
        int(constants.number("null_block")),
        constants.flag("tokens_by_concurrency"),
        architecture.model_type in constants["state_each"].names,
    )
