"""Families whose full and sliding layers have attention of different shapes.

It must not build a layer; it only says traits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import MixerKind, Part, Split, Stage, Tensor
from plimsoll.models.blocks.decoder import (
    Built,
    Moe,
    Traits,
    decoder,
    kinds_from,
    layers_of,
    shape,
)
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm
from plimsoll.models.families.dense import attention_biases
from plimsoll.models.families.sparse import first_dense

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.blocks.attention import Heads
    from plimsoll.models.blocks.fields import Fields


def heads_by_kind(full: Heads, sliding: Heads) -> Callable[[MixerKind], Heads]:
    """Another attention shape for sliding layers."""
    return lambda kind: sliding if kind is MixerKind.SLIDING else full


def mimo_v2(f: Fields) -> Built:
    """MiMo-V2: sliding and full layers of different attention shapes.

    transformers writes ``layer_types`` and no shape of sliding layers: they have twice the heads
    of keys and values there, and sinks.
    """
    named = f.has("layer_types")
    biased = attention_biases(f, Traits())
    full = shape(f, replace(biased, o_bias=False))
    v_dim = f.integer("v_head_dim", default=full.dim)
    full = replace(full, v_dim=v_dim, sinks=f.flag("add_full_attention_sink_bias"))
    sliding = replace(
        full, heads=f.integer("swa_num_attention_heads", default=full.heads),
        kv=f.integer("swa_num_key_value_heads", default=full.kv * (2 if named else 1)),
        dim=f.integer("swa_head_dim", default=full.dim),
        v_dim=f.integer("swa_v_head_dim", default=v_dim),
        sinks=f.flag("add_swa_attention_sink_bias", default=named),
    )  # fmt: skip
    pattern = f.integers("hybrid_layer_pattern") or ()
    by_name = kinds_from(f, layers_of(f))
    m = Moe(f.integer("n_routed_experts"), f.integer("num_experts_per_tok"),
            f.integer("moe_intermediate_size"))  # fmt: skip
    t = Traits(
        moe=m, moe_at=first_dense(f), window=f.integer("sliding_window", default=128),
        kinds=by_name if named else lambda i: (
            MixerKind.SLIDING if i < len(pattern) and pattern[i] else MixerKind.FULL
        ),
        heads_of=heads_by_kind(full, sliding),
    )  # fmt: skip
    return decoder(f, t)


def gemma4(f: Fields) -> Built:
    """Gemma 4: Gemma 3 with wider heads in full layers, experts beside the dense MLP.

    The last ``num_kv_shared_layers`` layers have no keys and values of their own; an embedding
    for each layer (``hidden_size_per_layer_input``) where there is one.
    """
    sliding = replace(shape(f, attention_biases(f, Traits())), qk_norm="head")
    hidden, count = sliding.hidden, layers_of(f)
    same = f.flag("attention_k_eq_v")
    kinds = kinds_from(f, count, default_pattern=6)
    own = _of_full_layers(f, kinds, count)
    wide = f.integer("global_head_dim", default=own.integer("head_dim", default=sliding.dim))
    kv = f.integer(
        "num_global_key_value_heads", default=own.integer("num_key_value_heads", default=sliding.kv)
    )
    full = replace(sliding, dim=wide, v_dim=wide, v_from_k=same, kv=kv if same else sliding.kv)
    moe: Moe | None = None
    beside: Tensors = ()
    if f.flag("enable_moe_block"):
        moe = Moe(f.integer("num_experts"), f.integer("top_k_experts", "num_experts_per_tok"),
                  f.integer("moe_intermediate_size"))  # fmt: skip
        beside = loose("router.scale", (hidden,), part=Part.ROUTER) + loose(
            "router.per_expert_scale", (moe.count,), part=Part.ROUTER
        )
    first_shared = count - f.integer("num_kv_shared_layers", default=0, low=0)
    width = f.integer("intermediate_size")
    double = 2 if f.flag("use_double_wide_mlp") else 1
    each, more = _per_layer_input(f, hidden, count)
    t = Traits(
        tied=True, norms=7 if moe else 4, moe=moe, dense_beside_moe=moe is not None,
        heads_of=heads_by_kind(full, sliding), window=f.integer("sliding_window", default=512),
        kinds=kinds, shares_kv=lambda i: i >= first_shared,
        width_at=lambda i: width * double if i >= first_shared else width,
        attention_more=each, sparse_more=beside, more=more,
    )  # fmt: skip
    return decoder(f, t)


def _of_full_layers(f: Fields, kinds: Callable[[int], MixerKind], count: int) -> Fields:
    """What ``per_layer_config`` says of full layers: transformers' word since version 5.23."""
    given = f.section("per_layer_config")
    for name in given.data if given is not None else ():
        number = int(name) if isinstance(name, str) and name.isdecimal() and len(name) < 6 else -1
        if 0 <= number < count and kinds(number) is MixerKind.FULL:
            return (given and given.section(name)) or f.empty()
    return f.empty()


def _per_layer_input(f: Fields, hidden: int, count: int) -> tuple[Tensors, Tensors]:
    """Gemma 4's embedding of every token for every layer: tensors of a layer, and outside."""
    width = f.integer("hidden_size_per_layer_input", default=0, low=0)
    if not width:
        return (), ()
    each = linear("per_layer_input_gate", width, hidden, Split.NONE, Part.OTHER)
    each += linear("per_layer_projection", hidden, width, Split.NONE, Part.OTHER)
    each += norm("post_per_layer_input_norm", hidden)
    rows = f.integer("vocab_size_per_layer_input", default=262144)
    whole: Tensors = (
        Tensor("model.embed_tokens_per_layer.weight", (rows, count * width), Split.VOCAB,
               Part.EMBEDDING, stage=Stage.EVERY),
    )  # fmt: skip
    whole += linear("model.per_layer_model_projection", count * width, hidden, Split.NONE,
                    Part.OTHER, stage=Stage.EVERY)  # fmt: skip
    return each, whole + norm("model.per_layer_projection_norm", width, stage=Stage.EVERY)


def step3(f: Fields) -> Built:
    """Step 3.5 and 3.7: sliding and full layers of different heads, a shared expert."""
    t = Traits(qk_norm="head")
    full = replace(shape(f, t), head_gate=True)
    other = f.section("attention_other_setting")
    sliding = replace(
        full, heads=f.integer("num_sliding_attention_heads", default=full.heads)
    )  # fmt: skip
    if other is not None:
        sliding = replace(
            full, heads=other.integer("num_attention_heads", default=full.heads),
            kv=other.integer("num_attention_groups", "num_key_value_heads", default=full.kv),
        )  # fmt: skip
    width = f.integer("moe_intermediate_size")
    m = Moe(f.integer("moe_num_experts", "n_routed_experts", "num_experts"),
            f.integer("moe_top_k", "num_experts_per_tok"), width,
            shared=f.integer("share_expert_dim", default=width))  # fmt: skip
    first = f.integer("first_k_dense_replace", default=3, low=0)
    named = f.has("mlp_layer_types")
    t = replace(
        t, moe=m, moe_at=first_dense(f) if named else lambda i: i >= first,
        heads_of=heads_by_kind(full, sliding),
        window=f.integer("sliding_window", default=512), kinds=kinds_from(f, layers_of(f)),
    )  # fmt: skip
    return decoder(f, t)


def gemma3n(f: Fields) -> Built:
    """Gemma 3n: copies of the hidden state, a low-rank path beside attention, an embedding for
    each layer; the last ``num_kv_shared_layers`` layers have no keys and values of their own.
    """
    own = replace(shape(f, attention_biases(f, Traits())), qk_norm="head")
    hidden, count = own.hidden, layers_of(f)
    copies = f.integer("altup_num_inputs", default=4, high=64)
    rank = f.integer("laurel_rank", default=64)
    each, more = _per_layer_input(f, hidden, count)
    each += loose("altup.correct_output_scale", (hidden,))
    for name, rows, columns in (
        ("altup.correction_coefs", copies, copies), ("altup.modality_router", copies, hidden),
        ("altup.prediction_coefs", copies * copies, copies),
    ):  # fmt: skip
        each += linear(name, rows, columns, Split.NONE, Part.OTHER)
    each += norm("altup.router_norm", hidden) + norm("laurel.post_laurel_norm", hidden)
    each += linear("laurel.linear_left", rank, hidden, Split.COLUMN, Part.OTHER)
    each += linear("laurel.linear_right", hidden, rank, Split.ROW, Part.OTHER)
    for number in range(copies - 1):
        for name in ("altup_projections", "altup_unembed_projections"):
            more += linear(f"model.{name}.{number}", hidden, hidden, Split.COLUMN, Part.OTHER,
                           stage=Stage.EVERY)  # fmt: skip
    widths = f.integers("intermediate_size") if isinstance(
        f.raw("intermediate_size"), list
    ) else (f.integer("intermediate_size", default=16384),) * count  # fmt: skip
    if widths is None or len(widths) < count or 0 in widths:
        f.wrong("intermediate_size", f.raw("intermediate_size"), f"a width for {count} layers")
        f.stop_if_wrong()
    first_shared = count - f.integer("num_kv_shared_layers", default=15, low=0)
    t = Traits(
        tied=True, norms=4, heads_of=lambda _: own, window=f.integer("sliding_window", default=512),
        kinds=kinds_from(f, count, default_pattern=5), shares_kv=lambda i: i >= first_shared,
        width_at=lambda i: widths[i] if widths else 1, attention_more=each, more=more,
    )  # fmt: skip
    return decoder(f, t)
