"""Where a tensor of a checkpoint belongs, and how it may be cut, from its name alone.

Shapes are not looked at. A name that says nothing is placed whole on every rank, and said so.

    layers.<n>.<rest>   a layer of the language model; of a tower if the way there says so
    <rest>              in one spelling for all families: self_attn.q_proj, mlp.experts.gate_proj
    source              the ``load_weights`` of vllm/model_executor/models/*.py: what each name is
                        loaded into (column, row, vocabulary, replicated, experts)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from plimsoll.models.architecture import Part, Split, Stage


class Home(StrEnum):
    """The part of a model that a tensor is in."""

    LAYER = "layer"
    OUTSIDE = "outside"
    TOWER = "tower"
    FURTHER = "further"
    """Layers that predict further tokens: stored, served only for speculative decoding."""
    NOTHING = "nothing"
    """Buffers, activation scales, one offset for each expert: no memory worth the name."""


@dataclass(frozen=True, slots=True)
class Place:
    """home: see `Home`. layer: its number, -1 outside. rest: the name there, in one spelling."""

    home: Home
    layer: int
    rest: str


@dataclass(frozen=True, slots=True)
class CutKind:
    """How a tensor may be cut. known False: the name says nothing of it."""

    split: Split
    part: Part
    linear: bool = False
    stage: Stage = Stage.EVERY
    known: bool = True


_LAYER: Final = re.compile(r"^(?P<way>(?:.*?\.)?)(?:layers|h|blocks|layer|block)\.(?P<n>\d{1,5})\.")
_TOWER: Final = re.compile(
    r"(?:^|\.)(?:vision\w*|visual\w*|vit|image\w*|img\w*|sam_model|audio\w*|speech\w*|sound\w*|"
    r"multi_modal_projector|mm_\w+|mlp1|patch_merger|embed_vision|embed_audio|connector|aligner|"
    r"resampler|merger|projector|perceiver|qformer|query_tokens|vpm|apm|siglip\w*|"
    r"conformer\w*|encoder\.(?:embed|conv)\w*)(?:\.|$)"
)
_AUDIO: Final = re.compile(r"(?:^|\.)(?:audio|speech|sound|apm|conformer)\w*(?:\.|$)")
_PROJECTOR: Final = re.compile(
    r"(?:^|\.)(?:multi_modal_projector|mm_projector|mlp1|patch_merger|connector|aligner|merger|"
    r"projector|vision_language_adapter|embed_vision|image_newline)(?:\.|$)"
)
_FURTHER: Final = re.compile(r"(?:^|\.)(?:mtp\w*|nextn\w*)(?:\.|$)")
_NOTHING: Final = re.compile(
    r"(?:^|\.)(?:inv_freq|masked_bias|position_ids|num_batches_tracked|rotary_emb\.\w+|"
    r"(?<!moe_statics\.)e_score_correction_bias|attn\.bias|attention\.bias|"
    r"(?:[kqv]|prob|softmax|attn|output|act|smooth|activation)_scale|[kv]_zero_point|"
    r"(?:\w+_)?input_(?:scale|global_scale|scale_ub|zero_point)|"
    r"(?:[kqv]_bmm|input|output)_quantizer\.\w+)$"
)
_WAYS: Final = re.compile(
    r"^(?:(?:model|language_model|llm|transformer|backbone|base_model|text_model|decoder|"
    r"encoder|gpt_neox|module|thinker|lm|bert|roberta|distilbert|electra|new)\.)*"
)
_HEARS: Final = re.compile(r"^(?:model\.)?encoder\.")
"""The encoder of a model that hears, if its text model has another name (Whisper, Granite)."""
_UNSERVED: Final = re.compile(
    r"^(?:pooler|cls|lm_head|head|classifier|vocab_\w+|(?:generator|discriminator)_\w+)\.|^bias$"
)
"""What an encoder has for training, or for a use that is not its own."""
_EXPERT_NUMBER: Final = re.compile(r"(?<=experts\.)\d+\.")

NONE: Final[frozenset[str]] = frozenset()

_SEGMENTS: Final = {
    "self_attention": "self_attn", "attn": "self_attn", "attention": "self_attn",
    "block_sparse_moe": "mlp", "feed_forward": "mlp", "moe": "mlp", "ffn": "mlp",
    "router": "gate", "shared_expert": "shared_experts", "shared_mlp": "shared_experts",
    "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj", "w1": "gate_proj",
    "w2": "down_proj", "w3": "up_proj", "linear_fc1": "fc1", "linear_fc2": "fc2",
    "q_layernorm": "q_norm", "k_layernorm": "k_norm", "query_layernorm": "q_norm",
    "key_layernorm": "k_norm", "input_linear": "gate_up_proj", "output_linear": "down_proj",
    "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "pre_ff_layernorm": "post_attention_layernorm", "gate_bias": "gate.bias",
}  # fmt: skip
"""Segments of names in the spelling of this package."""
_ENDS: Final = {
    "embed_tokens": "embed_tokens", "wte": "embed_tokens", "word_embeddings": "embed_tokens",
    "embed_in": "embed_tokens", "tok_embeddings": "embed_tokens", "embeddings": "embed_tokens",
    "embed": "embed_tokens", "embedding": "embed_tokens",
    "norm": "norm", "ln_f": "norm", "final_layernorm": "norm", "norm_f": "norm",
    "final_layer_norm": "norm", "embedding_norm": "norm", "norm_out": "norm",
    "lm_head": "lm_head", "embed_out": "lm_head", "output": "lm_head", "head": "lm_head",
    "output_layer": "lm_head", "ff_out": "lm_head",
    "wpe": "embed_positions", "embed_positions": "embed_positions",
}  # fmt: skip
"""What stands before and behind the layers, by the last segment of its module."""

_COLUMN: Final = re.compile(
    r"q_proj|q_b_proj|k_b_proj|v_b_proj|kv_b_proj|gate_proj|up_proj|gate_up_proj|in_proj\w*|qkv_proj|qkv|"
    r"query_key_value|Wqkv|W_pack|c_attn|c_fc|fc1|fc_in|up|gate|dense_h_to_4h|g_proj|g_b_proj|"
    r"att_proj|ff_proj|f_b_proj|b_proj|[qkv]_conv1d|conv1d|conv|dt_proj|wqkv|output_gate|o_a_proj"
)
_ROW: Final = re.compile(
    r"attn_out|ff_out|o_proj|down_proj|out_proj|c_proj|dense|dense_4h_to_h|fc2|fc_out|proj|down|x_proj|o_b_proj"
)
_WHOLE: Final = re.compile(
    r"q_a_proj|kv_a_proj_with_mqa|kv_proj|gate|shared_expert_gate|wq_b|wk|weights_proj|f_a_proj|"
    r"g_a_proj|fc[12]_latent_proj|latent_(?:down|up)_proj|eh_proj|moe_statics|per_layer_\w+"
)
_LOOSE_COLUMN: Final = frozenset({"A_log", "D", "dt_bias", "sinks"})


def place(name: str, layers: int, *, hears: bool = False, encodes: frozenset[str] = NONE) -> Place:
    """Where a tensor is. layers: of the language model; what is beyond them predicts further.

    hears: the model has an audio tower. encodes: of an encoder the names of what it serves
        outside its layers; poolers and heads beside them are not loaded.
    """
    if _NOTHING.search(name):
        return Place(Home.NOTHING, -1, name)
    if hears and _HEARS.match(name):
        return Place(Home.TOWER, -1, name)
    match = _LAYER.match(name)
    way = match["way"] if match else name
    if _FURTHER.search(way):
        number = int(match["n"]) if match else 0
        rest = name[match.end() :] if match else _FURTHER.split(name)[-1]
        return Place(Home.FURTHER, number, spelt(rest))
    if _TOWER.search(way):
        return Place(Home.TOWER, -1, name)
    if match is None:
        rest = _end(name)
        served = not encodes or rest in encodes or not _UNSERVED.match(rest)
        return Place(Home.OUTSIDE if served else Home.NOTHING, -1, rest)
    number, rest = int(match["n"]), spelt(name[match.end() :])
    if _TOWER.search(rest):
        return Place(Home.TOWER, -1, name)
    return Place(Home.LAYER if number < layers else Home.FURTHER, number, rest)


@lru_cache(maxsize=65536)
def spelt(rest: str) -> str:
    """The name of a tensor within its layer, in one spelling; experts without their numbers."""
    segments = _EXPERT_NUMBER.sub("", rest).split(".")
    return ".".join(_SEGMENTS.get(segment, segment) for segment in segments)


def _end(name: str) -> str:
    """A tensor outside the layers, in one spelling."""
    short = _WAYS.sub("", name)
    module, _, leaf = short.rpartition(".")
    known = _ENDS.get(module)
    if known is None:
        return short
    return f"lm_head.{leaf}" if known == "lm_head" else f"model.{known}.{leaf}"


@lru_cache(maxsize=65536)
def kind_in_layer(rest: str) -> CutKind:
    """How a tensor of a layer may be cut. rest: in this module's spelling."""
    module, _, leaf = rest.rpartition(".")
    last = (module or leaf).rpartition(".")[2]
    if leaf in _LOOSE_COLUMN:
        return CutKind(Split.COLUMN, Part.ATTENTION if leaf == "sinks" else Part.MIXER)
    part = _part(rest)
    if part is Part.NORM:
        gated = last == "norm" and module not in ("norm", "")
        return CutKind(
            Split.COLUMN if gated and ".norm" in rest and "mixer" in rest else Split.NONE, Part.NORM
        )
    if part is Part.ROUTER:
        return CutKind(Split.NONE, Part.ROUTER, leaf == "weight")
    weight = leaf == "weight" and "conv" not in last
    if part is Part.EXPERTS:
        row = _ROW.fullmatch(last) is not None
        return CutKind(Split.EXPERT_ROW if row else Split.EXPERT_COLUMN, part, weight)
    if "indexer" in rest or _WHOLE.fullmatch(last):
        return CutKind(Split.NONE, part, weight)
    if last in ("k_proj", "v_proj") and part is not Part.MIXER:
        return CutKind(Split.KV_HEADS, part, weight)
    if _COLUMN.fullmatch(last):
        return CutKind(Split.COLUMN, part, weight)
    if _ROW.fullmatch(last):
        return CutKind(Split.NONE if leaf == "bias" else Split.ROW, part, weight)
    return CutKind(Split.NONE, part, False, known=False)


def _part(rest: str) -> Part:
    module, _, leaf = rest.rpartition(".")
    last = (module or leaf).rpartition(".")[2]
    if "norm" in last or last.startswith("ln_") or leaf.endswith("layernorm"):
        return Part.NORM
    if last == "shared_expert_gate" or (last in ("gate", "layer") and "gate" in rest.split(".")):
        return Part.ROUTER
    if "e_score_correction_bias" in rest or rest.startswith(("gate.", "moe_statics")):
        return Part.ROUTER
    first = rest.partition(".")[0]
    if "experts." in rest and "shared_experts." not in rest:
        return Part.EXPERTS
    if first == "mlp" or "shared_experts" in rest:
        return Part.MLP
    if "attn" in first and first != "linear_attn":
        return Part.ATTENTION
    if first in ("mixer", "mamba", "linear_attn", "conv"):
        attention = last in ("q_proj", "k_proj", "v_proj", "o_proj")
        return Part.ATTENTION if attention else Part.MIXER
    return Part.OTHER


def kind_outside(rest: str) -> CutKind:
    """How a tensor outside the layers may be cut."""
    if rest.startswith("model.embed_tokens."):
        return CutKind(Split.VOCAB, Part.EMBEDDING, False, Stage.FIRST)
    if rest.startswith("lm_head."):
        return CutKind(Split.VOCAB, Part.HEAD, rest.endswith("weight"), Stage.LAST)
    if rest.startswith("model.norm."):
        return CutKind(Split.NONE, Part.NORM, False, Stage.LAST)
    if rest.startswith("model.embed_positions."):
        return CutKind(Split.NONE, Part.EMBEDDING, False, Stage.FIRST)
    if "norm" in rest:
        return CutKind(Split.NONE, Part.NORM)
    return CutKind(Split.NONE, Part.OTHER, known=False)


def kind_further(rest: str) -> CutKind:
    """How a tensor of a layer that predicts further tokens may be cut."""
    if rest.startswith(("embed_tokens.", "shared_head.head.")):
        part = Part.HEAD if rest.startswith("shared_head.") else Part.EMBEDDING
        return CutKind(Split.VOCAB, part, part is Part.HEAD)
    return kind_in_layer(rest)


def kind_in_tower(name: str, *, cut: bool, cut_projector: bool) -> CutKind:
    """How a tensor of a tower may be cut.

    cut, cut_projector: whether the engine cuts this model's tower, and what leads out of it.
    """
    part = Part.AUDIO if _AUDIO.search(name) else Part.VISION
    part = Part.PROJECTOR if _PROJECTOR.search(name) else part
    module, _, leaf = name.rpartition(".")
    last = module.rpartition(".")[2]
    split = Split.NONE
    if "embed" not in module and (cut_projector if part is Part.PROJECTOR else cut):
        if _COLUMN.fullmatch(last) or last in ("k_proj", "v_proj", "linear_fc1", "0"):
            split = Split.COLUMN
        elif (_ROW.fullmatch(last) or last in ("linear_fc2", "2")) and leaf != "bias":
            split = Split.ROW
    return CutKind(split, part, leaf == "weight" and "norm" not in last, Stage.FIRST)
