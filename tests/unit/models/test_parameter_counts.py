"""The exact parameter count, from configs of the catalogue, against counts known from elsewhere.

The counts are in tests/data/parameter_counts.json. ``published``: elements that the checkpoint's
safetensors files hold, if nothing else is stored in them. ``instantiated``: the parameters of
the model's class in transformers, made without weights. None is missed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from plimsoll.models import catalogue

COUNTS: Final[dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "data" / "parameter_counts.json").read_text()
)
STORED_BESIDE: Final = {
    "deepseek-ai/DeepSeek-R1": (684_489_845_504, 15_104),
    "deepseek-ai/DeepSeek-V3.2": (685_355_329_792, 15_104),
    "zai-org/GLM-4.6": (356_785_898_816, 14_400),
    "zai-org/GLM-4.7-Flash": (31_221_488_576, 3_008),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (81_324_862_720, 0),
    "Qwen/Qwen3.5-27B": (27_781_427_952, 0),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8": (123_611_012_096, 0),
}
"""Elements in checkpoints with an MTP layer, and how many of them are router biases (buffers)."""


def counted(name: str) -> int:
    entry = catalogue.load().find(name)
    assert entry is not None, f"{name} is not in the catalogue"
    return entry.architecture.parameters


@pytest.mark.parametrize("name", COUNTS)
def test_the_count_from_the_config_alone_is_exact(name: str) -> None:
    assert counted(name) == COUNTS[name]["parameters"]


def test_there_are_enough_yardsticks_to_trust_it() -> None:
    known = [count["known"] for count in COUNTS.values()]
    assert known.count("published") >= 244
    assert known.count("instantiated") >= 106


@pytest.mark.parametrize("name", STORED_BESIDE)
def test_mtp_layers_explain_what_the_checkpoint_holds_beyond_the_count(name: str) -> None:
    entry = catalogue.load().find(name)
    assert entry is not None
    a = entry.architecture
    stored, buffers = STORED_BESIDE[name]
    assert a.parameters + sum(t.elements for t in a.extra) + buffers == stored


def test_every_model_of_the_catalogue_has_a_structure() -> None:
    for entry in catalogue.load():
        a = entry.architecture
        assert 0 < a.active_parameters <= a.parameters, entry.id
        assert a.max_model_len > 0, entry.id


def test_models_that_are_not_known_by_type_are_marked() -> None:
    assumed = {e.of or e.id for e in catalogue.load() if e.architecture.assumed}
    assert assumed == {"moonshotai/Kimi-K3"}, "its attention over residuals is not counted"


def test_like_layers_share_one_block() -> None:
    entry = catalogue.load().find("Qwen/Qwen3-235B-A22B")
    assert entry is not None
    assert len(entry.architecture.blocks) == 94
    assert len({id(block) for block in entry.architecture.blocks}) == 1
