"""Gemma: dense, with experts, with an embedding for each layer; PaliGemma; their towers.

audio     Gemma 3n's conformer: two MLPs, attention with relative positions, a gated
          convolution, without biases
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import MixerKind, Part, Split, Stage, Tensor
from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder, kinds_from, layers_of, shape
from plimsoll.models.blocks.family import (
    ATTENTION_BIAS,
    Family,
    attention_biases,
    heads_by_kind,
    windowed,
)
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm
from plimsoll.models.blocks.towers import (
    A,
    P,
    V,
    audio_norm,
    basics,
    copies,
    one_size,
    patches_on_edge,
    siglip,
    vit_norm,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll.models.architecture import Tower
    from plimsoll.models.blocks.fields import Fields

_GEMMA4_FRAMES: Final = 32
_GEMMA4_FRAME_TOKENS: Final = 70
_GEMMA4_FRAME_MARKS: Final = 8
_MOBILENET: Final = 294_126_912
"""Elements of MobileNet V5 (300M): what Gemma 3n's two published checkpoints hold beside all that
transformers counts, the same in both."""


GEMMA: Final = Family(traits=Traits(tied=True), attention_bias=ATTENTION_BIAS)
"""Gemma 1: tied."""
GEMMA2: Final = Family(
    traits=Traits(tied=True, norms=4),
    attention_bias=ATTENTION_BIAS,
    slides=partial(windowed, default_window=4096, pattern=2),
)
"""Gemma 2: four norms, every other layer slides."""
GEMMA3: Final = Family(
    traits=Traits(tied=True, norms=4, qk_norm="head"),
    attention_bias=ATTENTION_BIAS,
    slides=partial(windowed, default_window=4096, pattern=6),
)
"""Gemma 3: four norms, norms on q and k, five of six layers slide."""


def gemma4(f: Fields) -> Built:
    """Gemma 4: Gemma 3 with wider heads in full layers, experts beside the dense MLP.

    The last ``num_kv_shared_layers`` layers have no keys and values of their own; an embedding
    for each layer (``hidden_size_per_layer_input``) if there is one.
    """
    sliding = replace(shape(f, attention_biases(f, Traits())), qk_norm="head")
    hidden, count = sliding.hidden, layers_of(f)
    same = f.flag("attention_k_eq_v")
    kinds = kinds_from(f, count, default_pattern=6)
    full_fields = _of_full_layers(f, kinds, count)
    wide = f.integer(
        "global_head_dim", default=full_fields.integer("head_dim", default=sliding.dim)
    )
    kv = f.integer(
        "num_global_key_value_heads",
        default=full_fields.integer("num_key_value_heads", default=sliding.kv),
    )
    full = replace(sliding, dim=wide, v_dim=wide, v_from_k=same, kv=kv if same else sliding.kv)
    moe: Moe | None = None
    beside: Tensors = ()
    if f.flag("enable_moe_block"):
        moe = Moe(
            f.integer("num_experts"),
            f.integer("top_k_experts", "num_experts_per_tok"),
            f.integer("moe_intermediate_size"),
        )
        beside = loose("router.scale", (hidden,), part=Part.ROUTER) + loose(
            "router.per_expert_scale", (moe.count,), part=Part.ROUTER
        )
    first_shared = count - f.integer("num_kv_shared_layers", default=0, low=0)
    width = f.integer("intermediate_size")
    double = 2 if f.flag("use_double_wide_mlp") else 1
    each, more = _per_layer_input(f, hidden, count)
    t = Traits(
        tied=True,
        norms=7 if moe else 4,
        moe=moe,
        dense_beside_moe=moe is not None,
        heads_of=heads_by_kind(full, sliding),
        window=f.integer("sliding_window", default=512),
        kinds=kinds,
        shares_kv=lambda i: i >= first_shared,
        width_at=lambda i: width * double if i >= first_shared else width,
        attention_more=each,
        sparse_more=beside,
        more=more,
    )
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
        Tensor(
            "model.embed_tokens_per_layer.weight",
            (rows, count * width),
            Split.VOCAB,
            Part.EMBEDDING,
            stage=Stage.EVERY,
        ),
    )
    whole += linear(
        "model.per_layer_model_projection",
        count * width,
        hidden,
        Split.NONE,
        Part.OTHER,
        stage=Stage.EVERY,
    )
    return each, whole + norm("model.per_layer_projection_norm", width, stage=Stage.EVERY)


def gemma3n(f: Fields) -> Built:
    """Gemma 3n: copies of the hidden state, a low-rank path beside attention, an embedding for
    each layer; the last ``num_kv_shared_layers`` layers have no keys and values of their own.
    """
    heads = replace(shape(f, attention_biases(f, Traits())), qk_norm="head")
    hidden, count = heads.hidden, layers_of(f)
    copies = f.integer("altup_num_inputs", default=4, high=64)
    rank = f.integer("laurel_rank", default=64)
    each, more = _per_layer_input(f, hidden, count)
    each += loose("altup.correct_output_scale", (hidden,))
    for name, rows, columns in (
        ("altup.correction_coefs", copies, copies),
        ("altup.modality_router", copies, hidden),
        ("altup.prediction_coefs", copies * copies, copies),
    ):
        each += linear(name, rows, columns, Split.NONE, Part.OTHER)
    each += norm("altup.router_norm", hidden) + norm("laurel.post_laurel_norm", hidden)
    each += linear("laurel.linear_left", rank, hidden, Split.COLUMN, Part.OTHER)
    each += linear("laurel.linear_right", hidden, rank, Split.ROW, Part.OTHER)
    for number in range(copies - 1):
        for name in ("altup_projections", "altup_unembed_projections"):
            more += linear(
                f"model.{name}.{number}",
                hidden,
                hidden,
                Split.COLUMN,
                Part.OTHER,
                stage=Stage.EVERY,
            )
    widths = (
        f.integers("intermediate_size")
        if isinstance(f.raw("intermediate_size"), list)
        else (f.integer("intermediate_size", default=16384),) * count
    )
    if widths is None or len(widths) < count or 0 in widths:
        f.wrong("intermediate_size", f.raw("intermediate_size"), f"a width for {count} layers")
        f.stop_if_wrong()
    first_shared = count - f.integer("num_kv_shared_layers", default=15, low=0)
    t = Traits(
        tied=True,
        norms=4,
        heads_of=lambda _: heads,
        window=f.integer("sliding_window", default=512),
        kinds=kinds_from(f, count, default_pattern=5),
        shares_kv=lambda i: i >= first_shared,
        width_at=lambda i: widths[i] if widths else 1,
        attention_more=each,
        more=more,
    )
    return decoder(f, t)


def gemma3_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Gemma 3: the vision tower and its projector."""
    tensors, h = siglip(v)
    tensors += loose("projector.mm_input_projection_weight", (h, text), part=P)
    return tensors + loose("projector.mm_soft_emb_norm.weight", (h,), part=P)


def paligemma_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """PaliGemma: the vision tower and its projector."""
    tensors, h = siglip(v)
    out = v.integer("projection_dim", default=top.integer("projection_dim", default=text))
    return tensors + linear("projector.linear", out, h, Split.NONE, P, bias=True)


def gemma4_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Gemma 4: the vision tower and its projector."""
    h, width, count = basics(v)
    patch = v.integer("patch_size", default=16, high=1024)
    rows = v.integer("position_embedding_size", default=10240)
    dim = v.integer("head_dim", default=max(1, h // v.integer("num_attention_heads", default=16)))
    layer = linear("vision.qkv", 3 * h, h, Split.COLUMN, V)
    layer += linear("vision.proj", h, h, Split.ROW, V)
    for name in ("gate", "up"):
        layer += linear(f"vision.{name}", width, h, Split.COLUMN, V)
    layer += linear("vision.down", h, width, Split.ROW, V)
    for number in range(4):
        layer += vit_norm(f"norm_{number}", h, bias=False)
    layer += vit_norm("q_norm", dim, bias=False) + vit_norm("k_norm", dim, bias=False)
    tensors = loose("vision.patch_embed.weight", (h, 3 * patch * patch), part=V)
    tensors += loose("vision.position_embedding", (2, rows, h), part=V)
    return tensors + copies(layer, count) + linear("projector.linear", text, h, Split.NONE, P)


def gemma3n_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """Gemma 3n: MobileNet V5, of which there is one size."""
    tensors = loose("vision.mobilenet", (_MOBILENET,), part=V)
    return tensors + soft_tokens(v, v.integer("hidden_size", default=2048), text)


def gemma3n_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Gemma 3n's conformer, without biases, and the embeddings in front of the text model."""
    h = a.integer("hidden_size", default=1536)
    heads = a.integer("conf_num_attention_heads", default=8)
    kernel = a.integer("conf_conv_kernel_size", default=5, high=1000)
    wide = 4 * h
    layer: Tensors = ()
    for name in ("ffw_layer_start", "ffw_layer_end"):
        layer += linear(f"audio.{name}.ffw_layer_1", wide, h, Split.NONE, A)
        layer += linear(f"audio.{name}.ffw_layer_2", h, wide, Split.NONE, A)
        layer += audio_norm(f"audio.{name}.pre_layer_norm", h, bias=False)
        layer += audio_norm(f"audio.{name}.post_layer_norm", h, bias=False)
    for name in ("q_proj", "k_proj", "v_proj", "pos_proj", "post", "linear_end"):
        layer += linear(f"audio.{name}", h, h, Split.NONE, A)
    layer += linear("audio.linear_start", 2 * h, h, Split.NONE, A)
    layer += loose("audio.per_dim_scale", (max(1, h // heads),), part=A)
    layer += loose("audio.depthwise_conv1d.weight", (h, 1, kernel), part=A)
    for name in ("pre_attn_norm", "post_norm", "lconv1d_norm", "conv_norm", "norm"):
        layer += audio_norm(f"audio.{name}", h, bias=False)
    bands = a.integer("input_feat_size", default=128, high=10_000)
    channels = a.integers("sscp_conv_channel_size") or (128, 32)
    tensors: Tensors = ()
    source = 1
    for number, rows in enumerate(channels[:8]):
        tensors += loose(f"audio.conv_{number}.weight", (rows, source, 3, 3), part=A)
        tensors += audio_norm(f"audio.conv_{number}.norm", rows, bias=False)
        source, bands = rows, (bands + 1) // 2
    tensors += linear("audio.input_proj_linear", h, source * bands, Split.NONE, A)
    tensors += copies(layer, a.integer("conf_num_hidden_layers", default=12, high=1000))
    return tensors + soft_tokens(a, h, text)


def gemma4_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Gemma 4's conformer: as Gemma 3n's in other names, and a linear out of it.

    Source: transformers 5.x, models/gemma4/modeling_gemma4.py (Gemma4AudioModel).
    """
    h = a.integer("hidden_size", default=1024)
    heads = a.integer("num_attention_heads", default=8)
    layer: Tensors = ()
    for name in ("feed_forward1", "feed_forward2"):
        layer += linear(f"audio.{name}.ffw_layer_1", 4 * h, h, Split.NONE, A)
        layer += linear(f"audio.{name}.ffw_layer_2", h, 4 * h, Split.NONE, A)
        layer += audio_norm(f"audio.{name}.pre_layer_norm", h, bias=False)
        layer += audio_norm(f"audio.{name}.post_layer_norm", h, bias=False)
    for name in ("q_proj", "k_proj", "v_proj", "post", "relative_k_proj", "linear_end"):
        layer += linear(f"audio.{name}", h, h, Split.NONE, A)
    layer += linear("audio.linear_start", 2 * h, h, Split.NONE, A)
    layer += loose("audio.per_dim_scale", (max(1, h // heads),), part=A)
    kernel = a.integer("conv_kernel_size", default=5, high=1000)
    layer += loose("audio.depthwise_conv1d.weight", (h, 1, kernel), part=A)
    for name in ("pre_layer_norm", "conv_norm", "norm_pre_attn", "norm_post_attn", "norm_out"):
        layer += audio_norm(f"audio.{name}", h, bias=False)
    channels = a.integers("subsampling_conv_channels") or (128, 32)
    tensors: Tensors = ()
    source, bands = 1, 128
    for number, rows in enumerate(channels[:8]):
        tensors += loose(f"audio.conv_{number}.weight", (rows, source, 3, 3), part=A)
        tensors += audio_norm(f"audio.conv_{number}.norm", rows, bias=False)
        source, bands = rows, (bands + 1) // 2
    tensors += linear("audio.input_proj_linear", h, source * bands, Split.NONE, A)
    tensors += copies(layer, a.integer("num_hidden_layers", default=12, high=1000))
    out = a.integer("output_proj_dims", default=1536)
    tensors += linear("audio.output_proj", out, h, Split.NONE, A, bias=True)
    return tensors + linear("projector.embedding_projection", text, out, Split.NONE, P)


def soft_tokens(tower: Fields, h: int, text: int) -> Tensors:
    """Gemma 3n's tokens of another sense: their embedding, norms, and the way to the text."""
    rows = tower.integer("vocab_size", default=128)
    tensors = loose("projector.embedding.weight", (rows, h), part=P)
    for name in ("hard", "soft"):
        tensors += audio_norm(f"projector.{name}_embedding_norm", h, P, bias=False)
    return tensors + linear("projector.embedding_projection", text, h, Split.NONE, P)


def gemma3_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Gemma 3: the tower and its largest item."""
    tokens = top.integer("mm_tokens_per_image", default=256)
    return replace(one_size("siglip", v, text, tokens, patches_on_edge(v) ** 2), marks=4)


def paligemma_largest(top: Fields, v: Fields, text: int) -> Tower:
    """PaliGemma: the tower and its largest item."""
    return one_size("siglip", v, text, patches_on_edge(v) ** 2, patches_on_edge(v) ** 2)


def gemma4_largest(top: Fields, v: Fields, text: int) -> Tower:
    """Gemma 4: the tower and its largest item."""
    tokens = v.integer("default_output_length", default=280)
    pool = v.integer("pooling_kernel_size", default=3, high=16) ** 2
    tower = one_size("gemma4", v, text, tokens, tokens * pool)
    return replace(
        tower,
        frame_tokens=_GEMMA4_FRAME_TOKENS,
        frame_patches=_GEMMA4_FRAME_TOKENS * pool,
        frame_marks=_GEMMA4_FRAME_MARKS,
        frames=_GEMMA4_FRAMES,
        cut=False,
        alone=True,
    )
