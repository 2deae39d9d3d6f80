"""The parameters of a model class of transformers, made on the meta device: shapes, no weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final[str] = transformers.__version__
_TYPES: Final = {"new": "gte", "internlm3": "llama"}
"""Types that transformers has under another name."""
_LEFT_OUT: Final[Mapping[str, Mapping[str, Any]]] = {
    "dbrx": {"attn_config": {"rope_theta": 500_000.0, "kv_n_heads": 8, "clip_qkv": 8.0}},
    "gte": {"rope_scaling": None},
}
"""Fields that say no shape, as a class wants them and the catalogue does not keep them."""
_CHOICES: Final = (
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "MODEL_MAPPING",
)
"""Where transformers lists its classes by config, in the order in which they are tried."""


def counted(
    config: Mapping[str, Any], class_name: str = "", *, pooler: bool = True
) -> tuple[str, int]:
    """The class that was made from a config, and its parameters: tied ones once, no buffers.

    class_name: which class; empty: what the config names, or what transformers has for the type.
    pooler: with the pooler that a bare encoder has. Raises KeyError for a type, and LookupError for
    a class, that transformers does not have.
    """
    model_type = _TYPES.get(config["model_type"], config["model_type"])
    filled = {**config, **_LEFT_OUT.get(model_type, {}), "model_type": model_type}
    made = transformers.CONFIG_MAPPING[model_type].from_dict(filled)
    model_class = _class_of(made, class_name or (config.get("architectures") or [""])[0])
    options = {} if pooler else {"add_pooling_layer": False}
    with torch.device("meta"):
        model = model_class(made, **options)
    each = {id(parameter): parameter.numel() for parameter in model.parameters()}
    return model_class.__name__, sum(each.values())


def _class_of(made: Any, class_name: str) -> Any:
    named = getattr(transformers, class_name, None) if class_name else None
    if named is not None:
        return named
    for choice in _CHOICES:
        classes = getattr(transformers, choice)
        if type(made) in classes:
            return classes[type(made)]
    raise LookupError(f"transformers {VERSION} has no class for {type(made).__name__}")
