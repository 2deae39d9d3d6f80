"""Configs as an engine reads them: the catalogue's with what it leaves out, cut, quantized.

The catalogue keeps of a config what memory depends on; an engine also wants how experts are chosen
and the like. Those fields are in tests/data/drystart/fields.json, by model.
"""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from typing import Any, Final

from accuracy.data import ROOT
from plimsoll.models import catalogue

FIELDS: Final = ROOT / "tests" / "data" / "drystart" / "fields.json"
_CATALOGUE: Final = ROOT / "estimator" / "plimsoll" / "models" / "data" / "catalogue.json"
_LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_PERIODS: Final = (
    "attn_layer_period",
    "expert_layer_period",
    "full_attention_interval",
    "sliding_window_pattern",
    "layer_group_size",
    "interleave_moe_layer_step",
    "hybrid_attn_interval",
    "global_attn_every_n_layers",
)
_FEWEST, _MOST = 4, 14
_PERIOD_OF: Final = {"gemma3": 6, "gemma3_text": 6, "gemma4": 6, "gemma4_text": 6}
"""Layers after which the pattern of a type repeats that the config need not say."""


@lru_cache(maxsize=1)
def configs() -> dict[str, dict[str, Any]]:
    """Every config of the catalogue, whole, by the model's id."""
    further = json.loads(FIELDS.read_text("utf-8"))
    rows = json.loads(_CATALOGUE.read_text("utf-8"))
    assert catalogue.load() is not None
    return {row["id"]: _merged(row["config"], further.get(row["id"], {})) for row in rows}


def _merged(config: dict[str, Any], further: dict[str, Any]) -> dict[str, Any]:
    out = dict(config)
    for key, value in further.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = _merged(out[key], value)
        else:
            out.setdefault(key, value)
    return out


def text_part(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config that has the layers of the text model."""
    for key in ("text_config", "llm_config", "language_config", "thinker_config"):
        inner = config.get(key)
        if isinstance(inner, dict) and any(name in inner for name in _LAYERS):
            return inner
    return config


def cut(config: dict[str, Any]) -> dict[str, Any]:
    """The same model with a few layers: as many as show every kind of layer that it has."""
    out = copy.deepcopy(config)
    if "encoder_layers" in config:  # two stacks, and one name for either
        return out
    part = text_part(out)
    name = next((one for one in _LAYERS if isinstance(part.get(one), int)), None)
    if name is None:
        return out
    whole = int(part[name])
    kept = _kept(part, whole)
    if kept >= whole:
        return out
    part[name] = kept
    for one in _LAYERS:  # some configs say it under two names
        if part.get(one) == whole:
            part[one] = kept
    for key, value in part.items():
        if isinstance(value, list | str) and len(value) == whole and key != "torch_dtype":
            part[key] = value[:kept]
    dense = part.get("first_k_dense_replace")
    if isinstance(dense, int) and dense >= kept:
        part["first_k_dense_replace"] = 1
    if isinstance(part.get("max_window_layers"), int):
        part["max_window_layers"] = min(part["max_window_layers"], kept)
    return out


def _kept(part: dict[str, Any], whole: int) -> int:
    fewest = _PERIOD_OF.get(part.get("model_type", ""), _FEWEST)
    for key in _PERIODS:
        period = part.get(key)
        if isinstance(period, int):
            fewest = max(fewest, min(period, _MOST))
    for value in part.values():
        if isinstance(value, list | str) and len(value) == whole and whole > fewest:
            kinds = {str(one) for one in value}
            if len(kinds) > _MOST:
                continue
            while {str(one) for one in value[:fewest]} != kinds:
                fewest += 1
    return min(fewest, whole)


def _integers(bits: int, strategy: str, group: int | None, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "symmetric": True, "strategy": strategy, "group_size": group} | more


def _compressed(
    kind: str, weights: dict[str, Any], inputs: dict[str, Any] | None
) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": kind,
        "ignore": ["lm_head"],
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
    }


QUANTIZATIONS: Final[dict[str, dict[str, Any]]] = {
    "gptq": {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "desc_act": False,
        "sym": True,
    },
    "awq": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 128,
        "zero_point": True,
        "version": "gemm",
    },
    "fp8-block": {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "weight_block_size": [128, 128],
    },
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "w4a16": _compressed(
        "pack-quantized", _integers(4, "group", 128, type="int", dynamic=False), None
    ),
    "w8a8": _compressed(
        "int-quantized",
        _integers(8, "channel", None, type="int", dynamic=False),
        _integers(8, "token", None, type="int", dynamic=True),
    ),
    "fp8-dynamic": _compressed(
        "float-quantized",
        _integers(8, "channel", None, type="float", dynamic=False),
        _integers(8, "token", None, type="float", dynamic=True),
    ),
    "nvfp4": _compressed(
        "nvfp4-pack-quantized",
        _integers(4, "tensor_group", 16, type="float", dynamic=False),
        _integers(4, "tensor_group", 16, type="float", dynamic="local"),
    ),
}
"""What checkpoints of each kind say of themselves in `quantization_config`."""


def config_of(model: str, *, layers: str = "", quantization: str = "") -> dict[str, Any]:
    """A model's config. layers: "cut", or all of them. quantization: a key of `QUANTIZATIONS`."""
    config = configs()[model]
    if layers == "cut":
        config = cut(config)
    if quantization:
        config = dict(config, quantization_config=QUANTIZATIONS[quantization])
    return config
