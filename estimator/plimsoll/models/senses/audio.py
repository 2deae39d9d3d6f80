"""Audio towers with their projectors: every tensor, from a config that has one.

It must not know the text model but for its hidden size; a tower of a make that is not known here
is built like Whisper's where its fields are, and said to be assumed.

    Whisper     two convolutions over the mel bands, learned positions, layers without a bias on k
    Qwen Omni   the same with positions that are computed; Qwen3's has three 2-d convolutions
    Gemma 3n    conformer: as Granite's, without biases
    Granite     conformer: two MLPs, attention with relative positions, a gated convolution; a
                query transformer (Q-Former) to the text model

Sources: the modeling files of transformers 5.23.0. Which towers tensor parallelism cuts was read
in vLLM 0.33.0: Whisper's own, Ultravox's, Voxtral's and Qwen3-Omni's; Qwen2-Audio's, Qwen2.5-Omni's
and Granite Speech's are whole on every rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.models.architecture import Part, Split, Tensor
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

A, P = Part.AUDIO, Part.PROJECTOR


def _norm(name: str, width: int, part: Part = A, *, bias: bool = True) -> Tensors:
    found = norm(name, width, bias=bias)
    return tuple(Tensor(t.name, t.shape, Split.NONE, part) for t in found)


def _times(layer: Tensors, count: int) -> Tensors:
    """The tensors of `count` equal layers, as copies."""
    return tuple(Tensor(t.name, t.shape, t.split, t.part, count, t.linear) for t in layer)


def _conv(name: str, *shape: int) -> Tensors:
    return loose(f"{name}.weight", shape, part=A) + loose(f"{name}.bias", shape[:1], part=A)


def _layer(h: int, width: int, *, whole: bool, k_bias: bool = False) -> Tensors:
    """A layer of Whisper's encoder. whole: not cut by tensor parallelism."""
    column, row = (Split.NONE, Split.NONE) if whole else (Split.COLUMN, Split.ROW)
    found: Tensors = ()
    for name in "qkv":
        bias = k_bias or name != "k"
        found += linear(f"audio.{name}_proj", h, h, column, A, bias=bias)
    found += linear("audio.out_proj", h, h, row, A, bias=True)
    found += linear("audio.fc1", width, h, column, A, bias=True)
    found += linear("audio.fc2", h, width, row, A, bias=True)
    return found + _norm("audio.norm1", h) + _norm("audio.norm2", h)


def _basics(a: Fields) -> tuple[int, int, int]:
    """Width, width of the MLP, layers."""
    return (
        a.integer("d_model", "hidden_size"), a.integer("encoder_ffn_dim", "intermediate_size"),
        a.integer("encoder_layers", "num_hidden_layers", high=1000),
    )  # fmt: skip


def whisper(a: Fields, *, whole: bool = False, positions: bool = True) -> tuple[Tensors, int]:
    """Whisper's encoder, and its width."""
    h, width, count = _basics(a)
    bands = a.integer("num_mel_bins", default=80, high=10_000)
    found = _conv("audio.conv1", h, bands, 3) + _conv("audio.conv2", h, h, 3)
    if positions:
        rows = a.integer("max_source_positions", default=1500)
        found += loose("audio.embed_positions.weight", (rows, h), part=A)
    return found + _times(_layer(h, width, whole=whole), count) + _norm("audio.layer_norm", h), h


def _qwen2_audio(top: Fields, a: Fields, text: int) -> Tensors:
    found, h = whisper(a, whole=True)
    return found + linear("projector.audio", text, h, Split.NONE, P, bias=True)


def _voxtral(top: Fields, a: Fields, text: int) -> Tensors:
    found, h = whisper(a)
    wide = a.integer("intermediate_size", "encoder_ffn_dim", default=4 * h)
    found += linear("projector.audio_1", text, wide, Split.NONE, P)
    return found + linear("projector.audio_2", text, text, Split.NONE, P)


def _ultravox(top: Fields, a: Fields, text: int) -> Tensors:
    found, h = whisper(a)
    wide = h * top.integer("stack_factor", default=8, high=1000)
    inner = top.integer("hidden_size", default=4096)
    middle = top.flag("projector_ln_mid")
    found += _norm("projector.ln_pre", wide, P, bias=False)
    found += linear("projector.audio_1", inner, wide, Split.NONE, P)
    found += linear("projector.audio_2", text, inner // 2, Split.NONE, P)
    return found + _norm("projector.ln", inner // 2 if middle else text, P, bias=False)


def _qwen25_omni(top: Fields, a: Fields, text: int) -> Tensors:
    found, h = whisper(a, whole=True, positions=False)
    out = a.integer("output_dim", default=text)
    found += loose("audio.audio_bos_eos_token.weight", (2, out), part=A)
    return found + linear("audio.proj", out, h, Split.NONE, A, bias=True)


def _qwen3_omni(top: Fields, a: Fields, text: int) -> Tensors:
    h, width, count = _basics(a)
    side = a.integer("downsample_hidden_size", default=480)
    bands = a.integer("num_mel_bins", default=128, high=10_000)
    found = _conv("audio.conv2d1", side, 1, 3, 3)
    found += _conv("audio.conv2d2", side, side, 3, 3) + _conv("audio.conv2d3", side, side, 3, 3)
    for _ in range(3):
        bands = (bands + 1) // 2
    found += linear("audio.conv_out", h, side * bands, Split.NONE, A)
    found += _times(_layer(h, width, whole=False, k_bias=True), count)
    found += _norm("audio.ln_post", h) + linear("audio.proj1", h, h, Split.NONE, A, bias=True)
    return found + linear("audio.proj2", a.integer("output_dim", default=text), h, Split.NONE, A,
                          bias=True)  # fmt: skip


def _conformer(a: Fields) -> Tensors:
    """Granite's conformer, with a head in its middle."""
    h = a.integer("hidden_dim", default=1024)
    inner = a.integer("num_heads", default=8) * a.integer("dim_head", default=128)
    wide = h * a.integer("feedforward_mult", default=4, high=1000)
    conv = h * a.integer("conv_expansion_factor", default=2, high=1000)
    out = a.integer("output_dim", default=42)
    layer: Tensors = ()
    for name in ("ff1", "ff2"):
        layer += _norm(f"audio.{name}.pre_norm", h)
        layer += linear(f"audio.{name}.up_proj", wide, h, Split.NONE, A, bias=True)
        layer += linear(f"audio.{name}.down_proj", h, wide, Split.NONE, A, bias=True)
    layer += _norm("audio.attn.pre_norm", h) + linear("audio.attn.to_q", inner, h, Split.NONE, A)
    layer += linear("audio.attn.to_kv", 2 * inner, h, Split.NONE, A)
    layer += linear("audio.attn.to_out", h, inner, Split.NONE, A, bias=True)
    rows = 2 * a.integer("max_pos_emb", default=512) + 1
    dim = a.integer("dim_head", default=128)
    layer += loose("audio.attn.rel_pos_emb.weight", (rows, dim), part=A)
    layer += _norm("audio.conv.norm", h) + _conv("audio.conv.up_conv", 2 * conv, h, 1)
    kernel = a.integer("conv_kernel_size", default=15, high=1000)
    layer += loose("audio.conv.depth_conv.weight", (conv, 1, kernel), part=A)
    layer += _norm("audio.conv.batch_norm", conv) + _conv("audio.conv.down_conv", h, conv, 1)
    layer += _norm("audio.post_norm", h)
    found = linear("audio.input_linear", h, a.integer("input_dim", default=160), Split.NONE, A,
                   bias=True)  # fmt: skip
    found += _times(layer, a.integer("num_layers", default=10, high=1000))
    found += linear("audio.out", out, h, Split.NONE, A, bias=True)
    return found + linear("audio.out_mid", h, out, Split.NONE, A, bias=True)


def _gemma3n(top: Fields, a: Fields, text: int) -> Tensors:
    """Gemma 3n's conformer, without biases, and the embeddings in front of the text model."""
    h = a.integer("hidden_size", default=1536)
    heads = a.integer("conf_num_attention_heads", default=8)
    kernel = a.integer("conf_conv_kernel_size", default=5, high=1000)
    wide = 4 * h
    layer: Tensors = ()
    for name in ("ffw_layer_start", "ffw_layer_end"):
        layer += linear(f"audio.{name}.ffw_layer_1", wide, h, Split.NONE, A)
        layer += linear(f"audio.{name}.ffw_layer_2", h, wide, Split.NONE, A)
        layer += _norm(f"audio.{name}.pre_layer_norm", h, bias=False)
        layer += _norm(f"audio.{name}.post_layer_norm", h, bias=False)
    for name in ("q_proj", "k_proj", "v_proj", "pos_proj", "post", "linear_end"):
        layer += linear(f"audio.{name}", h, h, Split.NONE, A)
    layer += linear("audio.linear_start", 2 * h, h, Split.NONE, A)
    layer += loose("audio.per_dim_scale", (max(1, h // heads),), part=A)
    layer += loose("audio.depthwise_conv1d.weight", (h, 1, kernel), part=A)
    for name in ("pre_attn_norm", "post_norm", "lconv1d_norm", "conv_norm", "norm"):
        layer += _norm(f"audio.{name}", h, bias=False)
    bands = a.integer("input_feat_size", default=128, high=10_000)
    channels = a.integers("sscp_conv_channel_size") or (128, 32)
    found: Tensors = ()
    source = 1
    for number, rows in enumerate(channels[:8]):
        found += loose(f"audio.conv_{number}.weight", (rows, source, 3, 3), part=A)
        found += _norm(f"audio.conv_{number}.norm", rows, bias=False)
        source, bands = rows, (bands + 1) // 2
    found += linear("audio.input_proj_linear", h, source * bands, Split.NONE, A)
    found += _times(layer, a.integer("conf_num_hidden_layers", default=12, high=1000))
    return found + soft_tokens(a, h, text)


def soft_tokens(tower: Fields, h: int, text: int) -> Tensors:
    """Gemma 3n's tokens of another sense: their embedding, norms, and the way to the text."""
    rows = tower.integer("vocab_size", default=128)
    found = loose("projector.embedding.weight", (rows, h), part=P)
    for name in ("hard", "soft"):
        found += _norm(f"projector.{name}_embedding_norm", h, P, bias=False)
    return found + linear("projector.embedding_projection", text, h, Split.NONE, P)


def _q_former(q: Fields, queries: int) -> Tensors:
    """A query transformer: BERT's layers, every n-th with cross attention."""
    h, width = q.integer("hidden_size", default=768), q.integer("intermediate_size", default=3072)
    count = q.integer("num_hidden_layers", default=12, high=1000)
    every = q.integer("cross_attention_frequency", default=2)
    into = q.integer("encoder_hidden_size", default=1408)

    def attention(name: str, source: int) -> Tensors:
        found: Tensors = ()
        for word, columns in (("query", h), ("key", source), ("value", source), ("dense", h)):
            found += linear(f"projector.{name}.{word}", h, columns, Split.NONE, P, bias=True)
        return found + _norm(f"projector.{name}.norm", h, P)

    layer = attention("self", h)
    layer += linear("projector.up", width, h, Split.NONE, P, bias=True)
    layer += linear("projector.down", h, width, Split.NONE, P, bias=True)
    layer += _norm("projector.norm", h, P)
    found = loose("projector.query", (1, queries, h), part=P) + _norm("projector.layernorm", h, P)
    return found + _times(layer, count) + _times(attention("cross", into), -(-count // every))


def _granite(top: Fields, a: Fields, text: int) -> Tensors:
    q = top.section("projector_config") or top.empty()
    window = top.integer("window_size", default=15, high=10_000)
    queries = window // top.integer("downsample_rate", default=5, high=10_000)
    found = _conformer(a) + _q_former(q, max(1, queries))
    h = q.integer("hidden_size", default=768)
    return found + linear("projector.linear", text, h, Split.NONE, P, bias=True)


_BUILDERS: Final[Mapping[str, Callable[[Fields, Fields, int], Tensors]]] = {
    "qwen2_audio": _qwen2_audio, "voxtral": _voxtral, "ultravox": _ultravox,
    **dict.fromkeys(("qwen2_5_omni", "qwen2_5_omni_thinker"), _qwen25_omni),
    **dict.fromkeys(
        ("qwen3_omni_moe", "qwen3_omni_moe_thinker", "qwen3_asr", "qwen3_asr_thinker"), _qwen3_omni
    ),
    "granite_speech": _granite, "gemma3n": _gemma3n,
}  # fmt: skip
_RECOLLECTED: Final = frozenset({"ultravox"})
"""Types whose projector was not read from code."""
_SECTIONS: Final[Mapping[str, str]] = {"granite_speech": "encoder_config"}
"""Where the tower's fields are, if not in ``audio_config``."""
_WHISPERS: Final = ("d_model", "encoder_layers", "encoder_ffn_dim")


def audio_tensors(config: Mapping[str, Any], path: str) -> tuple[Tensors, bool]:
    """The tensors of a config's audio tower and projector; and whether its make is assumed.

    path: where the config lies. Raises `plimsoll.errors.Invalid` where the tower's fields are
    missing or mistyped.
    """
    top = Fields(config, path)
    kind = top.text("model_type")
    tower = top.section(_SECTIONS.get(kind, "audio_config"))
    if tower is None:
        top.stop_if_wrong()
        return (), False
    text = top.section("text_config", "llm_config", "language_config")
    hidden = (text or top).integer("hidden_size", default=4096)
    build = _BUILDERS.get(kind)
    if build is not None:
        found = build(top, tower, hidden)
    elif tower.has(*_WHISPERS):
        found = _qwen2_audio(top, tower, hidden)
    else:
        found = ()
    top.stop_if_wrong()
    return found, build is None or kind in _RECOLLECTED
