"""What a first start is charged beyond a later one, against public start-ups of both kinds."""

from __future__ import annotations

import pytest

from plimsoll.engines.base import EngineSettings, TermName
from plimsoll.units import GIB
from vllm_features import estimate


def high(name: str, *flags: str, version: str, gpu: str = "nvidia-rtx-4090", tp: int = 1) -> float:
    """GiB that the activation may take at most."""
    found = estimate(name, *flags, version=version, gpu=gpu, tensor=tp)
    return found.terms[TermName.ACTIVATION].high / GIB


@pytest.mark.parametrize(
    ("name", "version", "gpu", "peak"),
    [
        # charged at a first start: vllm issues 54122 and 54383 say why
        pytest.param("Qwen/Qwen3-4B", "0.27.1", "nvidia-rtx-4090", 0.83, id="Qwen3-4B"),
        pytest.param("Qwen/Qwen2.5-7B-Instruct", "0.28", "nvidia-l4", 1.04, id="Qwen2.5-7B"),
        pytest.param("Qwen/Qwen3-14B", "0.28", "nvidia-rtx-5090", 1.46 + 1.45, id="and it stays"),
    ],
)
def test_the_range_of_the_activation_holds_a_first_start(
    name: str, version: str, gpu: str, peak: float
) -> None:
    found = estimate(name, version=version, gpu=gpu).terms[TermName.ACTIVATION]
    assert found.bytes / GIB < peak / 2, "the middle is a start whose kernels are compiled"
    assert peak <= found.high / GIB <= 2.5 * peak


def test_an_embedding_that_is_cut_is_copied_in_part() -> None:
    # Qwen3-32B-AWQ on two RTX 4090: 0.47 GiB less cache for each at a first start (0.28.0)
    whole = high("Qwen/Qwen3-32B", "--max-num-seqs=48", version="0.26")
    cut = high("Qwen/Qwen3-32B", "--max-num-seqs=48", version="0.26", tp=2)
    assert whole - cut == pytest.approx(151936 / 2 * 5120 * 2 / GIB, abs=0.01)


def test_in_eager_mode_and_before_kernels_were_combined_nothing_is_copied() -> None:
    assert high("Qwen/Qwen3-4B", "--enforce-eager", version="0.27.1") < 0.5
    old = estimate("Qwen/Qwen3-4B", settings=EngineSettings(version="0.19.1"), gpu="nvidia-l4")
    assert old.terms[TermName.ACTIVATION].high / GIB < 0.75


def test_what_stays_is_given_back_from_the_release_that_does_not_split_it() -> None:
    kept = high("Qwen/Qwen3-14B", "--max-num-seqs=8", version="0.32")
    given_back = high("Qwen/Qwen3-14B", "--max-num-seqs=8", version="0.33")
    assert kept - given_back == pytest.approx(151936 * 5120 * 2 / GIB, abs=0.01)
