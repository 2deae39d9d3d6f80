"""Which builder makes which ``model_type``, and what a nested text config leaves unsaid.

It must not build anything itself, and a type that is not in it is not guessed here.

DEFAULTS are those of the configuration classes of Hugging Face transformers, which drop a value
equal to its default from a *nested* config; a config.json's top level always says them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.models.blocks.decoder import Builder

BUILDERS: Final[Mapping[str, str]] = {
    "llama": "dense.llama", "mistral": "dense.llama", "ministral": "dense.llama",
    "ministral3": "dense.llama", "seed_oss": "dense.llama",
    "yi": "dense.llama", "aquila": "dense.llama", "internlm2": "dense.internlm",
    "internlm": "dense.internlm", "internlm3": "dense.llama", "baichuan": "dense.llama",
    "exaone": "dense.llama", "exaone4": "dense.exaone4", "granite": "dense.granite",
    "smollm3": "dense.smollm3", "qwen": "early.qwen1", "qwen2": "dense.qwen2",
    "qwen2_vl": "dense.qwen2", "qwen2_vl_text": "dense.qwen2", "qwen2_5_vl": "dense.qwen2",
    "qwen2_5_vl_text": "dense.qwen2", "qwen3": "dense.qwen3", "qwen3_vl_text": "dense.qwen3",
    "phi3": "dense.phi3", "phi3_v": "dense.phi3", "phi3small": "early.phi3small",
    "phi": "early.phi",
    "gemma": "dense.gemma", "gemma2": "dense.gemma2", "gemma3_text": "dense.gemma3",
    "gemma3": "dense.gemma3", "gemma4_text": "mixed.gemma4", "olmo": "dense.olmo",
    "olmo2": "dense.olmo2", "olmo3": "dense.olmo3", "cohere": "dense.cohere",
    "cohere2": "dense.cohere2", "stablelm": "dense.stablelm", "starcoder2": "dense.starcoder2",
    "glm": "dense.glm", "glm4": "dense.glm4", "chatglm": "early.chatglm",
    "nemotron": "dense.nemotron", "ernie4_5": "dense.ernie", "mimo": "dense.mimo",
    "mllama_text_model": "dense.mllama", "gpt2": "early.gpt2", "gpt_bigcode": "early.gpt_bigcode",
    "gpt_neox": "early.gpt_neox", "gptj": "early.gptj", "opt": "early.opt", "bloom": "early.bloom",
    "falcon": "early.falcon", "mpt": "early.mpt",
    "mixtral": "sparse.mixtral", "phimoe": "sparse.phimoe", "qwen2_moe": "sparse.qwen2_moe",
    "qwen3_moe": "sparse.qwen3_moe", "qwen3_vl_moe_text": "sparse.qwen3_moe",
    "olmoe": "sparse.olmoe", "dbrx": "sparse.dbrx", "granitemoe": "sparse.granitemoe",
    "granitemoeshared": "sparse.granitemoe",
    "dots1": "sparse.dots1", "glm4v_moe_text": "sparse.glm4_moe", "glm4v_text": "dense.glm4",
    "hunyuan_v1_dense": "dense.hunyuan_dense",
    "gpt_oss": "sparse.gpt_oss", "llama4_text": "sparse.llama4", "llama4": "sparse.llama4",
    "glm4_moe": "sparse.glm4_moe", "ernie4_5_moe": "sparse.ernie_moe",
    "minimax_m2": "sparse.minimax_m2", "minimax_m3": "sparse.minimax_m3",
    "minimax_m3_vl": "sparse.minimax_m3", "hunyuan_v1_moe": "sparse.hunyuan",
    "deepseek": "sparse.deepseek", "mimo_v2_flash": "mixed.mimo_v2", "grok-1": "sparse.grok",
    "step3p5": "mixed.step3", "step3p7": "mixed.step3",
    "deepseek_v2": "latent.deepseek", "deepseek_v3": "latent.deepseek",
    "deepseek_v32": "latent.deepseek", "kimi_k2": "latent.deepseek",
    "glm_moe_dsa": "latent.deepseek", "glm4_moe_lite": "latent.deepseek",
    "minicpm3": "latent.minicpm3", "deepseek_v4": "latent.deepseek_v4",
    "deepseek_ref": "latent.deepseek_v4",
    "mamba": "hybrid.mamba", "falcon_mamba": "hybrid.mamba", "mamba2": "hybrid.mamba_two",
    "jamba": "hybrid.jamba", "nemotron_h": "hybrid.nemotron_h", "falcon_h1": "hybrid.falcon_h1",
    "granitemoehybrid": "hybrid.granite_hybrid", "bamba": "hybrid.bamba",
    "kimi_linear": "linear_attention.kimi_linear", "lfm2": "hybrid.lfm2",
    "qwen3_next": "linear_attention.qwen_next", "qwen3_5_text": "linear_attention.qwen_next",
    "qwen3_5_moe_text": "linear_attention.qwen_next", "qwen3_5": "linear_attention.qwen_next",
    "qwen3_5_moe": "linear_attention.qwen_next", "minimax_text_01": "linear_attention.minimax_text",
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "camembert", "jina_embeddings_v3"), "encoders.roberta"
    ),
    "arcee": "lesser.arcee", "apertus": "lesser.apertus", "persimmon": "lesser.persimmon",
    "helium": "lesser.helium", "orion": "lesser.orion", "minicpm": "lesser.minicpm",
    "telechat": "lesser.telechat", "telechat2": "lesser.telechat", "telechat3": "dense.llama",
    "hyperclovax": "lesser.hyperclovax", "jais": "lesser.jais", "jais2": "lesser.jais2",
    "solar": "dense.llama", "flex_olmo": "sparse.olmoe",
    "bailing_moe": "experts.bailing", "bailing_moe_v2": "experts.bailing",
    "longcat_flash": "experts.longcat", "exaone_moe": "experts.exaone_moe",
    "step3_text": "experts.step3", "arctic": "experts.arctic", "aria_text": "experts.aria",
    "ernie4_5_vl_moe_text": "experts.ernie_vl", "ernie4_5_moe_vl": "experts.ernie_vl",
    "whisper": "speech.whisper", "qwen2_5_omni_text": "dense.qwen2",
    "qwen3_omni_moe_text": "sparse.qwen3_moe",
    "gemma3n_text": "mixed.gemma3n", "zamba2": "mixtures.zamba2", "lfm2_moe": "mixtures.lfm2_moe",
    "minicpmv": "lesser.minicpm_v",
    **dict.fromkeys(("qwen3_asr", "qwen3_asr_thinker", "qwen3_asr_text"), "dense.qwen3"),
    "bert": "encoders.bert", "distilbert": "encoders.distilbert", "electra": "encoders.electra",
    "modernbert": "encoders.modernbert", "nomic_bert": "encoders.nomic", "new": "encoders.gte",
    "gte": "encoders.gte",
    "minimax": "linear_attention.minimax_text", "nemotron-nas": "hybrid.nemotron_nas",
}  # fmt: skip
"""Module and function by ``model_type``, of the text config where there is one."""


def builder(model_type: str) -> Builder | None:
    """The builder of a type, its module imported only now; None where there is none."""
    module, _, function = BUILDERS.get(model_type, "").partition(".")
    if not module:
        return None
    found: Builder = getattr(import_module(f"plimsoll.models.families.{module}"), function)
    return found


_LLAMA: Final[Mapping[str, Any]] = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 2048,
}  # fmt: skip
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
