"""DeepSeek V4's cache in vLLM: windows, compressed keys, and what compressors still gather.

Each layer keeps a window; layers with a compressor keep one vector for every r tokens (r = 4 or
128) and, in 32 bits, what the compressor has gathered of the tokens that are not yet compressed:

    vector           d + 72 bytes: 8 bits each, the 64 rotated ones in 16, and 8 bytes of scales
    window           64 tokens a page, W tokens kept
    compressed       block / r vectors a page
    indexer (r = 4)  block / 4 keys a page, i + 4 x ceil(i / 128) bytes each
    compressor r=4   4 tokens a page, 8 kept; 4 x d x 4 bytes a token, the indexer's 4 x i x 4
    compressor r=128 8 tokens a page, 128 kept; 2 x d x 4 bytes a token
    page             rounded up to 576 bytes

Layers are put in groups by what they keep: compressed keys of both kinds in one, windows,
compressors of 4, compressors of 128. n: the number of layers for which the groups, each rounded up
to a multiple of n, are least in sum, and not less than the largest group that must stay whole;
a group is split in ceil(layers / n). Bytes of a block of the pool:

    0.20 to 0.22     sum of the sizes of compressed pages x the most layers of one size in a group
    0.23 to 0.26     sum over the sizes of a page x the most layers of that size in a group
    0.27, 0.28       the bytes of the largest group; these three check one request by the first rule
    from 0.29        the bytes of the largest group, and the check counts the same

A pass over T tokens, beside what every model needs:

    for one token    2 x n x h (n streams, before and after they are mixed) + h + 2 x padded x d
                     (queries and outputs, of heads padded to 64 or 128) + heads / tp x d elements
    gathered keys    `plimsoll.engines.vllm.sparse`

Sources: vLLM 0.20.0 to 0.33.0: vllm/v1/core/kv_cache_utils.py (group_and_unify_kv_cache_specs,
_pool_bytes_per_block, _max_memory_usage_bytes_from_groups), from 0.30 on kv_cache_planning.py
(_get_packed_kv_cache_groups), vllm/v1/attention/backends/mla/sparse_swa.py and
vllm/models/deepseek_v4 (attention.py, compressor.py, nvidia/flashmla.py). Logs: issues 44376
(0.22: 30,000 tokens with 16,384 in flight need 6.66 GiB, 5.44 hold 13,528) and 51041 (0.26: tuples
of 47,808 bytes).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.engines.vllm.pool import BlockPool, Group, Keeps
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from plimsoll.models.architecture import Architecture, Mixer

BLOCK: Final = 256
"""Tokens of a block where nothing is said: what V4's attention prefers."""
_PAGE: Final = 576
_SCALES_AND_ROTARY: Final = 72
_WINDOW_BLOCK: Final = 64
_SHORT: Final = 4
"""The small ratio: its compressor looks at two windows at once, and has an indexer."""
_GATHERED: Final = {4: (8, 4), 128: (128, 8)}
"""By ratio: tokens that a compressor keeps, and tokens of one of its pages."""
_STREAMS: Final = "attn_hc.fn"
_HEADS: Final = 64
"""The kernels run 64 heads or 128."""
_PROMPTS: Final = 4
"""Prompts whose keys are gathered at once (PREFILL_CHUNK_SIZE)."""
_TUPLES, _BY_SIZE, _LARGEST, _PACKED = range(4)
"""Values of the figure ``compressed_pool``: how a block of the pool is laid out."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """One cache of one layer. page: its bytes; padded: as the first rule pads it."""

    stage: int
    group: Group
    page: int
    padded: int = 0


def is_compressed(architecture: Architecture) -> bool:
    """Whether the model keeps compressed keys as DeepSeek V4 does."""
    return architecture.remembered(
        ("vllm.compressed",), lambda: any(m.ratio for m in architecture.mixers())
    )


def compressed_pool(
    architecture: Architecture, pipeline: int, block: int, further: Sequence[Mixer], rule: int
) -> BlockPool:
    """The pool of a model with compressed keys; equal on every rank of a stage.

    further: a draft's mixers, on the last stage. rule: the figure ``compressed_pool``.
    """
    bounds = stage_layers(len(architecture.blocks), pipeline)
    layers = [
        layer
        for stage, (start, end) in enumerate(bounds)
        for one in architecture.blocks[start:end]
        for mixer in one.mixers
        for layer in _caches(mixer, stage, block)
    ]
    layers += [layer for mixer in further for layer in _caches(mixer, pipeline - 1, block)]
    groups = _groups(layers, block, rule)
    sizes = {one.padded for group in groups for one in group if one.group.keeps is Keeps.ALL}
    by_rule: dict[int, Callable[[int], int]] = {
        _TUPLES: lambda stage: sum(sizes) * _most(groups, stage),
        _BY_SIZE: lambda stage: sum(size * _most(groups, stage, size) for size in sizes),
        _LARGEST: lambda stage: _largest(groups, stage),
        _PACKED: lambda stage: _largest(groups, stage),
    }
    stages = range(pipeline)
    checked = tuple(map(by_rule[_TUPLES], stages)) if rule in (_BY_SIZE, _LARGEST) else ()
    kinds = tuple(group[0].group for group in groups)
    return BlockPool(kinds, tuple(map(by_rule[rule], stages)), block, checked)


def pass_elements(architecture: Architecture, tensor: int) -> int:
    """Elements of one token that a layer of V4 holds at once on a rank; 0 for other models."""
    if not is_compressed(architecture):
        return 0
    block = architecture.blocks[0]
    mixer, hidden = block.mixers[0], architecture.hidden_size
    mixed = next((t.shape[-1] for t in block.tensors if t.name == _STREAMS), hidden)
    heads = ceil_div(mixer.heads, tensor)
    padded = _HEADS if heads <= _HEADS else 2 * _HEADS
    return 2 * mixed + hidden + (2 * padded + heads) * mixer.head_dim


def gathered_elements(architecture: Architecture, length: int, tokens: int) -> int:
    """Elements of the workspace that V4's keys are gathered in; 0 for other models."""
    if not is_compressed(architecture):
        return 0
    mixer = architecture.blocks[0].mixers[0]
    return _PROMPTS * (ceil_div(length, _SHORT) + mixer.window + tokens) * mixer.head_dim


def _caches(mixer: Mixer, stage: int, block: int) -> Iterator[_Layer]:
    """What one mixer of V4 keeps."""
    if not mixer.ratio:
        group = Group(Keeps.WINDOW, mixer.window, _WINDOW_BLOCK)
        yield _Layer(stage, group, _page(_WINDOW_BLOCK * (mixer.head_dim + _SCALES_AND_ROTARY)))
        return
    # The mixer gives elements a token, as other engines keep them; here they are whole again.
    dim, index = mixer.head_dim * mixer.ratio, mixer.index_dim * mixer.ratio
    kept, tokens = _GATHERED[mixer.ratio]
    compressed = Group(Keeps.ALL, 0, block)
    gathered = Group(Keeps.WINDOW, kept, tokens)
    vectors = block // mixer.ratio
    twice = 4 if mixer.ratio == _SHORT else 2
    yield _Layer(stage, compressed, _page(vectors * (dim + _SCALES_AND_ROTARY)))
    yield _Layer(stage, gathered, _page(tokens * twice * dim * 4))
    if index:
        yield _Layer(stage, compressed, _page(vectors * (index + 4 * ceil_div(index, 128))))
        yield _Layer(stage, gathered, _page(tokens * twice * index * 4))


def _page(size: int) -> int:
    return ceil_div(size, _PAGE) * _PAGE


def _groups(layers: list[_Layer], block: int, rule: int) -> list[list[_Layer]]:
    """Layers in groups that share a block table."""
    buckets: defaultdict[Group, list[_Layer]] = defaultdict(list)
    sizes = sorted({layer.page for layer in layers if layer.group == Group(Keeps.ALL, 0, block)})
    for layer in layers:
        padded = layer.page
        if rule != _PACKED:
            padded = min((size for size in sizes if size >= layer.page), default=layer.page)
        buckets[layer.group].append(replace(layer, padded=padded))
    counts = {kind: Counter(one.padded for one in bucket) for kind, bucket in buckets.items()}
    most = {kind: max(count.values()) for kind, count in counts.items()}
    if rule == _PACKED:
        even = {kind for kind, count in counts.items() if len({*count.values()}) == 1}
        whole = max((most[kind] for kind in even if len(counts[kind]) > 1), default=0)
    else:
        even = set(buckets)
        whole = max((most[kind] for kind in even if kind.keeps is Keeps.ALL), default=0)
    number = _least_padding([most[kind] for kind in even], whole) if whole else 0
    groups: list[list[_Layer]] = []
    for kind, bucket in buckets.items():
        split = ceil_div(most[kind], number) if number and kind in even else 1
        if split == 1:
            groups.append(bucket)
            continue
        by_size = [[one for one in bucket if one.padded == size] for size in counts[kind]]
        groups += [[one for column in by_size for one in column[i::split]] for i in range(split)]
    return groups


def _least_padding(counts: Sequence[int], least: int) -> int:
    """The number, `least` or more, to whose multiples all counts are rounded up with least rest."""
    options = range(least, max(max(counts), least) + 1)
    return min(options, key=lambda n: (sum(-count % n for count in counts), -n))


def _most(groups: Sequence[Sequence[_Layer]], stage: int, size: int = 0) -> int:
    """The most layers of one size in a group on a stage; of `size` alone where it is given."""
    found = 0
    for group in groups:
        count = Counter(layer.padded for layer in group if layer.stage == stage)
        found = max(found, count[size] if size else max(count.values(), default=0))
    return found


def _largest(groups: Sequence[Sequence[_Layer]], stage: int) -> int:
    return max(sum(one.padded for one in group if one.stage == stage) for group in groups)
