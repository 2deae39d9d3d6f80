"""vLLM's KV cache: pages of layers alike, in a pool of blocks that every group shares.

Pages and groups:

    attention page   max(1, kv_heads // tp) x block x (key + value bytes)
    MLA page         block x latent bytes, whole on every rank; an indexer's keys beside it
    state page       (conv + recurrent elements) / tp, in their dtypes (--mamba-cache-dtype,
                     --mamba-ssm-cache-dtype)
    hybrids          the block grows until an attention page holds a state, by 16 tokens (by 64
                     where delta nets hand out states within a prompt); states are padded to it
    unequal pages    a smaller page takes as many blocks as divide the largest, else it is padded
    groups           layers by kind and window; group size = fewest layers of a kind, or the most
                     where that is under 1.5 x the fewest; layer i of a kind goes to group i mod n
    pool block       the pages of one group; all groups share one pool of such blocks
    draft            its layers are layers of the last stage
    decode context   over d ranks a block of full attention or MLA stands for d x as many tokens
    compressed keys  DeepSeek V4: `plimsoll.engines.vllm.compressed`

Source: vLLM 0.33.0, vllm/v1/core/kv_cache_planning.py, vllm/v1/kv_cache_interface.py,
vllm/platforms/interface.py.

Blocks that requests take, and what a given memory holds:

    blocks of a request   all: ceil(L / b)    window: ceil(min(W - 1 + F, L) / b) + 1
                          chunk: ceil(min(C + F, L) / b)    state: a fixed number of pages,
                          or one for every block of tokens (some hybrids, 0.28)
    F                     tokens in flight = batched tokens x batches that may be under way
    need                  (requests x blocks + one held back) x bytes of a pool block
    holds                 floor(memory / bytes of a pool block), the least over all stages
    tokens, as logged     holds / groups x b; from 0.21 concurrency x max_model_len

Source: vLLM 0.33.0, vllm/v1/core/kv_cache_planning.py and kv_cache_utils.py; older versions as
in data/constants.json.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import (
    WEIGHT_BYTES,
    is_eight_bit_float,
    latent_bytes,
    state_bytes,
)
from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.engines.vllm.compressed import BLOCK, compressed_pool, is_compressed
from plimsoll.engines.vllm.pool import BlockPool, Group, Keeps
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.speculative import Draft
    from plimsoll.models.architecture import Architecture, Mixer

DEFAULT_BLOCK: Final = 16
_SPARSE_BLOCK: Final = 64
_MLA_HYBRID_BLOCK: Final = 128
_CHECKPOINTED: Final = 3
"""Pages of state of a sequence where one of them is a checkpoint of its prompt."""
_DELTA_STEP: Final = 64
"""Tokens between the states that gated delta nets hand out (gdn_attn.py)."""
_NOT_ASKED: Final = -2
"""The figure ``state_unsaid`` where the engine does not ask the config: always 16 bits."""
_KERNEL: Final = 4
"""Width of the convolutions before recurrent states: 4 in every model that vLLM serves."""


@dataclass(frozen=True, slots=True)
class Elements:
    """How large what is cached is on one rank. model: bytes of an element of the model's dtype.

    dtype: of keys and values. ahead: tokens that a draft guesses; a convolution's state keeps as
    many positions more. conv, recurrent: bytes of an element of a state; 0: the model's, and what
    the mixer says. step: tokens of which a block with states beside it is a multiple.
    """

    tensor: int
    dtype: str
    model: int
    ahead: int = 0
    conv: int = 0
    recurrent: int = 0
    step: int = DEFAULT_BLOCK


@dataclass(frozen=True, slots=True)
class _Spec:
    """What one layer asks of the cache: its kind, and the bytes and tokens of a page."""

    keeps: Keeps
    window: int
    block: int
    page: int


def pool(
    architecture: Architecture,
    pipeline: int,
    elements: Elements,
    block_size: int | None,
    hybrid: bool,
    draft: Draft | None = None,
    context: int = 1,
    compressed: int = 0,
) -> BlockPool:
    """The pool of a model under a split. hybrid: the version groups layers by kind.

    draft: whose layers lie on the last stage too. context: ranks over which the tokens of a
    sequence are spread (decode context parallel). compressed: the figure ``compressed_pool``.
    """
    mixers = draft.mixers if draft else ()
    name = draft.words if draft else ""
    key = ("vllm.pool", pipeline, elements, block_size, hybrid, name, context, compressed)

    def make() -> BlockPool:
        if is_compressed(architecture):
            made = compressed_pool(architecture, pipeline, block_size or BLOCK, mixers, compressed)
        else:
            made = _pool(architecture, pipeline, elements, block_size, hybrid, mixers)
        return _spread(made, context) if context > 1 else made

    return architecture.remembered(key, make)


def _pool(
    architecture: Architecture,
    pipeline: int,
    elements: Elements,
    block_size: int | None,
    hybrid: bool,
    further: tuple[Mixer, ...],
) -> BlockPool:
    block = _block_size(architecture, elements, block_size)
    bounds = stage_layers(len(architecture.blocks), pipeline)
    layers: list[tuple[int, _Spec]] = []
    cache: dict[int, tuple[_Spec, ...]] = {}
    stage = 0
    for i, one in enumerate(architecture.blocks):
        while i >= bounds[stage][1]:
            stage += 1
        if id(one) not in cache:
            cache[id(one)] = tuple(
                spec for mixer in one.mixers for spec in _specs(mixer, elements, block, hybrid)
            )
        layers.extend((stage, spec) for spec in cache[id(one)])
    for mixer in further:
        layers.extend((pipeline - 1, spec) for spec in _specs(mixer, elements, block, hybrid))
    return _grouped(layers, pipeline, block)


def _spread(pool_: BlockPool, context: int) -> BlockPool:
    """The pool where each rank holds every context-th token: a block stands for as many more."""
    groups = tuple(
        replace(g, block=g.block * context) if g.keeps is Keeps.ALL else g for g in pool_.groups
    )
    return replace(pool_, groups=groups)


def _block_size(architecture: Architecture, elements: Elements, asked: int | None) -> int:
    """Tokens of a block: as asked, else the engine's own, grown until a page holds a state."""
    mixers = tuple(architecture.mixers())
    attention = [m for m in mixers if _is_attention(m) and not m.shares_kv]
    states = [m for m in mixers if not _is_attention(m)]
    block = asked or (_SPARSE_BLOCK if any(m.index_dim for m in attention) else DEFAULT_BLOCK)
    if not attention or not states:
        return block
    state = max(_state_page(m, elements) for m in set(states))
    token = max(_token_bytes(m, elements) for m in set(attention))
    latent = any(m.kind is MixerKind.MLA for m in attention)
    step = max(block, _MLA_HYBRID_BLOCK if latent else elements.step)
    return max(block, step * ceil_div(state, step * token))


def _is_attention(mixer: Mixer) -> bool:
    return not (mixer.conv_elements or mixer.state_elements)


def _token_bytes(mixer: Mixer, elements: Elements) -> int:
    """Bytes of one token in one layer on one rank."""
    dtype, model = elements.dtype, elements.model
    if mixer.kind is MixerKind.MLA:
        if mixer.index_dim and is_eight_bit_float(dtype):
            dtype = "fp8_ds_mla"
        return latent_bytes(mixer.head_dim, dtype, model)
    heads = max(1, ceil_div(mixer.kv_heads, elements.tensor))
    return heads * (
        state_bytes(mixer.head_dim, dtype, model) + state_bytes(mixer.v_head_dim, dtype, model)
    )


def _state_page(mixer: Mixer, elements: Elements) -> int:
    """Bytes of the state of one sequence in one layer on one rank."""
    own = elements.conv or WEIGHT_BYTES.get(mixer.state_dtype, elements.model)
    recurrent = elements.recurrent or own
    conv = mixer.conv_elements * (_KERNEL - 1 + elements.ahead) // (_KERNEL - 1)
    tp = elements.tensor
    return (
        ceil_div(conv, tp) * (elements.conv or elements.model)
        + ceil_div(mixer.state_elements, tp) * recurrent
    )


def _specs(mixer: Mixer, elements: Elements, block: int, hybrid: bool) -> tuple[_Spec, ...]:
    """What a mixer asks of the cache: nothing, one cache, or two where it has an indexer."""
    if mixer.shares_kv or mixer.kind is MixerKind.ENCODER:
        return ()
    if not _is_attention(mixer):
        return (_Spec(Keeps.STATE, 0, block, _state_page(mixer, elements)),)
    page = block * _token_bytes(mixer, elements)
    keeps = {
        MixerKind.SLIDING: Keeps.WINDOW,
        MixerKind.CHUNKED: Keeps.CHUNK,
        MixerKind.CROSS: Keeps.ENCODER,
    }.get(mixer.kind, Keeps.ALL)
    if keeps in (Keeps.WINDOW, Keeps.CHUNK) and (not hybrid or mixer.window <= 0):
        keeps = Keeps.ALL
    window = mixer.window if keeps in (Keeps.WINDOW, Keeps.CHUNK) else 0
    own = _Spec(keeps, window, block, page)
    if not mixer.index_dim:
        return (own,)
    index = mixer.index_dim + 4 * ceil_div(mixer.index_dim, 128)
    return own, _Spec(keeps, window, block, block * index)


def _grouped(layers: list[tuple[int, _Spec]], pipeline: int, block: int) -> BlockPool:
    """Layers, each with its pipeline stage, put into groups that share one pool."""
    if not layers:
        return BlockPool((), (0,) * pipeline, block)
    first = layers[0][1]
    if all((s.keeps, s.window) == (first.keeps, first.window) for _, s in layers):
        stages = [0] * pipeline
        for stage, spec in layers:
            stages[stage] += spec.page
        return BlockPool((Group(first.keeps, first.window, block),), tuple(stages), block)
    page = max(spec.page for _, spec in layers)
    buckets: defaultdict[tuple[Keeps, int, int], list[int]] = defaultdict(list)
    for stage, spec in layers:
        tokens = spec.block
        if spec.page != page:
            whole = spec.keeps is not Keeps.STATE and page % spec.page == 0
            tokens = tokens * (page // spec.page) if whole else tokens
        buckets[spec.keeps, spec.window, tokens].append(stage)
    counts = [len(stages) for stages in buckets.values()]
    size = max(counts) if 2 * max(counts) < 3 * min(counts) else min(counts)
    groups: list[Group] = []
    widest = [0] * pipeline
    for (keeps, window, tokens), stages_of in buckets.items():
        number = ceil_div(len(stages_of), size)
        for i in range(number):
            groups.append(Group(keeps, window, tokens))
            held = stages_of[i::number]
            for stage in range(pipeline):
                widest[stage] = max(widest[stage], held.count(stage))
    if pipeline == 1:
        widest = [size]
    return BlockPool(tuple(groups), tuple(n * page for n in widest), block)


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
        """BlockPool blocks that one request of `tokens` tokens takes at most."""
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
        return blocks * self.pool.asked_bytes[stage]

    def holds(self, memory: Sequence[int]) -> int:
        """BlockPool blocks for which there is memory on every stage; memory in bytes per stage."""
        return _holds(memory, self.pool.stage_bytes)

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
        usable = _holds(memory, self.pool.asked_bytes) - self.held_back
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


def _states(
    architecture: Architecture, constants: Constants, cached: bool | None, checkpoints: bool
) -> tuple[int, bool]:
    """Pages of state of one sequence, and whether there is one for every block of its tokens.

    cached: prefixes are cached, as flags say it. Models without attention start without. From
    0.33 on mamba 2 has one more, and so have gated delta nets where their kernel hands it out.
    """
    if cached is None and all(not _is_attention(mixer) for mixer in architecture.mixers()):
        cached = False
    named = architecture.model_type
    if cached is None:
        figure, each = constants["state_pages"], constants["state_each"]
    elif cached:
        figure, each = constants["state_pages_cached"], constants["state_each_cached"]
    else:
        return 1, False
    pages = int(figure.value)
    if pages == _CHECKPOINTED:
        pages -= not (_is_mamba2(architecture) or (checkpoints and _is_delta(architecture)))
    return pages, named in each.names


def _is_mamba2(architecture: Architecture) -> bool:
    """Whether it has layers of mamba 2."""
    return architecture.remembered(
        ("vllm.mamba2",), lambda: any(m.kind is MixerKind.MAMBA2 for m in architecture.mixers())
    )


def _is_delta(architecture: Architecture) -> bool:
    """Whether its states are those of delta nets (gated, or Kimi's)."""
    return architecture.remembered(
        ("vllm.delta",),
        lambda: any(m.kind is MixerKind.LINEAR and m.conv_elements for m in architecture.mixers()),
    )


def _state_unsaid(architecture: Architecture, constants: Constants) -> int:
    """Bytes of an element of a recurrent state where no flag says them; 0: as the mixer says.

    Nemotron-H: its config was not asked before 0.13; where it says nothing, 16 bits and from 0.20
    on 32 are taken.
    """
    figure = constants["state_unsaid"]
    if architecture.model_type not in figure.names:
        return 0
    said = next((m.state_dtype for m in architecture.mixers() if m.state_elements), "")
    asked = figure.value != _NOT_ASKED
    return WEIGHT_BYTES.get(said, 0) if said and asked else int(abs(figure.value))


def _holds(memory: Sequence[int], sizes: Sequence[int]) -> int:
    """Blocks of so many bytes on each stage for which every stage has memory."""
    counts = [
        max(0, available) // size for available, size in zip(memory, sizes, strict=True) if size
    ]
    return min(counts, default=0)


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
    state_dtypes: tuple[str, str] = ("", ""),
    prefix_caching: bool | None = None,
    checkpoints: bool = True,
) -> Cache:
    """The cache of a model under a split, in one version of the engine.

    dtype: of the cache, as `plimsoll.engines.layers.dtypes.kv_dtype` resolves it; model_bytes: of
    an element where that is ``auto``. draft: whose layers are cached too. context: ranks that
    share the tokens of a sequence. apart: layers may be grouped by kind. state_dtypes: of the
    convolution's and the recurrent state, as flags say; "" where they do not. prefix_caching: as
    flags say; None where they do not. checkpoints: this GPU's kernel for gated delta nets hands
    out states within a prompt.
    """
    states, each = _states(architecture, constants, prefix_caching, checkpoints)
    conv, recurrent = (WEIGHT_BYTES.get(word, 0) for word in state_dtypes)
    elements = Elements(
        parallelism.tensor,
        dtype,
        model_bytes,
        draft.tokens if draft else 0,
        conv,
        recurrent or _state_unsaid(architecture, constants),
        _DELTA_STEP if states == _CHECKPOINTED and _is_delta(architecture) else DEFAULT_BLOCK,
    )
    pages = pool(
        architecture,
        parallelism.pipeline,
        elements,
        block_size,
        apart and constants.flag("hybrid_cache"),
        draft,
        context,
        int(constants.number("compressed_pool")),
    )
    more = int(constants.number("in_flight_batches"))
    batches = parallelism.pipeline + more if more else 1
    return Cache(
        pages,
        batched_tokens * batches,
        batched_tokens,
        states + (draft.tokens if draft else 0),
        int(constants.number("null_block")),
        constants.flag("tokens_by_concurrency"),
        each,
    )
