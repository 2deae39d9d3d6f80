"""MODELS.jsonl: from a row's ``config_id`` and the way its weights are stored to architectures.

It must not guess how a checkpoint is stored: if a format leaves something open that changes
its size, it gives every architecture that the format may mean.

    weights_format none                 as the config says
    the config's own quantization, of
    the same kind                       that one: it knows what is left alone
    fp8, w8a8-int8, w4a16 ...           linears but lm_head, as the usual tools write them
    nvfp4, gguf, aqlm ...; any format
    of a model with MLA or states       left out: which parts are quantized differs by checkpoint
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.vllm.traits import traits
from plimsoll.errors import PlimsollError, shown
from plimsoll.measured.rows import lines_of
from plimsoll.models import pooling
from plimsoll.models.config import architecture
from plimsoll.models.quantization import Quantization, Scheme

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from plimsoll.measured.rows import Row
    from plimsoll.models.architecture import Architecture

_HEAD: Final = ("lm_head",)
_FP8: Final = Quantization("compressed-tensors", Scheme("fp8", 8, 0, 1), _HEAD)
_INT8: Final = Quantization("compressed-tensors", Scheme("int8", 8, 0, 1), _HEAD)
_GPTQ: Final = Quantization("gptq", Scheme("w4a16", 4, 128, 1, 2), _HEAD)
_AWQ: Final = Quantization("awq", Scheme("w4a16", 4, 128, 1, 2, 4), _HEAD)
_NF4: Final = Quantization("bitsandbytes", Scheme("nf4", 4, 64, 1, 1), _HEAD)
_STORED: Final = {
    "fp8": (_FP8,), "w8a8-int8": (_INT8,), "int8": (_INT8,), "w8a8": (_INT8,),
    "w4a16": (_GPTQ, _AWQ), "int4": (_GPTQ, _AWQ), "awq": (_AWQ,), "gptq": (_GPTQ,),
    "bitsandbytes": (_NF4,),
}  # fmt: skip
_KINDS: Final = {
    "fp8": "fp8", "w8a8-int8": "int8", "int8": "int8", "w8a8": "int8", "w4a16": "w4a16",
    "int4": "w4a16", "awq": "w4a16", "gptq": "w4a16", "mxfp4": "mxfp4", "nvfp4": "nvfp4",
    "bitsandbytes": "nf4",
}  # fmt: skip
AT_LOAD: Final = frozenset({"fp8", "bitsandbytes", "experts_int8", "mxfp8", "fp8_per_block"})
"""Words of ``quantization`` that an engine applies to a checkpoint stored in 16 bits."""
_FOLDED: Final = "_folded_list_of"
_MOST_ITEMS: Final = 4096


@dataclass
class Configs:
    """The models of all files, by `_model_id`. skipped: lines that are none, with the reason."""

    by_id: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    made: dict[str, Architecture | str] = field(default_factory=dict)

    def architecture(self, name: str) -> Architecture | str:
        """The structure of that model as its config says, or why there is none."""
        if name not in self.made:
            self.made[name] = self._make(name)
        return self.made[name]

    def _make(self, name: str) -> Architecture | str:
        config = self.by_id.get(name)
        if config is None:
            return "model: config_id is in no file of models"
        quant = config.get("_hf_quant_config")
        plain = {key: value for key, value in config.items() if not key.startswith("_")}
        try:
            plain, quant = unfolded(plain), unfolded(quant)
        except (ValueError, RecursionError):
            return "model: a list in its config is folded and its rest unknown"
        try:
            made = architecture(plain, quant if isinstance(quant, dict) else None)
            return pooling.named(made, name)
        except PlimsollError as error:
            return f"not modelled: config: {shown(str(error))}"
        except Exception as error:
            # One config of many must not end the run; what is wrong is said by type and text.
            return f"not modelled: config: {type(error).__name__}: {shown(str(error))}"


def read(paths: Iterable[Path]) -> Configs:
    """The models of MODELS.jsonl files; a later file wins. Raises as `lines_of` does."""
    configs = Configs()
    for path in paths:
        for index, line in lines_of(path):
            _take(line, f"{path.name}:{index}", configs)
    return configs


def _take(line: str, place: str, configs: Configs) -> None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        configs.skipped.append(f"{place}: not JSON")
        return
    name = value.get("_model_id") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        configs.skipped.append(f"{place}: no _model_id")
        return
    configs.by_id[name] = value


def unfolded(value: Any) -> Any:
    """The same with folded lists written out, if the items that a fold keeps are all alike.

    A fold keeps the first items of a list (``first``) and its length. Raises `ValueError` if
    they differ: the rest cannot be known then.
    """
    if isinstance(value, dict):
        if _FOLDED in value:
            return _unfold(value)
        return {key: unfolded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unfolded(item) for item in value]
    return value


def _unfold(fold: dict[str, Any]) -> list[Any]:
    first, size = fold.get("first"), fold.get(_FOLDED)
    if not isinstance(first, list) or not first or not isinstance(size, int) or size > _MOST_ITEMS:
        raise ValueError("a folded list")
    if size > len(first) and any(item != first[0] for item in first):
        raise ValueError("a folded list")
    return (first[:1] * size) if size > len(first) else first


def stored(row: Row, structure: Architecture) -> tuple[Architecture, ...] | str:
    """The architectures that a row's weights may be, or why they cannot be told."""
    form = row.weights_format
    if form is None:
        return "unknown: weights_format"
    if form in ("none", "as-config"):
        return (
            (structure,)
            if _plain(row, structure)
            else f"unknown: weights_format none, quantization {row.quantization[:32]}"
        )
    kind = _KINDS.get(form)
    if (
        kind is not None
        and structure.quantization is not None
        and kind in _names(structure.quantization)
    ):
        return (structure,)
    if form not in _STORED or (structure.quantization is None and _mixed(structure)):
        return f"unknown: what is quantized in weights stored as {form[:32]}"
    possible = _STORED[form]
    if len(possible) > 1 and "awq" in row.quantization:
        possible = (_AWQ,)
    elif len(possible) > 1 and ("gptq" in row.quantization or "compressed" in row.quantization):
        possible = (_GPTQ,)
    return tuple(replace(structure, quantization=each) for each in possible)


def _mixed(structure: Architecture) -> bool:
    """Whether tools leave parts of such a model unquantized, each in its own way."""
    kinds = traits(structure)
    return kinds.latent or kinds.states


def _plain(row: Row, structure: Architecture) -> bool:
    """Whether a quantization word agrees with weights that are stored as the config says."""
    return not row.quantization or structure.quantization is not None or row.quantization in AT_LOAD


def _names(quantization: Quantization) -> set[str]:
    return {scheme.name for scheme in quantization.schemes}
