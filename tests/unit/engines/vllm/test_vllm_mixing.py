"""The pass where attention or a state is the peak, against vLLM 0.33's own start-up."""

from __future__ import annotations

import pytest

from plimsoll.engines.base import EngineSettings, TermName
from plimsoll.units import GIB
from vllm_features import estimate


@pytest.mark.parametrize(
    ("name", "tp", "gib"),
    [
        pytest.param("Qwen/Qwen3-30B-A3B", 1, 0.805, id="many heads, narrow experts"),
        pytest.param("Qwen/Qwen3-Next-80B-A3B-Instruct", 4, 0.969, id="delta nets"),
    ],
)
def test_a_pass_through_mixers_peaks_where_the_engine_does(name: str, tp: int, gib: float) -> None:
    settings = EngineSettings(version="0.33", max_num_seqs=16, max_model_len=8192)
    found = estimate(name, tensor=tp, gpu="nvidia-h100-80gb", settings=settings)
    assert found.terms[TermName.ACTIVATION].bytes / GIB == pytest.approx(gib, rel=0.01)


@pytest.mark.parametrize(
    ("name", "tp", "gib"),
    [
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", 1, 0.844, id="dense"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", 4, 0.367, id="dense TP 4"),
        pytest.param("ai21labs/Jamba-v0.1", 2, 1.172, id="mamba 1 and experts"),
        pytest.param("microsoft/phi-4", 1, 1.055, id="a wider one"),
        pytest.param("deepseek-ai/DeepSeek-V2-Lite", 1, 1.103, id="latent attention"),
    ],
)
def test_where_the_feed_forward_is_wider_it_stays_the_peak(name: str, tp: int, gib: float) -> None:
    # The engine's own start-up is eager there, measured ones are compiled: the range holds both.
    settings = EngineSettings(version="0.33", max_num_seqs=16, max_model_len=8192)
    term = estimate(name, tensor=tp, gpu="nvidia-h100-80gb", settings=settings).terms[
        TermName.ACTIVATION
    ]
    assert term.low / GIB <= gib <= term.high / GIB
