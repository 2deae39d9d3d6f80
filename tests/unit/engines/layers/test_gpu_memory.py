"""What a process sees of a GPU, which is what an engine takes its share of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from architectures import A100, B200, H100, L4
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator


@pytest.mark.parametrize(("gpu", "seen"), [(H100, 79.19), (A100, 79.25), (L4, 22.06)])
def test_a_known_gpu_shows_what_vllm_printed(gpu: Accelerator, seen: float) -> None:
    assert visible_memory(gpu) / GIB == pytest.approx(seen, abs=0.001)


def test_a_node_that_reports_less_is_believed() -> None:
    assert visible_memory(replace(H100, memory=70 * GIB)) == 70 * GIB


def test_another_nvidia_gpu_keeps_a_little_for_the_driver() -> None:
    assert B200.memory - GIB < visible_memory(B200) < B200.memory - 700 * MIB


def test_a_slice_and_other_vendors_show_what_they_say() -> None:
    piece = replace(H100, mig_of="nvidia-h100-80gb", memory=9984 * MIB)
    assert visible_memory(piece) == 9984 * MIB
    assert visible_memory(replace(H100, resource="amd.com/gpu")) == H100.memory
