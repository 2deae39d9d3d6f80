"""Whisper, and Ultravox, which hears with Whisper's encoder.

    decoder layer   self attention, cross attention, MLP; biases except on k; three norms
    outside         the encoder; embedding (tied head), learned positions, the last norm

Source: vLLM 0.33.0, vllm/model_executor/models/whisper.py. Ultravox's projector was not read from
code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.models.architecture import Block, FeedForward, Mixer, MixerKind, Part, Split
from plimsoll.models.blocks.decoder import Built, Traits, assemble
from plimsoll.models.blocks.parts import Tensors, linear, mlp, norm
from plimsoll.models.blocks.vit import P
from plimsoll.models.blocks.whisper import audio_norm, whisper_encoder

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields


def whisper(f: Fields) -> Built:
    """Whisper."""
    hidden, heads = f.integer("d_model"), f.integer("decoder_attention_heads")
    width = f.integer("decoder_ffn_dim")
    count = f.integer("decoder_layers", high=1000)
    rows = f.integer("max_target_positions", default=448)
    encoder, _ = whisper_encoder(f)
    f.stop_if_wrong()
    dim = max(1, hidden // heads)
    tensors: Tensors = ()
    for name in ("self_attn", "encoder_attn"):
        for word in "qkv":
            split = Split.COLUMN if word == "q" else Split.KV_HEADS
            tensors += linear(
                f"{name}.{word}_proj", hidden, hidden, split, Part.ATTENTION, bias=word != "k"
            )
        tensors += linear(f"{name}.out_proj", hidden, hidden, Split.ROW, Part.ATTENTION, bias=True)
        tensors += norm(f"{name}_layer_norm", hidden, bias=True)
    tensors += mlp(hidden, width, gated=False, bias=True)
    tensors += norm("final_layer_norm", hidden, bias=True)
    mixers = tuple(
        Mixer(kind, heads, heads, dim, dim) for kind in (MixerKind.FULL, MixerKind.CROSS)
    )
    block = Block(mixers, FeedForward(width, gated=False), tensors)
    t = Traits(norm_bias=True, tied=True, positions=rows, more=encoder)
    return assemble(f, t, hidden, heads, lambda _: block, [0] * count)


def ultravox_audio(top: Fields, a: Fields, text: int) -> Tensors:
    """Ultravox: the audio tower and its projector."""
    tensors, h = whisper_encoder(a)
    wide = h * top.integer("stack_factor", default=8, high=1000)
    inner = top.integer("hidden_size", default=4096)
    middle = top.flag("projector_ln_mid")
    tensors += audio_norm("projector.ln_pre", wide, P, bias=False)
    tensors += linear("projector.audio_1", inner, wide, Split.NONE, P)
    tensors += linear("projector.audio_2", text, inner // 2, Split.NONE, P)
    return tensors + audio_norm("projector.ln", inner // 2 if middle else text, P, bias=False)
