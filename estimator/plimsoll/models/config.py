"""From a Hugging Face config.json to an `Architecture`: the one entry for every family.

Nothing is guessed silently: a family that is not known is either read by the fields that most
decoders share, and marked so, or refused with what is missing.

What a *nested* text config leaves out is filled in as its configuration class does; a config.json's
top level always says everything, so that what is missing there is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem
from plimsoll.models.architecture import UNBOUNDED, Architecture, Part, Tensor
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.families.by_type import (
    DEFAULTS,
    TEXT,
    VISION_DEFAULTS,
    audio_tensors,
    known,
    largest_item,
    vision_tensors,
)
from plimsoll.models.families.generic import generic
from plimsoll.models.files import TEXT_SECTIONS
from plimsoll.models.quantization_config import kv_dtype_of, quantization_of
from plimsoll.models.rotary import rotary_elements
from plimsoll.models.storage import left_alone_by_layer, left_alone_further
from plimsoll.units import MAX_PARAMETERS, count

if TYPE_CHECKING:
    from plimsoll.models.quantization import Quantization

_OTHER_SENSES: Final = ("vision_config", "audio_config", "img_processor", "visual")
"""Keys of towers for other senses; their presence makes a model multimodal."""
_SENSES: Final = (Part.VISION, Part.AUDIO)
_THINKS: Final = "thinker_config"
"""Where Qwen-Omni keeps what is served; its voice is not."""
_OF_THE_WHOLE: Final = (
    "model_type",
    "architectures",
    "torch_dtype",
    "dtype",
    "quantization_config",
)
"""Fields that hold for the part of a config that is served, if the whole says them."""
_HEARING: Final = ("audio_config", "encoder_config")
"""Keys of audio towers; the second is another thing in most configs."""
_DTYPES: Final = {
    "bfloat16": "bfloat16", "bf16": "bfloat16", "float16": "float16", "fp16": "float16",
    "half": "float16", "float32": "float32", "fp32": "float32", "float": "float32",
    "auto": "bfloat16", "": "bfloat16",
}  # fmt: skip
_LENGTHS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
"""Keys for the longest context; if there are several, the least counts."""
_LENGTH_ABOVE_ALL: Final = "model_max_length"
"""The key that counts whatever the others say (Command R)."""
_OFFSET: Final = frozenset({"roberta", "xlm-roberta", "camembert", "jina_embeddings_v3"})
"""Types whose first two positions stand for padding; vLLM reads the rest of a tokenizer's file."""
_DEFAULT_LENGTH: Final = 2048
"""vLLM's length for a model whose config names none."""
_LENGTH_STANDS: Final = frozenset({"default", "su", "longrope", "llama3", "mrope", "proportional"})
"""Kinds of rope scaling that leave the config's length as it is."""
_LAYERS: Final = "num_hidden_layers"
"""What a config may say of the language model above its section too, but not otherwise. Its
hidden_size there may be another part's: the projector's (PaliGemma 2, Ultravox)."""


def architecture(config: Mapping[str, Any], quant: Mapping[str, Any] | None = None) -> Architecture:
    """The structure of the model that a config.json describes, with its exact parameter count.

    quant: the checkpoint's hf_quant_config.json, if there is one. Raises `Invalid` with every
    missing, mistyped or absurd field, each with its path within config.json.
    """
    config, path = _served(config)
    top = Fields(config, path)
    text = _text_part(top)
    model_type = text.text("model_type", default=top.text("model_type"))
    class_name = _class_name(top, text)
    dtype = _dtype(text if text.has("dtype", "torch_dtype") else top)
    quantization = quantization_of(config, quant)
    top.stop_if_wrong()
    build = TEXT.get(model_type) or TEXT.get(top.text("model_type"))
    built = (build or generic)(text)
    length = _length(text, heads=built.heads)
    original = _original_length(top, text)
    top.stop_if_wrong()
    towers, unknown = _towers(config, path, top, nested=text is not top)
    multimodal = any(top.has(key) for key in _OTHER_SENSES) or any(
        tensor.part in _SENSES for tensor in towers + built.outside
    )
    model = Architecture(
        model_type=top.text("model_type", default=model_type),
        class_name=class_name,
        dtype=dtype,
        hidden_size=built.hidden,
        vocab_size=built.vocab,
        max_model_len=length,
        heads=built.heads,
        blocks=left_alone_by_layer(built.blocks, quantization),
        outside=built.outside + towers,
        extra=left_alone_further(built.extra, len(built.blocks), quantization),
        tied=built.tied,
        quantization=quantization,
        multimodal=multimodal,
        attention_kv_dtype=kv_dtype_of(config, quant),
        original_model_len=original if original < length else 0,
        rotary_elements=rotary_elements(text.data, top.text("model_type")),
        assumed=build is None or built.assumed or unknown or _unsized(quantization),
        tower=largest_item(config, built.hidden) if multimodal else None,
    )
    if not 0 < model.parameters <= MAX_PARAMETERS:
        raise Invalid(
            Problem(
                "config.json",
                f"{count(model.parameters)} parameters in all",
                f"at most {count(MAX_PARAMETERS)}",
                "check the widths and the numbers of layers and experts",
            )
        )
    return model


def _unsized(quantization: Quantization | None) -> bool:
    """Whether a checkpoint is quantized in a way that nobody here can size.

    One of GGUF files is as large as the file that is chosen: the engine asks for that.
    """
    if quantization is None or quantization.by_name:
        return False
    in_part = quantization.unsized or bool(quantization.unread)
    return in_part or not (quantization.default or quantization.special)


def _served(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The part of a config that an engine serves, and its path: of Qwen-Omni what thinks."""
    part = config.get(_THINKS)
    if not isinstance(part, Mapping):
        return config, "config.json"
    over = {key: config[key] for key in _OF_THE_WHOLE if config.get(key) is not None}
    return {**part, **over}, f"config.json: {_THINKS}"


def _towers(
    config: Mapping[str, Any], path: str, top: Fields, *, nested: bool
) -> tuple[tuple[Tensor, ...], bool]:
    """The towers for other senses; and whether there is one of which only parts are known."""
    tensors: tuple[Tensor, ...] = ()
    unknown = False
    if any(top.has(key) for key in _OTHER_SENSES) or (
        nested and top.text("model_type") in VISION_DEFAULTS
    ):
        tensors = vision_tensors(config, path)
        unknown = bool(tensors) and not known(top.text("model_type"))
    if any(top.has(key) for key in _HEARING):
        heard, strange = audio_tensors(config, path)
        tensors, unknown = tensors + heard, unknown or strange
    return tensors, unknown


def _text_part(top: Fields) -> Fields:
    """The language model's fields, filled up with what its configuration class implies."""
    for key in TEXT_SECTIONS:
        part = top.section(key)
        if part is None:
            continue
        layers = top.raw(_LAYERS)
        if layers is not None and part.raw(_LAYERS) not in (None, layers):
            fix = "leave one out: engines differ in which they read"
            top.wrong(_LAYERS, layers, f"the same as {key}.{_LAYERS}", fix)
        defaults = DEFAULTS.get(part.text("model_type", default=top.text("model_type")), {})
        merged = {**defaults, **part.data}
        if "tie_word_embeddings" not in merged and top.has("tie_word_embeddings"):
            merged["tie_word_embeddings"] = top.raw("tie_word_embeddings")
        return Fields(merged, part.path, top.problems)
    return top


def _class_name(top: Fields, text: Fields) -> str:
    names = top.texts("architectures") or text.texts("architectures") or ("",)
    return names[0][:128]


def _dtype(f: Fields) -> str:
    word = f.text("dtype", "torch_dtype").removeprefix("torch.").lower()
    if word not in _DTYPES:
        f.wrong("torch_dtype", word, "bfloat16, float16 or float32")
        return "bfloat16"
    return _DTYPES[word]


def _length(f: Fields, *, heads: int) -> int:
    """The longest context, with rope scaling as vLLM applies it (vllm/config/model.py)."""
    keys = [_LENGTH_ABOVE_ALL] if f.has(_LENGTH_ABOVE_ALL) else [k for k in _LENGTHS if f.has(k)]
    if not keys:
        return _DEFAULT_LENGTH if heads else UNBOUNDED
    length = min(f.integer(key, high=10**9) for key in keys)
    if f.text("model_type") in _OFFSET:
        length = max(1, length - 2)
    rope = f.raw("rope_scaling") or f.raw("rope_parameters")
    if not isinstance(rope, Mapping) or "gemma3" in f.text("model_type"):
        return length
    kind = _kind(rope)
    factor = rope.get("factor")
    if kind in _LENGTH_STANDS or not isinstance(factor, (int, float)) or not 1 <= factor < 10_000:
        return length
    original = rope.get("original_max_position_embeddings")
    if kind == "yarn" and isinstance(original, int) and 0 < original < 10**9:
        length = original
    return int(length * factor)


def _original_length(top: Fields, text: Fields) -> int:
    """The context of a LongRoPE model before it was lengthened; 0 if the config has none.

    vLLM looks for it at the top level alone.
    """
    rope = text.raw("rope_scaling") or text.raw("rope_parameters")
    if not isinstance(rope, Mapping) or _kind(rope) not in ("longrope", "su"):
        return 0
    return top.integer("original_max_position_embeddings", default=0, low=0, high=10**9)


def _kind(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "default")
