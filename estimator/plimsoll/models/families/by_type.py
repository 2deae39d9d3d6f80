"""What builds each ``model_type``: its text model, its towers, and what a nested config leaves out.

A type that is not here is not guessed here; `plimsoll.models.families.generic` is for those. A
tower of a make that is not known here is built like most are, and said to be assumed.

DEFAULTS are those of the configuration classes of Hugging Face transformers, which drop a value
equal to its default from a *nested* config; a config.json's top level always says them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.models.blocks.fields import Fields
from plimsoll.models.families import (
    deepseek,
    encoders,
    ernie,
    experts,
    gemma,
    glm,
    granite,
    kimi,
    llama,
    minicpm,
    minimax,
    mistral,
    nvidia,
    plain,
    plain_towers,
    qwen,
    states,
)
from plimsoll.models.families.plain_towers import plain_vision
from plimsoll.models.families.qwen import qwen2_audio
from plimsoll.models.files import TEXT_SECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.models.architecture import Tower
    from plimsoll.models.blocks.decoder import Builder
    from plimsoll.models.blocks.parts import Tensors

TEXT: Final[Mapping[str, Builder]] = {
    "qwen": qwen.qwen1,
    "dots_ocr": qwen.QWEN2,
    "qwen2": qwen.QWEN2,
    "qwen2_vl": qwen.QWEN2,
    "qwen2_vl_text": qwen.QWEN2,
    "qwen2_5_vl": qwen.QWEN2,
    "qwen2_5_vl_text": qwen.QWEN2,
    "qwen2_5_omni_text": qwen.QWEN2,
    "qwen3": qwen.QWEN3,
    "qwen3_vl_text": qwen.QWEN3,
    "qwen3_asr": qwen.QWEN3,
    "qwen3_asr_thinker": qwen.QWEN3,
    "qwen3_asr_text": qwen.QWEN3,
    "qwen2_moe": qwen.QWEN2_MOE,
    "qwen3_moe": qwen.QWEN3_MOE,
    "qwen3_vl_moe_text": qwen.QWEN3_MOE,
    "qwen3_omni_moe_text": qwen.QWEN3_MOE,
    "qwen3_next": qwen.qwen_next,
    "qwen3_5_text": qwen.qwen_next,
    "qwen3_5_moe_text": qwen.qwen_next,
    "qwen3_5": qwen.qwen_next,
    "qwen3_5_moe": qwen.qwen_next,
    "gemma": gemma.GEMMA,
    "gemma2": gemma.GEMMA2,
    "gemma3_text": gemma.GEMMA3,
    "gemma3": gemma.GEMMA3,
    "gemma4_text": gemma.gemma4,
    "gemma3n_text": gemma.gemma3n,
    "llama": llama.llama,
    "mistral": llama.llama,
    "ministral": llama.llama,
    "ministral3": llama.llama,
    "seed_oss": llama.llama,
    "yi": llama.llama,
    "aquila": llama.llama,
    "internlm3": llama.llama,
    "baichuan": llama.llama,
    "exaone": llama.llama,
    "telechat3": llama.llama,
    "solar": llama.llama,
    "mllama_text_model": llama.mllama,
    "llama4_text": llama.llama4,
    "llama4": llama.llama4,
    "deepseek": deepseek.DEEPSEEK_V1,
    "deepseek_v2": deepseek.deepseek_v2,
    "deepseek_v3": deepseek.deepseek_v2,
    "deepseek_v32": deepseek.deepseek_v2,
    "kimi_k2": deepseek.deepseek_v2,
    "mistral4": deepseek.deepseek_v2,
    "glm_moe_dsa": deepseek.deepseek_v2,
    "glm4_moe_lite": deepseek.deepseek_v2,
    "deepseek_v4": deepseek.deepseek_v4,
    "deepseek_ref": deepseek.deepseek_v4,
    "minicpm3": minicpm.MINICPM3,
    "minicpm": minicpm.minicpm,
    "minicpmv": minicpm.minicpm_v,
    "kimi_linear": kimi.kimi_linear,
    "minimax_m2": minimax.minimax_m2,
    "minimax_m3": minimax.minimax_m3,
    "minimax_m3_vl": minimax.minimax_m3,
    "minimax_text_01": minimax.minimax_text,
    "minimax": minimax.minimax_text,
    "nemotron": nvidia.NEMOTRON,
    "nemotron_h": nvidia.nemotron_h,
    "nemotron-nas": nvidia.nemotron_nas,
    "mixtral": mistral.MIXTRAL,
    "glm": glm.GLM,
    "glm4": glm.GLM4,
    "glm4v_text": glm.GLM4,
    "chatglm": glm.CHATGLM,
    "glm4v_moe_text": glm.GLM4_MOE,
    "glm4_moe": glm.GLM4_MOE,
    "granite": granite.GRANITE,
    "granitemoe": granite.GRANITE_MOE,
    "granitemoeshared": granite.GRANITE_MOE,
    "granitemoehybrid": granite.granite_hybrid,
    "bamba": granite.bamba,
    "ernie4_5": ernie.ERNIE,
    "ernie4_5_moe": ernie.ernie_moe,
    "ernie4_5_vl_moe_text": ernie.ernie_vl,
    "ernie4_5_moe_vl": ernie.ernie_vl,
    "mamba": states.mamba,
    "falcon_mamba": states.mamba,
    "mamba2": states.mamba_two,
    "jamba": states.jamba,
    "falcon_h1": states.falcon_h1,
    "lfm2": states.lfm2,
    "zamba2": states.zamba2,
    "lfm2_moe": states.lfm2_moe,
    "phimoe": experts.PHI_MOE,
    "olmoe": experts.OLMOE,
    "flex_olmo": experts.OLMOE,
    "dbrx": experts.dbrx,
    "dots1": experts.DOTS1,
    "gpt_oss": experts.GPT_OSS,
    "hy_v3": experts.HY3,
    "hunyuan_v1_moe": experts.HUNYUAN,
    "mimo_v2_flash": experts.mimo_v2,
    "grok-1": experts.GROK,
    "step3p5": experts.step3_5,
    "step3p7": experts.step3_5,
    "bailing_moe": experts.bailing,
    "bailing_moe_v2": experts.bailing,
    "longcat_flash": experts.longcat,
    "exaone_moe": experts.exaone_moe,
    "step3_text": experts.step3,
    "arctic": experts.arctic,
    "aria_text": experts.ARIA,
    "internlm2": plain.INTERNLM,
    "internlm": plain.INTERNLM,
    "exaone4": plain.EXAONE4,
    "smollm3": plain.SMOLLM3,
    "phi3": plain.PHI3,
    "phi3_v": plain.PHI3,
    "phi3small": plain.phi3small,
    "phi": plain.PHI,
    "olmo": plain.OLMO,
    "olmo2": plain.OLMO2,
    "olmo3": plain.OLMO3,
    "cohere": plain.COHERE,
    "cohere2": plain.COHERE2,
    "stablelm": plain.stablelm,
    "starcoder2": plain.STARCODER2,
    "mimo": plain.mimo,
    "gpt2": plain.GPT2,
    "gpt_bigcode": plain.gpt_bigcode,
    "gpt_neox": plain.GPT_NEOX,
    "gptj": plain.GPTJ,
    "opt": plain.opt,
    "bloom": plain.BLOOM,
    "falcon": plain.falcon,
    "mpt": plain.mpt,
    "hunyuan_v1_dense": plain.HUNYUAN_DENSE,
    "arcee": plain.ARCEE,
    "apertus": plain.APERTUS,
    "persimmon": plain.persimmon,
    "helium": plain.HELIUM,
    "orion": plain.ORION,
    "telechat": plain.telechat,
    "telechat2": plain.telechat,
    "hyperclovax": plain.hyperclovax,
    "jais": plain.jais,
    "jais2": plain.JAIS2,
    "roberta": encoders.roberta,
    "xlm-roberta": encoders.roberta,
    "camembert": encoders.roberta,
    "jina_embeddings_v3": encoders.roberta,
    "bert": encoders.bert,
    "distilbert": encoders.distilbert,
    "electra": encoders.electra,
    "modernbert": encoders.modernbert,
    "nomic_bert": encoders.nomic,
    "new": encoders.gte,
    "gte": encoders.gte,
    "whisper": plain_towers.whisper,
}
"""The text model, by ``model_type`` of the text config if there is one."""
VISION: Final[Mapping[str, Callable[[Fields, Fields, int], Tensors]]] = {
    "aria": plain_towers.aria_vision,
    "dots_ocr": plain_towers.dots_vision,
    "ernie4_5_moe_vl": ernie.ernie_vision,
    "ernie4_5_vl_moe": ernie.ernie_vision,
    "gemma3": gemma.gemma3_vision,
    "gemma3n": gemma.gemma3n_vision,
    "gemma4": gemma.gemma4_vision,
    "gemma4_text": gemma.gemma4_vision,
    "glm4v": glm.glm4v_vision,
    "glm4v_moe": glm.glm4v_vision,
    "idefics3": plain_towers.idefics3_vision,
    "internvl": plain_towers.internvl_vision,
    "internvl_chat": plain_towers.internvl_chat_vision,
    "kimi_k25": kimi.moonvit_vision,
    "kimi_k3": kimi.moonvit_vision,
    "kimi_vl": kimi.moonvit_vision,
    "llama4": llama.llama4_vision,
    "llava": plain_towers.llava_vision,
    "llava_next": plain_towers.llava_next_vision,
    "minicpmv": minicpm.minicpmv_vision,
    "minimax_m3_vl": minimax.minimax_m3_vision,
    "mistral3": mistral.mistral3_vision,
    "mllama": llama.mllama_vision,
    "paligemma": gemma.paligemma_vision,
    "phi3_v": plain_towers.phi3_v_vision,
    "qwen2_5_omni": qwen.qwen2_5_vision,
    "qwen2_5_omni_thinker": qwen.qwen2_5_vision,
    "qwen2_5_vl": qwen.qwen2_5_vision,
    "qwen2_vl": qwen.qwen2_vision,
    "qwen3_5": qwen.qwen3_vision,
    "qwen3_5_moe": qwen.qwen3_vision,
    "qwen3_omni_moe": qwen.qwen3_vision,
    "qwen3_omni_moe_thinker": qwen.qwen3_vision,
    "qwen3_vl": qwen.qwen3_vision,
    "qwen3_vl_moe": qwen.qwen3_vision,
    "smolvlm": plain_towers.idefics3_vision,
}
"""Tensors of the vision tower and its projector, by ``model_type`` of the whole model."""
LARGEST: Final[Mapping[str, Callable[[Fields, Fields, int], Tower]]] = {
    "gemma3": gemma.gemma3_largest,
    "gemma4": gemma.gemma4_largest,
    "internvl_chat": plain_towers.internvl_largest,
    "kimi_k25": kimi.moonvit_largest,
    "kimi_vl": kimi.moonvit_largest,
    "llama4": llama.llama4_largest,
    "llava": plain_towers.llava_largest,
    "llava_next": plain_towers.llava_next_largest,
    "mistral3": mistral.mistral3_largest,
    "mllama": llama.mllama_largest,
    "paligemma": gemma.paligemma_largest,
    "phi3_v": plain_towers.phi3_v_largest,
    "qwen2_5_vl": qwen.qwen2_5_largest,
    "qwen2_vl": qwen.qwen2_largest,
    "qwen3_5": qwen.qwen3_largest,
    "qwen3_5_moe": qwen.qwen3_largest,
    "qwen3_vl": qwen.qwen3_largest,
    "qwen3_vl_moe": qwen.qwen3_largest,
}
"""What that tower makes of its largest image or video; the others' is not known."""
AUDIO: Final[Mapping[str, Callable[[Fields, Fields, int], Tensors]]] = {
    "gemma3n": gemma.gemma3n_audio,
    "gemma4": gemma.gemma4_audio,
    "granite_speech": granite.granite_audio,
    "qwen2_5_omni": qwen.qwen2_5_omni_audio,
    "qwen2_5_omni_thinker": qwen.qwen2_5_omni_audio,
    "qwen2_audio": qwen.qwen2_audio,
    "qwen3_asr": qwen.qwen3_omni_audio,
    "qwen3_asr_thinker": qwen.qwen3_omni_audio,
    "qwen3_omni_moe": qwen.qwen3_omni_audio,
    "qwen3_omni_moe_thinker": qwen.qwen3_omni_audio,
    "ultravox": plain_towers.ultravox_audio,
    "voxtral": mistral.voxtral_audio,
}
"""Tensors of the audio tower and its projector, by ``model_type`` of the whole model."""
_LLAMA: Final[Mapping[str, Any]] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "llama": _LLAMA,
    "mistral": {
        **_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
    },
    "gemma": {
        "vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16,
        "head_dim": 256, "max_position_embeddings": 8192,
    },
    "gemma2": {
        "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 8192, "sliding_window": 4096,
    },
    "gemma3_text": {
        "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 131072, "sliding_window": 4096,
    },
    "qwen2": {
        "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
    },
    "mllama_text_model": {
        "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
    },
}  # fmt: skip
"""What a nested text config leaves out, by its ``model_type``."""
VISION_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {"llama4": llama.LLAMA4_VISION}
"""What transformers fills in if a copy of a config leaves the tower out."""


_SECTIONS: Final[Mapping[str, str]] = {"granite_speech": "encoder_config"}
"""Where the tower's fields are, if not in ``audio_config``."""
_WHISPERS: Final = ("d_model", "encoder_layers", "encoder_ffn_dim")
_RECOLLECTED: Final = frozenset({"ultravox"})
"""Types whose projector was not read from code."""


def known(kind: str) -> bool:
    """Whether the tower of a model type is built as its code has it, not as most are."""
    return kind in VISION


def vision_tensors(config: Mapping[str, Any], path: str = "config.json") -> Tensors:
    """The tensors of a multimodal config's towers and projectors. path: where the config lies.

    Raises `plimsoll.errors.Invalid` if the tower's fields are missing or mistyped.
    """
    top = Fields(config, path)
    text = top.section(*TEXT_SECTIONS)
    hidden = text.integer("hidden_size", default=4096) if text else top.integer("hidden_size")
    kind = top.text("model_type")
    if kind == "gemma3" and text is not None and not text.has("hidden_size"):
        hidden = 2304
    tower = top.section("vision_config")
    tensors: Tensors = ()
    if tower is not None or kind in ("phi3_v", *VISION_DEFAULTS):
        given = tower.data if tower is not None else {}
        v = Fields(
            {**VISION_DEFAULTS.get(kind, {}), **given}, f"{top.path}: vision_config", top.problems
        )
        tensors = VISION.get(kind, plain_vision)(top, v, hidden)
    top.stop_if_wrong()
    return tensors


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
    text = top.section(*TEXT_SECTIONS)
    hidden = (text or top).integer("hidden_size", default=4096)
    build = AUDIO.get(kind)
    if build is not None:
        tensors = build(top, tower, hidden)
    elif tower.has(*_WHISPERS):
        tensors = qwen2_audio(top, tower, hidden)
    else:
        tensors = ()
    top.stop_if_wrong()
    return tensors, build is None or kind in _RECOLLECTED


def largest_item(config: Mapping[str, Any], text: int) -> Tower | None:
    """The vision tower of a multimodal config; None if it is not known here.

    text: hidden size of the text model, which the output has if the tower says nothing. Raises
    `plimsoll.errors.Invalid` if the tower's fields are missing or mistyped.
    """
    top = Fields(config)
    kind = top.text("model_type")
    build = LARGEST.get(kind)
    part = top.section("vision_config")
    if build is None or (part is None and kind not in ("phi3_v", *VISION_DEFAULTS)):
        return None
    given = part.data if part is not None else {}
    v = Fields(
        {**VISION_DEFAULTS.get(kind, {}), **given}, f"{top.path}: vision_config", top.problems
    )
    tower = build(top, v, text)
    top.stop_if_wrong()
    return tower
