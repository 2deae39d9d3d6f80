"""Small architectures made by hand for tests of the memory model: only what a test varies is said.

They must not depend on `plimsoll.models.config`, so that a fault there shows up there.
"""

from __future__ import annotations

from dataclasses import replace

from plimsoll.accelerators.types import Accelerator
from plimsoll.models.architecture import (
    Architecture,
    Block,
    FeedForward,
    Mixer,
    MixerKind,
    Part,
    Split,
    Stage,
    Tensor,
)
from plimsoll.units import MIB

H100 = Accelerator(
    "nvidia-h100-80gb", "NVIDIA H100 80GB", 81559 * MIB, "nvidia.com/gpu", "hopper", (9, 0), 8
)
A100 = Accelerator(
    "nvidia-a100-80gb", "NVIDIA A100 80GB", 81920 * MIB, "nvidia.com/gpu", "ampere", (8, 0), 8
)
L4 = Accelerator("nvidia-l4", "NVIDIA L4", 23034 * MIB, "nvidia.com/gpu", "ada", (8, 9), 8)
T4 = Accelerator("nvidia-t4", "NVIDIA T4", 15360 * MIB, "nvidia.com/gpu", "turing", (7, 5), 8)
B200 = Accelerator(
    "nvidia-b200", "NVIDIA B200", 183359 * MIB, "nvidia.com/gpu", "blackwell", (10, 0), 8
)


def attention(hidden: int, heads: int, kv_heads: int, head_dim: int) -> tuple[Tensor, ...]:
    """The four projections of an attention layer."""
    part = Part.ATTENTION
    return (
        Tensor("self_attn.q_proj.weight", (heads * head_dim, hidden), Split.COLUMN, part, 1, True),
        Tensor(
            "self_attn.k_proj.weight", (kv_heads * head_dim, hidden), Split.KV_HEADS, part, 1, True
        ),
        Tensor(
            "self_attn.v_proj.weight", (kv_heads * head_dim, hidden), Split.KV_HEADS, part, 1, True
        ),
        Tensor("self_attn.o_proj.weight", (hidden, heads * head_dim), Split.ROW, part, 1, True),
        Tensor("input_layernorm.weight", (hidden,), Split.NONE, Part.NORM),
    )


def mlp(hidden: int, width: int) -> tuple[Tensor, ...]:
    """A gated MLP with its norm."""
    return (
        Tensor("mlp.gate_proj.weight", (width, hidden), Split.COLUMN, Part.MLP, 1, True),
        Tensor("mlp.up_proj.weight", (width, hidden), Split.COLUMN, Part.MLP, 1, True),
        Tensor("mlp.down_proj.weight", (hidden, width), Split.ROW, Part.MLP, 1, True),
        Tensor("post_attention_layernorm.weight", (hidden,), Split.NONE, Part.NORM),
    )


def experts(hidden: int, width: int, number: int) -> tuple[Tensor, ...]:
    """Routed experts with their router."""
    name = "mlp.experts.{}.weight"
    column, row = Split.EXPERT_COLUMN, Split.EXPERT_ROW
    part = Part.EXPERTS
    return (
        Tensor("mlp.gate.weight", (number, hidden), Split.NONE, Part.ROUTER, 1, True),
        Tensor(name.format("gate_proj"), (width, hidden), column, part, number, True),
        Tensor(name.format("up_proj"), (width, hidden), column, part, number, True),
        Tensor(name.format("down_proj"), (hidden, width), row, part, number, True),
        Tensor("post_attention_layernorm.weight", (hidden,), Split.NONE, Part.NORM),
    )


def outside(hidden: int, vocab: int, tied: bool) -> tuple[Tensor, ...]:
    """Embedding, last norm, and the head if it is not the embedding."""
    tensors = [
        Tensor("model.embed_tokens.weight", (vocab, hidden), Split.VOCAB, Part.EMBEDDING),
        Tensor("model.norm.weight", (hidden,), Split.NONE, Part.NORM, stage=Stage.LAST),
    ]
    if not tied:
        tensors.append(
            Tensor(
                "lm_head.weight",
                (vocab, hidden),
                Split.VOCAB,
                Part.HEAD,
                linear=True,
                stage=Stage.LAST,
            )
        )
    return tuple(tensors)


def build(
    blocks: tuple[Block, ...],
    *,
    hidden: int,
    vocab: int = 32000,
    heads: int = 32,
    max_model_len: int = 32768,
    tied: bool = False,
    dtype: str = "bfloat16",
) -> Architecture:
    """An architecture of the given layers."""
    return Architecture(
        "test",
        "TestForCausalLM",
        dtype,
        hidden,
        vocab,
        max_model_len,
        heads,
        blocks,
        outside(hidden, vocab, tied),
        tied=tied,
    )


def dense(
    *,
    layers: int = 4,
    hidden: int = 1024,
    heads: int = 16,
    kv_heads: int = 4,
    head_dim: int = 64,
    width: int = 4096,
    vocab: int = 32000,
    max_model_len: int = 32768,
    tied: bool = False,
) -> Architecture:
    """A dense transformer of like layers."""
    block = Block(
        (Mixer(MixerKind.FULL, heads, kv_heads, head_dim, head_dim),),
        FeedForward(width),
        attention(hidden, heads, kv_heads, head_dim) + mlp(hidden, width),
    )
    return build(
        (block,) * layers,
        hidden=hidden,
        vocab=vocab,
        heads=heads,
        max_model_len=max_model_len,
        tied=tied,
    )


LLAMA_70B = dense(
    layers=80,
    hidden=8192,
    heads=64,
    kv_heads=8,
    head_dim=128,
    width=28672,
    vocab=128256,
    max_model_len=131072,
)
LLAMA_8B = dense(
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    width=14336,
    vocab=128256,
    max_model_len=131072,
)


def moe(
    *, layers: int = 4, hidden: int = 1024, number: int = 8, per_token: int = 2, width: int = 2048
) -> Architecture:
    """A mixture of experts of like layers, 16 heads, 4 of them for keys and values."""
    block = Block(
        (Mixer(MixerKind.FULL, 16, 4, 64, 64),),
        FeedForward(0, number, per_token, width),
        attention(hidden, 16, 4, 64) + experts(hidden, width, number),
    )
    return build((block,) * layers, hidden=hidden, heads=16)


def windows(
    *, full: int, sliding: int, window: int, kv_heads: int, head_dim: int, hidden: int = 1024
) -> Architecture:
    """Layers with full and with sliding attention, the sliding ones first in every repeat."""
    heads = kv_heads * 2
    tensors = attention(hidden, heads, kv_heads, head_dim) + mlp(hidden, 4 * hidden)
    slides = Block(
        (Mixer(MixerKind.SLIDING, heads, kv_heads, head_dim, head_dim, window),),
        FeedForward(4 * hidden),
        tensors,
    )
    sees_all = replace(slides, mixers=(Mixer(MixerKind.FULL, heads, kv_heads, head_dim, head_dim),))
    blocks: list[Block] = []
    each, left = divmod(sliding, max(1, full))
    for _ in range(full):
        blocks += [slides] * each + [sees_all]
    blocks += [slides] * left
    return build(tuple(blocks), hidden=hidden, heads=heads, max_model_len=131072)


def latent(*, layers: int = 27, heads: int = 16, hidden: int = 2048) -> Architecture:
    """Multi-head latent attention as in DeepSeek V2 and V3: 512 + 64 elements a token."""
    part = Part.ATTENTION
    block = Block(
        (Mixer(MixerKind.MLA, heads, 1, 576, 0),),
        FeedForward(4096),
        (
            Tensor("self_attn.q_proj.weight", (heads * 192, hidden), Split.COLUMN, part, 1, True),
            Tensor("self_attn.kv_a_proj_with_mqa.weight", (576, hidden), Split.NONE, part, 1, True),
            Tensor("self_attn.kv_b_proj.weight", (heads * 256, 512), Split.COLUMN, part, 1, True),
            Tensor("self_attn.o_proj.weight", (hidden, heads * 128), Split.ROW, part, 1, True),
            *mlp(hidden, 4096),
        ),
    )
    return build((block,) * layers, hidden=hidden, heads=heads, vocab=102400, max_model_len=163840)


def hybrid(
    *, attending: int = 6, recurrent: int = 18, state_dtype: str = "float32"
) -> Architecture:
    """Recurrent layers with some attention between, as in Qwen3-Next."""
    hidden, heads, kv_heads = 2048, 16, 2
    sees_all = Block(
        (Mixer(MixerKind.FULL, heads, kv_heads, 256, 256),),
        FeedForward(4096),
        attention(hidden, heads, kv_heads, 256) + mlp(hidden, 4096),
    )
    remembers = Block(
        (
            Mixer(
                MixerKind.LINEAR,
                32,
                16,
                128,
                128,
                conv_elements=3 * 8192,
                state_elements=32 * 128 * 128,
                state_dtype=state_dtype,
            ),
        ),
        FeedForward(4096),
        (
            Tensor(
                "linear_attn.in_proj.weight", (12288, hidden), Split.COLUMN, Part.MIXER, 1, True
            ),
            Tensor("linear_attn.out_proj.weight", (hidden, 4096), Split.ROW, Part.MIXER, 1, True),
            *mlp(hidden, 4096),
        ),
    )
    each = recurrent // attending
    return build(
        ((remembers,) * each + (sees_all,)) * attending, hidden=hidden, heads=heads, vocab=151936
    )


MODELS = {
    "dense": LLAMA_8B,
    "large": LLAMA_70B,
    "moe": moe(number=64, per_token=8),
    "mla": latent(),
    "windows": windows(full=5, sliding=29, window=1024, kv_heads=4, head_dim=256),
    "hybrid": hybrid(),
}
"""A model of each kind of layer."""
