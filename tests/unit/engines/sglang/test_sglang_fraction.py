"""The default of --mem-fraction-static against values that real servers printed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from architectures import A100, B200, H100, L4, LLAMA_8B, latent
from plimsoll.accelerators.types import Accelerator
from plimsoll.engines.base import EngineSettings, Parallelism
from plimsoll.engines.sglang.memory import graph_sizes
from plimsoll.engines.sglang.settings import (
    TABLE,
    SGLangOptions,
    prefill_graph_sizes,
    resolve,
    tier,
)
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

RTX_4090 = Accelerator(
    "nvidia-rtx-4090", "NVIDIA GeForce RTX 4090", 24564 * MIB, "nvidia.com/gpu", "ada", (8, 9), 8
)


def fraction(
    version: str,
    accelerator: Accelerator = H100,
    tensor: int = 1,
    settings: EngineSettings | None = None,
    model: object = LLAMA_8B,
) -> Decimal:
    """The share that a version takes by itself."""
    said = settings or EngineSettings(name="sglang", version=version)
    return resolve(
        model,  # type: ignore[arg-type]
        said,
        Parallelism(tensor=tensor),
        accelerator,
        TABLE.constants(version),
    ).fraction


@pytest.mark.parametrize(
    ("version", "accelerator", "tensor", "printed"),
    [
        # https://github.com/sgl-project/sglang/pull/4760: 442,750 tokens follow from 0.88
        ("0.4.4", H100, 1, "0.88"),
        # https://github.com/sgl-project/sglang/issues/4895: server_args of a 24 GB card
        ("0.4.4", RTX_4090, 1, "0.88"),
        ("0.4.0", H100, 2, "0.87"),
        ("0.4.3.post4", L4, 4, "0.85"),
        ("0.4.5", H100, 8, "0.81"),
        ("0.3.6", H100, 8, "0.82"),
        # 38,141 tokens of Llama 3.1 8B on a card of 24 GB follow from 0.879
        ("0.4.9", RTX_4090, 1, "0.879"),
        ("0.4.9", B200, 1, "0.821"),
        ("0.4.7", B200, 1, "0.79"),
    ],
)
def test_the_default_share_is_what_servers_of_that_version_print(
    version: str, accelerator: Accelerator, tensor: int, printed: str
) -> None:
    assert fraction(version, accelerator, tensor) == Decimal(printed)


def test_an_80_gb_gpu_keeps_ten_gib_back_from_0_5_3_on() -> None:
    asked = Decimal(81559 - max(10240, 512 + 12288 + 512 + 128)) / 81559
    assert fraction("0.5.9") == round(asked, 3)


def test_graphs_of_prefill_are_reserved_for_from_0_5_10_on() -> None:
    assert fraction("0.5.12") < fraction("0.5.9")
    assert prefill_graph_sizes(8192) == 8 + 14 + 8 + 8 + 12 + 8


def test_switching_prefill_graphs_off_gives_their_reserve_back() -> None:
    settings = EngineSettings(
        name="sglang", version="0.5.12", options=SGLangOptions(disable_piecewise_cuda_graph=True)
    )
    assert fraction("0.5.12", settings=settings) == fraction("0.5.9")


def test_mla_reserves_a_fixed_amount_for_prefill_graphs() -> None:
    assert fraction("0.5.12", model=latent()) < fraction("0.5.9", model=latent())


def test_a_share_that_is_said_holds() -> None:
    said = EngineSettings(name="sglang", version="0.5.9", utilization=Decimal("0.7"))
    assert fraction("0.5.9", settings=said) == Decimal("0.7")


def test_a_larger_chunk_leaves_a_smaller_share() -> None:
    small, large = (
        fraction(
            "0.5.9",
            A100,
            settings=EngineSettings(name="sglang", version="0.5.9", max_num_batched_tokens=n),
        )
        for n in (8192, 32768)
    )
    assert large < small


@pytest.mark.parametrize(
    ("version", "mib", "chunk", "graphs", "from_four"),
    [
        ("0.4.3", 24564, 2048, 8, 80),
        ("0.4.9", 81559, 8192, 160, 160),
        ("0.5.5", 24564, 2048, 16, 80),
        ("0.5.9", 46068, 4096, 32, 160),
        ("0.5.9", 81559, 8192, 256, 512),
        ("0.5.23", 24564, 4096, 48, 160),
        ("0.5.23", 183359, 16384, 512, 512),
    ],
)
def test_chunk_and_graphs_follow_the_gpu_size_and_the_version(
    version: str, mib: int, chunk: int, graphs: int, from_four: int
) -> None:
    own = tier(version, mib)
    assert (own.chunk, own.graphs, own.graphs_from_four) == (chunk, graphs, from_four)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(graph_sizes, [0, 3, 52, 53]), (prefill_graph_sizes, [0, 1, 30, 30])],
)
def test_captured_sizes_are_counted_at_once_however_large_the_batch(
    count: Callable[[int], int], expected: list[int]
) -> None:
    assert [count(most) for most in (0, 4, 512, 544)] == expected
    assert count(1 << 60) > 1 << 50
