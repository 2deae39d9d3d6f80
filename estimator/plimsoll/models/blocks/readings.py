"""How fields that several makers share are read: windows, biases, latent attention, experts, MTP.

Nothing here knows a model type.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, MixerKind, Part, Split
from plimsoll.models.blocks.attention import Heads, Latent
from plimsoll.models.blocks.decoder import Built, Moe, Traits, kinds_from, layers_of, shape
from plimsoll.models.blocks.parts import linear, loose, norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.blocks.fields import Fields


def windowed(f: Fields, t: Traits, *, default_window: int = 0, pattern: int = 0) -> Traits:
    """With sliding layers as the config says."""
    window = f.integer("sliding_window", default=default_window, low=0)
    if not window:
        return t
    return replace(t, window=window, kinds=kinds_from(f, layers_of(f), default_pattern=pattern))


def all_sliding(f: Fields, t: Traits) -> Traits:
    """Every layer slides if the config has a window and does not switch it off."""
    window = f.integer("sliding_window", default=0, low=0)
    if not window or not f.flag("use_sliding_window", default=True):
        return t
    if f.has("layer_types"):
        return windowed(f, t)
    return replace(t, window=window, kinds=lambda _: MixerKind.SLIDING)


def attention_biases(f: Fields, t: Traits) -> Traits:
    """With biases on q, k, v and o if ``attention_bias`` says so."""
    bias = f.flag("attention_bias")
    return replace(t, qkv_bias=bias, o_bias=bias)


def without_gate_bias(built: Built) -> Built:
    """Gate and up without their biases; like layers stay one block."""
    without = ("mlp.gate_proj.bias", "mlp.up_proj.bias")
    by_block: dict[int, Block] = {}
    for block in built.blocks:
        kept = tuple(t for t in block.tensors if t.name not in without)
        by_block.setdefault(id(block), replace(block, tensors=kept))
    return replace(built, blocks=tuple(by_block[id(block)] for block in built.blocks))


def latent_of(f: Fields, *, gate: bool = False) -> Latent:
    """The shape of latent attention from DeepSeek's fields. gate: an output gate."""
    heads = shape(f)
    return Latent(
        hidden=heads.hidden,
        heads=heads.heads,
        q_rank=f.optional("q_lora_rank") or 0,
        kv_rank=f.integer("kv_lora_rank"),
        nope=f.integer("qk_nope_head_dim"),
        rope=f.integer("qk_rope_head_dim"),
        v_dim=f.integer("v_head_dim", default=max(1, heads.hidden // heads.heads)),
        bias=f.flag("attention_bias"),
        index_heads=f.optional("index_n_heads") or 0,
        index_dim=f.optional("index_head_dim") or 0,
        gate=gate,
    )


def heads_by_kind(full: Heads, sliding: Heads) -> Callable[[MixerKind], Heads]:
    """Another attention shape for sliding layers."""
    return lambda kind: sliding if kind is MixerKind.SLIDING else full


def first_dense(f: Fields) -> Callable[[int], bool]:
    """Which layers have experts: ``mlp_layer_types``, as transformers writes it from version 5 on,
    or DeepSeek's rule: from ``first_k_dense_replace`` on, every ``moe_layer_freq``-th.
    """
    kinds = f.texts("mlp_layer_types")
    if kinds:
        return lambda i: i >= len(kinds) or kinds[i] != "dense"
    pattern = f.integers("moe_layer_freq") if isinstance(f.raw("moe_layer_freq"), list) else None
    if pattern:
        return lambda i: bool(pattern[i]) if i < len(pattern) else True
    first = f.integer("first_k_dense_replace", default=0, low=0)
    every = f.integer("moe_layer_freq", default=1)
    return lambda i: i >= first and i % every == 0


def deepseek_moe(f: Fields) -> Moe:
    """Experts from DeepSeek's fields: every shared expert is as wide as a routed one."""
    width = f.integer("moe_intermediate_size")
    return Moe(
        f.integer("n_routed_experts"),
        f.integer("num_experts_per_tok"),
        width,
        shared=width * f.integer("n_shared_experts", default=0, low=0),
    )


def with_mtp(f: Fields, built: Built, *, copies: bool = False) -> Built:
    """With the layers for predicting further tokens, which are stored and not served.

    Each is one more layer like the last, a projection of twice the hidden size, and norms.
    copies: the embedding and the head are stored with it once more.
    """
    number = f.integer(
        "num_nextn_predict_layers",
        "num_nextn_predict_layers_in_checkpoint",
        "mtp_num_hidden_layers",
        default=0,
        low=0,
        high=16,
    )
    if not number:
        return built
    hidden, vocab = built.hidden, built.vocab
    further = (
        norm("enorm", hidden)
        + norm("hnorm", hidden)
        + norm("shared_head.norm", hidden)
        + linear("eh_proj", hidden, 2 * hidden, Split.NONE, Part.OTHER)
    )
    if copies:
        further += linear("shared_head.head", vocab, hidden, Split.VOCAB, Part.HEAD)
        further += loose("embed_tokens.weight", (vocab, hidden), Split.VOCAB, Part.EMBEDDING)
    kind = built.blocks[-1].mixers[0].kind
    like = {block for block in built.blocks[-8:] if block.mixers[0].kind is kind}
    layer = max(like, key=lambda block: block.parameters)
    return replace(built, extra=(layer.tensors + further) * number)
