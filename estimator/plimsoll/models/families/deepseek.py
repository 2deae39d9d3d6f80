"""DeepSeek: grouped queries at first, latent attention (MLA), and V4's compressed caches.

V4 attention   one key-value head of d elements; q through a rank, o through groups of ranks
V4 cache       a window of the last tokens, and one vector for every r tokens of the past:
               d / r elements a token (r = 4 with an indexer, or 128; 0: the window alone)
V4 streams     n copies of the hidden state, mixed by (2 + n) x n rows over n x hidden
source         transformers 5.23.0, models/deepseek_v4/modeling_deepseek_v4.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import Block, Mixer, MixerKind, Part, Split, Stage
from plimsoll.models.blocks.decoder import (
    Built,
    Traits,
    assemble,
    decoder,
    feed_forward,
    layer_norms,
    layers_of,
    shape,
)
from plimsoll.models.blocks.family import Family, deepseek_moe, first_dense, latent_of, with_mtp
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

_RATIOS: Final = (0, 4, 128)
_RATIO_OF: Final = {
    "sliding_attention": 0,
    "compressed_sparse_attention": 4,
    "heavily_compressed_attention": 128,
}
"""``layer_types`` of V4, as transformers writes it instead of ``compress_ratios``."""


DEEPSEEK_V1: Final = Family(moe=deepseek_moe, moe_at=first_dense)
"""DeepSeek-MoE (the first): grouped queries, shared experts, a dense first layer."""


def deepseek_v2(f: Fields) -> Built:
    """DeepSeek V2 to V3.2, Kimi K2, Mistral 4, GLM 4.7-Flash and 5: MLA and shared experts.

    Where both parts of a head of q and k are 0 wide (the small DeepSeek-VL2), it is the first
    DeepSeek's attention.
    """
    kinds = f.texts("indexer_types") or ()
    if f.raw("qk_nope_head_dim") == 0 and f.raw("qk_rope_head_dim") == 0:
        return with_mtp(f, decoder(f, Traits(moe=deepseek_moe(f), moe_at=first_dense(f))))
    t = Traits(
        latent=latent_of(f),
        moe=deepseek_moe(f),
        moe_at=first_dense(f),
        mlp_bias=f.text("model_type") == "deepseek_v2" and f.flag("mlp_bias"),
        indexed=lambda i: i >= len(kinds) or kinds[i] != "shared",
    )
    copies = f.text("model_type") != "glm_moe_dsa"
    return with_mtp(f, decoder(f, t), copies=copies)


def deepseek_v4(f: Fields) -> Built:
    """DeepSeek V4: compressed caches, hyper-connections, experts in every layer."""
    heads = shape(f)
    hidden, dim = heads.hidden, heads.dim
    rank, groups = f.integer("q_lora_rank"), f.integer("o_groups")
    out = groups * f.integer("o_lora_rank")
    n = f.integer("hc_mult", default=4, high=64)
    window = f.integer("sliding_window", default=128)
    index_heads, index_dim = f.integer("index_n_heads"), f.integer("index_head_dim")
    t = Traits(
        moe=deepseek_moe(f),
        mlp_bias=f.flag("mlp_bias"),
        more=_streams("model.hc_head", n, n, hidden, 1, Stage.LAST),
    )
    names = f.texts("layer_types") or ()
    if set(names) - _RATIO_OF.keys():
        f.wrong("layer_types", [*dict.fromkeys(names)], f"one of {', '.join(_RATIO_OF)} each")
    ratios = f.integers("compress_ratios") or tuple(_RATIO_OF.get(name, 0) for name in names)
    if set(ratios) - set(_RATIOS):
        f.wrong("compress_ratios", list(ratios), "one of 0, 4 or 128 for each layer")
    attention = (
        linear("self_attn.q_a_proj", rank, hidden, Split.NONE, Part.ATTENTION)
        + norm("self_attn.q_a_norm", rank)
        + linear("self_attn.q_b_proj", heads.heads * dim, rank, Split.COLUMN, Part.ATTENTION)
        + linear("self_attn.kv_proj", dim, hidden, Split.NONE, Part.ATTENTION)
        + norm("self_attn.kv_norm", dim)
        + linear(
            "self_attn.o_a_proj",
            out,
            max(1, heads.heads * dim // groups),
            Split.COLUMN,
            Part.ATTENTION,
        )
        + linear("self_attn.o_b_proj", hidden, out, Split.ROW, Part.ATTENTION)
        + loose("self_attn.sinks", (heads.heads,), Split.COLUMN, Part.ATTENTION)
    )
    streams = _streams("attn_hc", (2 + n) * n, n, hidden, 3) + _streams(
        "ffn_hc", (2 + n) * n, n, hidden, 3
    )

    def make(ratio: int) -> Block:
        feed, ff = feed_forward(t, hidden, 0, sparse=True)
        tensors = attention + _compressor(ratio, hidden, dim)
        mixers = [Mixer(MixerKind.SLIDING, heads.heads, 1, dim, 0, window=window)]
        if ratio == _RATIOS[1]:
            tensors += _indexer(ratio, hidden, index_dim, index_heads, rank)
        if ratio:
            indexed = index_dim // ratio if ratio == _RATIOS[1] else 0
            mixers.append(
                Mixer(
                    MixerKind.MLA,
                    heads.heads,
                    1,
                    -(-dim // ratio),
                    0,
                    index_dim=indexed,
                    ratio=ratio,
                )
            )
        return Block(tuple(mixers), ff, tensors + feed + streams + layer_norms(t, hidden))

    keys = [ratios[i] if i < len(ratios) else 0 for i in range(layers_of(f))]
    return assemble(f, t, hidden, heads.heads, make, keys)


def _streams(
    name: str, rows: int, n: int, hidden: int, scales: int, stage: Stage = Stage.FIRST
) -> Tensors:
    """Hyper-connections: what mixes the n streams, its offsets and its scales."""
    return (
        loose(f"{name}.fn", (rows, n * hidden), stage=stage)
        + loose(f"{name}.base", (rows,), stage=stage)
        + loose(f"{name}.scale", (scales,), stage=stage)
    )


def _compressor(ratio: int, hidden: int, dim: int, name: str = "self_attn.compressor") -> Tensors:
    """What makes one vector of `ratio` tokens; the small ratio looks at two windows at once.

    The checkpoint and vLLM keep it in 16 bits (compressor.py: no quantization).
    """
    if not ratio:
        return ()
    rows = dim * (2 if ratio == _RATIOS[1] else 1)
    return (
        loose(f"{name}.kv_proj.weight", (rows, hidden), part=Part.ATTENTION)
        + loose(f"{name}.gate_proj.weight", (rows, hidden), part=Part.ATTENTION)
        + loose(f"{name}.position_bias", (ratio, rows), part=Part.ATTENTION)
        + norm(f"{name}.kv_norm", dim)
    )


def _indexer(ratio: int, hidden: int, dim: int, heads: int, rank: int) -> Tensors:
    name = "self_attn.compressor.indexer"
    return (
        _compressor(ratio, hidden, dim, name)
        + linear(f"{name}.q_b_proj", heads * dim, rank, Split.NONE, Part.ATTENTION)
        + loose(f"{name}.weights_proj.weight", (heads, hidden), part=Part.ATTENTION)
    )
