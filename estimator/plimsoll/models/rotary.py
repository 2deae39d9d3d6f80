"""How many elements the rotary position tables have that serving keeps beside the weights.

A config that cannot be read here gives -1 (not known) and never an error.

    elements    sum over the kinds of rope of positions x rotated dimensions
    positions   max_position_embeddings; x factor for linear and dynamic scaling; original x factor
                for yarn; original more for longrope; x 4 for mrope (video)
    rotated     head_dim x partial_rotary_factor, or rotary_dim; for MLA qk_rope_head_dim

Source: vLLM 0.33.0, vllm/model_executor/layers/rotary_embedding. It explains measured weights:
Gemma 3 4B has 0.5625 GiB more than its tensors (131,072 x 8 positions and once more for the
sliding layers), Llama 4 Scout 2.5 GiB (10,485,760 positions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NO_ROPE: Final = frozenset(
    {
        "gpt2",
        "gpt_bigcode",
        "opt",
        "bloom",
        "mpt",
        "mamba",
        "mamba2",
        "falcon_mamba",
        "jamba",
        "nemotron_h",
        "bert",
        "roberta",
        "xlm-roberta",
        "camembert",
        "distilbert",
        "electra",
    }
)
_ROTARY: Final = ("rotary", "rope")
"""What ``position_embedding_type`` says in a type that else has no rope (Jina 3)."""
_BY_LAYER: Final = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
_PARTIAL: Final[Mapping[str, float]] = {
    "glm": 0.5, "glm4": 0.5, "glm4_moe": 0.5, "nemotron": 0.5, "persimmon": 0.5, "phi": 0.5,
    "qwen3_next": 0.25, "stablelm": 0.25,
}  # fmt: skip
"""The part of a head that is rotated if a config does not say it (transformers' defaults)."""
_MROPE_LENGTHENS: Final = 4
_TABLES_OF_V4: Final = 4
"""DeepSeek V4: a table for layers with a compressor and one for the others, both in 32 bits."""
_MROPE: Final[Mapping[str, Any]] = {"rope_type": "default", "mrope_section": ()}
_UNSAID: Final[Mapping[str, Mapping[str, Any]]] = {
    "gemma3": {"rope_type": "linear", "factor": 8.0},
    **dict.fromkeys(
        (
            "qwen2_vl",
            "qwen2_5_vl",
            "qwen2_5_omni",
            "qwen2_5_omni_thinker",
            "qwen3_vl",
            "qwen3_vl_moe",
            "qwen3_omni_moe",
        ),
        _MROPE,
    ),
}
"""The rope of every published checkpoint of a multimodal model, if a copy of its config has
none."""


def rotary_elements(config: Mapping[str, Any], model_type: str = "") -> int:
    """Elements of the tables of the text model whose config this is; -1 if it cannot be said.

    model_type: of the whole model, which decides if the config says nothing of its rope.
    """
    positions_kind = config.get("position_embedding_type")
    if config.get("model_type") in _NO_ROPE and positions_kind not in _ROTARY:
        return 0
    positions, width = _number(config, "max_position_embeddings"), _width(config)
    if positions <= 0 or width <= 0:
        return -1
    if config.get("compress_ratios") or config.get("compress_rates"):
        return _TABLES_OF_V4 * positions * width
    rope = (
        config.get("rope_scaling") or config.get("rope_parameters") or _UNSAID.get(model_type, {})
    )
    if not isinstance(rope, Mapping):
        return -1
    if _BY_LAYER & rope.keys():
        kinds = [part for part in rope.values() if isinstance(part, Mapping)]
        return sum(_positions(part, positions) * _rotated(part, config, width) for part in kinds)
    elements = _positions(rope, positions) * _share(rope, config, width)
    local = config.get("rope_local_base_freq") or config.get("local_rope_theta")
    if local or config.get("model_type") in ("gemma3", "gemma3_text"):
        elements += positions * width
    return elements


def _positions(rope: Mapping[str, Any], positions: int) -> int:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    factor = rope.get("factor")
    scale = float(factor) if isinstance(factor, (int, float)) and 0 < factor < 10_000 else 1.0
    original = _number(rope, "original_max_position_embeddings") or positions
    if "mrope_section" in rope:
        return positions * _MROPE_LENGTHENS
    if kind in ("linear", "dynamic"):
        return int(positions * scale)
    if kind == "yarn":
        return int(original * scale)
    if kind in ("longrope", "su"):
        return original + positions
    return positions


def _width(config: Mapping[str, Any]) -> int:
    """Rotated dimensions of one head."""
    latent = _number(config, "qk_rope_head_dim")
    if latent:
        return latent
    heads = _number(config, "num_attention_heads")
    whole = _number(config, "head_dim") or _number(config, "hidden_size") // max(1, heads)
    rotated = _number(config, "rotary_dim")
    return rotated if 0 < rotated <= whole else whole


def _rotated(rope: Mapping[str, Any], config: Mapping[str, Any], width: int) -> int:
    """Rotated dimensions of a head of one kind of layer.

    Where the share is meant proportionally (Gemma 4's full layers), the table is as wide as the
    whole head, whose other dimensions it turns by nothing.
    """
    if rope.get("rope_type") == "proportional":
        return _number(config, "global_head_dim") or width
    return _share(rope, config, width)


def _share(rope: Mapping[str, Any], config: Mapping[str, Any], width: int) -> int:
    """The part of a head that is rotated, if either place says that it is not all of it."""
    kind = config.get("model_type")
    unsaid = _PARTIAL.get(kind, 1.0) if isinstance(kind, str) else 1.0
    share = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", unsaid))
    partial = isinstance(share, (int, float)) and 0 < share < 1
    return int(width * float(share)) if partial and share else width


def _number(holder: Mapping[str, Any], name: str) -> int:
    value = holder.get(name)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 10**9
    return value if good and isinstance(value, int) else 0
