"""Graphs of prefill batches, which lie beside SGLang's static share from 0.5.10 on."""

from __future__ import annotations

import pytest

from plimsoll.accelerators.catalogue import find
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings, Parallelism
from plimsoll.engines.sglang.engine import SGLang
from plimsoll.engines.sglang.memory import prefill_graphs
from plimsoll.engines.sglang.settings import TABLE, Resolved, resolve
from plimsoll.models.catalogue import load
from plimsoll.units import GIB


def started(
    model: str,
    version: str,
    *args: str,
    gpu: str = "nvidia-h100-80gb",
    split: Parallelism | None = None,
) -> Resolved:
    entry, accelerator = load().find(model), find(gpu)
    assert entry is not None
    assert accelerator is not None
    reading = SGLang().read_arguments(args, EngineSettings("sglang", version), NOTHING_ASKED)
    assert not reading.problems
    return resolve(
        entry.architecture,
        reading.settings,
        split or Parallelism(),
        accelerator,
        TABLE.or_newest(version),
    )


@pytest.mark.parametrize(
    ("model", "gpu", "version", "layers", "logged"),
    [
        ("Qwen/Qwen3-32B", "nvidia-h100-80gb", "0.5.19", 64, 2.84),
        ("Qwen/Qwen3-30B-A3B", "rtx-pro-6000", "0.5.13", 48, 0.88),
    ],
)
def test_what_was_logged_lies_in_the_range(
    model: str, gpu: str, version: str, layers: int, logged: float
) -> None:
    found = prefill_graphs(started(model, version, gpu=gpu), layers, TABLE.or_newest(version))
    assert found.low < logged * GIB < found.high
    assert found.bytes / GIB == pytest.approx(logged, rel=0.6)


@pytest.mark.parametrize(
    ("version", "args", "captured"),
    [
        ("0.5.9", (), 0),
        ("0.5.10", (), 8192),
        ("0.5.13", ("--disable-cuda-graph",), 8192),
        ("0.5.14", ("--disable-cuda-graph",), 0),
        ("0.5.14", ("--disable-piecewise-cuda-graph",), 0),
        ("0.5.14", ("--chunked-prefill-size", "2048"), 2048),
        ("0.5.14", ("--moe-a2a-backend", "deepep"), 0),
    ],
)
def test_they_are_captured_from_0_5_10_on_until_switched_off(
    version: str, args: tuple[str, ...], captured: int
) -> None:
    assert started("Qwen/Qwen3-30B-A3B", version, *args).prefill == captured


def test_they_are_not_captured_in_stages_or_beside_a_tower_or_on_other_makers_gpus() -> None:
    assert started("Qwen/Qwen3-32B", "0.5.14", split=Parallelism(1, 2)).prefill == 0
    assert started("Qwen/Qwen3-32B", "0.5.14", gpu="mi300x").prefill == 0
    assert started("Qwen/Qwen3-VL-30B-A3B-Instruct", "0.5.13").prefill == 0
    assert started("Qwen/Qwen3-VL-30B-A3B-Instruct", "0.5.14").prefill == 8192
