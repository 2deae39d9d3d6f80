"""Dense families: what sets each apart from LLaMA.

It must not build a plain layer: it says traits, and adds what the family has beside them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, MixerKind, Part, Split, Stage
from plimsoll.models.blocks.decoder import Built, Traits, decoder, kinds_from, layers_of, shape
from plimsoll.models.blocks.parts import linear, loose, norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


def windowed(f: Fields, t: Traits, *, default_window: int = 0, pattern: int = 0) -> Traits:
    """With sliding layers as the config says."""
    window = f.integer("sliding_window", default=default_window, low=0)
    if not window:
        return t
    return replace(t, window=window, kinds=kinds_from(f, layers_of(f), default_pattern=pattern))


def all_sliding(f: Fields, t: Traits) -> Traits:
    """Every layer slides where the config has a window and does not switch it off."""
    window = f.integer("sliding_window", default=0, low=0)
    if not window or not f.flag("use_sliding_window", default=True):
        return t
    if f.has("layer_types"):
        return windowed(f, t)
    return replace(t, window=window, kinds=lambda _: MixerKind.SLIDING)


def qwen_sliding(f: Fields, t: Traits) -> Traits:
    """Qwen2 and 3: off unless ``use_sliding_window``; then from ``max_window_layers`` on."""
    if not f.flag("use_sliding_window"):
        return t
    first = f.integer("max_window_layers", default=0, low=0)
    return replace(
        t, window=f.integer("sliding_window", default=4096),
        kinds=lambda i: MixerKind.SLIDING if i >= first else MixerKind.FULL,
    )  # fmt: skip


def attention_biases(f: Fields, t: Traits) -> Traits:
    """With biases on q, k, v and o where ``attention_bias`` says so."""
    bias = f.flag("attention_bias")
    return replace(t, qkv_bias=bias, o_bias=bias)


def llama(f: Fields) -> Built:
    """LLaMA, Mistral, Granite, SmolLM3, Yi, Seed-OSS ..."""
    bias = f.flag("attention_bias", "qkv_bias")
    t = Traits(
        qkv_bias=bias, o_bias=f.flag("attention_out_bias", default=bias),
        mlp_bias=f.flag("mlp_bias"),
    )  # fmt: skip
    return decoder(f, all_sliding(f, t))


def internlm(f: Fields) -> Built:
    """InternLM 1 and 2: LLaMA with biases where ``bias`` says so."""
    bias = f.flag("bias")
    return decoder(f, Traits(qkv_bias=bias, o_bias=bias))


def granite(f: Fields) -> Built:
    """Granite: LLaMA with a tied head by default."""
    return decoder(f, attention_biases(f, Traits(tied=True, mlp_bias=f.flag("mlp_bias"))))


def smollm3(f: Fields) -> Built:
    """SmolLM3: LLaMA, tied."""
    return decoder(f, attention_biases(f, Traits(tied=True, mlp_bias=f.flag("mlp_bias"))))


def qwen2(f: Fields) -> Built:
    """Qwen2 and 2.5: biases on q, k, v."""
    return decoder(f, qwen_sliding(f, Traits(qkv_bias=True)))


def qwen3(f: Fields) -> Built:
    """Qwen3: norms on the heads of q and k."""
    return decoder(f, qwen_sliding(f, attention_biases(f, Traits(qk_norm="head"))))


def hunyuan_dense(f: Fields) -> Built:
    """Hunyuan (dense): norms on the heads of q and k."""
    return decoder(f, attention_biases(f, Traits(qk_norm="head")))


def phi3(f: Fields) -> Built:
    """Phi-3 and 4: LLaMA with fused projections."""
    return decoder(f, all_sliding(f, Traits()))


def gemma(f: Fields) -> Built:
    """Gemma 1: tied."""
    return decoder(f, attention_biases(f, Traits(tied=True)))


def gemma2(f: Fields) -> Built:
    """Gemma 2: four norms, every other layer slides."""
    t = attention_biases(f, Traits(tied=True, norms=4))
    return decoder(f, windowed(f, t, default_window=4096, pattern=2))


def gemma3(f: Fields) -> Built:
    """Gemma 3: four norms, norms on q and k, five of six layers slide."""
    t = attention_biases(f, Traits(tied=True, norms=4, qk_norm="head"))
    return decoder(f, windowed(f, t, default_window=4096, pattern=6))


def olmo(f: Fields) -> Built:
    """OLMo: norms without parameters."""
    return decoder(f, attention_biases(f, Traits(norm_weight=False)))


def olmo2(f: Fields) -> Built:
    """OLMo 2: norms over all of q and k."""
    return decoder(f, attention_biases(f, Traits(qk_norm="whole")))


def olmo3(f: Fields) -> Built:
    """OLMo 3: OLMo 2 with three of four layers sliding."""
    return decoder(f, windowed(f, attention_biases(f, Traits(qk_norm="whole")), pattern=4))


def cohere(f: Fields) -> Built:
    """Command R: one norm, parallel, tied; Plus has a norm for each head of q and k."""
    norms = "per-head" if f.flag("use_qk_norm") else ""
    return decoder(f, attention_biases(f, Traits(norms=1, tied=True, qk_norm=norms)))


def cohere2(f: Fields) -> Built:
    """Command A and R7B: one norm, tied, three of four layers slide."""
    return decoder(f, windowed(f, attention_biases(f, Traits(norms=1, tied=True)), pattern=4))


def stablelm(f: Fields) -> Built:
    """StableLM: norms with bias; parallel ones have one; norms for each head."""
    parallel = f.flag("use_parallel_residual")
    t = Traits(
        norms=1 if parallel else 2, norm_bias=True, qkv_bias=f.flag("use_qkv_bias"),
        qk_norm="per-head" if f.flag("qk_layernorm") else "",
    )  # fmt: skip
    return decoder(f, t)


def starcoder2(f: Fields) -> Built:
    """StarCoder2: biases everywhere, no gate, sliding."""
    bias = f.flag("use_bias", default=True)
    t = Traits(norm_bias=True, gated=False, qkv_bias=bias, o_bias=bias, mlp_bias=bias, tied=True)
    return decoder(f, all_sliding(f, t))


def glm(f: Fields) -> Built:
    """GLM-4: biases on q, k, v."""
    return decoder(f, Traits(qkv_bias=f.flag("attention_bias")))


def glm4(f: Fields) -> Built:
    """GLM-4-0414: four norms."""
    return decoder(f, Traits(norms=4, qkv_bias=f.flag("attention_bias")))


def nemotron(f: Fields) -> Built:
    """Nemotron 3/4 and Minitron: norms with bias, no gate."""
    t = Traits(norm_bias=True, gated=False, mlp_bias=f.flag("mlp_bias"))
    return decoder(f, attention_biases(f, t))


def exaone4(f: Fields) -> Built:
    """EXAONE 4: norms on q and k, hybrid sliding."""
    return decoder(f, windowed(f, Traits(qk_norm="head"), pattern=4))


def ernie(f: Fields) -> Built:
    """ERNIE 4.5: tied."""
    bias = f.flag("use_bias")
    return decoder(f, Traits(tied=True, qkv_bias=bias, o_bias=bias, mlp_bias=bias))


def mllama(f: Fields) -> Built:
    """Llama 3.2 Vision: cross-attention layers among LLaMA's, eight more embeddings."""
    t = Traits()
    heads = shape(f, t)
    cross = set(f.integers("cross_attention_layers") or ())
    built = decoder(
        f, replace(t, kinds=lambda i: MixerKind.CROSS if i in cross else MixerKind.FULL)
    )
    made: dict[int, Block] = {}
    blocks = []
    for block in built.blocks:
        if block.mixers[0].kind is MixerKind.CROSS:
            if id(block) not in made:
                made[id(block)] = _crossing(block, heads.dim)
            block = made[id(block)]
        blocks.append(block)
    wider = tuple(
        replace(x, shape=(x.shape[0] + 8, x.shape[1])) if x.part is Part.EMBEDDING else x
        for x in built.outside
    )
    return replace(built, blocks=tuple(blocks), outside=wider)


def _crossing(block: Block, dim: int) -> Block:
    """The block as a cross-attention layer: other names, norms on the heads, two gates."""
    renamed = tuple(
        replace(t, name=t.name.replace("self_attn.", "cross_attn.", 1)) for t in block.tensors
    )
    own = (
        norm("cross_attn.q_norm", dim) + norm("cross_attn.k_norm", dim)
        + loose("cross_attn_attn_gate", (1,)) + loose("cross_attn_mlp_gate", (1,))
    )  # fmt: skip
    return replace(block, tensors=renamed + own)


def mimo(f: Fields) -> Built:
    """MiMo: Qwen2's layers; its MTP layer is stored and not served."""
    built = decoder(f, Traits(qkv_bias=f.flag("attention_bias", default=True)))
    hidden = built.hidden
    mtp = (
        norm("mtp.token_layernorm", hidden) + norm("mtp.hidden_layernorm", hidden)
        + norm("mtp.final_layernorm", hidden)
        + linear("mtp.input_proj", hidden, 2 * hidden, Split.NONE, Part.OTHER, stage=Stage.LAST)
    )  # fmt: skip
    number = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return replace(built, extra=(built.blocks[0].tensors + mtp) * number)


def without_gate_bias(built: Built) -> Built:
    """Gate and up without their biases; like layers stay one block."""
    without = ("mlp.gate_proj.bias", "mlp.up_proj.bias")
    made: dict[int, Block] = {}
    for block in built.blocks:
        kept = tuple(t for t in block.tensors if t.name not in without)
        made.setdefault(id(block), replace(block, tensors=kept))
    return replace(built, blocks=tuple(made[id(block)] for block in built.blocks))
