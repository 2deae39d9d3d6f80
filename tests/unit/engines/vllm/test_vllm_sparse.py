"""The workspace that sparse attention reserves while vLLM profiles."""

from __future__ import annotations

import pytest

from plimsoll.engines.base import EngineSettings, TermName
from plimsoll.units import GIB
from vllm_features import estimate

SPARSE, DENSE, GLM = "deepseek-ai/DeepSeek-V3.2", "deepseek-ai/DeepSeek-V3", "zai-org/GLM-5.2"


def peak(name: str, version: str, length: int, tokens: int = 1024) -> float:
    settings = EngineSettings(version=version, max_model_len=length, max_num_batched_tokens=tokens)
    found = estimate(name, tensor=8, gpu="nvidia-b200", settings=settings)
    return found.terms[TermName.ACTIVATION].bytes / GIB


def test_glm_with_a_long_context_peaks_where_its_log_said() -> None:
    # 0.26.0, four GPUs of 184 GiB, experts over them, 8 bits of cache
    settings = EngineSettings(
        version="0.26.0",
        max_model_len=819200,
        max_num_batched_tokens=8192,
        kv_cache_dtype="fp8_e4m3",
    )
    found = estimate(
        "nvidia/GLM-5.2-NVFP4", tensor=4, expert=True, gpu="nvidia-b200", settings=settings
    )
    term = found.terms[TermName.ACTIVATION]
    assert term.bytes / GIB == pytest.approx(6.31, rel=0.03)
    assert term.low / GIB <= 6.31 <= term.high / GIB


def test_a_token_of_context_costs_forty_keys_of_the_indexer() -> None:
    found = peak(SPARSE, "0.26", 163840) - peak(SPARSE, "0.26", 122880)
    assert found == pytest.approx(40 * 40960 * 132 / GIB, rel=0.01)


def test_it_is_one_buffer_with_the_experts() -> None:
    # with a short context the experts' workspaces are the larger
    assert peak(SPARSE, "0.26", 8192, 8192) == pytest.approx(peak(DENSE, "0.26", 8192, 8192))


def test_from_0_32_on_a_very_long_context_is_held_twice_and_not_five_times() -> None:
    old, new = peak(GLM, "0.31", 819200), peak(GLM, "0.32", 819200)
    assert old - new == pytest.approx(8 * 3 * 819200 * 132 / GIB, rel=0.01)
    assert peak(GLM, "0.31", 262144) == peak(GLM, "0.32", 262144)


@pytest.mark.parametrize(
    ("version", "rows"), [("0.22", 0), ("0.23", 16384), ("0.29", 16384), ("0.30", 1024)]
)
def test_on_amd_the_indexer_holds_logits_of_what_is_decoded_at_once(
    version: str, rows: int
) -> None:
    def held(gpu: str) -> int:
        settings = EngineSettings(version=version, max_num_batched_tokens=16384, max_num_seqs=1024)
        found = estimate(GLM, tensor=8, gpu=gpu, settings=settings)
        return found.terms[TermName.ACTIVATION].bytes

    beyond = max(0, rows * 4 - 8 * 5 * 132) * 1048576  # the keys' workspace is there anyway
    more = held("amd-mi300x") - held("nvidia-h200-141gb")
    assert beyond <= more + 0.1 * GIB <= beyond + 0.7 * GIB


def test_v4_pro_on_mi300x_holds_its_whole_context_at_8192_batched_tokens_alone() -> None:
    # https://github.com/vllm-project/vllm/issues/53961
    def spare(version: str, tokens: int) -> int:
        settings = EngineSettings(version=version, max_num_batched_tokens=tokens)
        found = estimate(
            "deepseek-ai/DeepSeek-V4-Pro", tensor=8, gpu="amd-mi300x", settings=settings
        )
        return found.usable - found.terms.bytes

    assert spare("0.28", 8192) > 0 > spare("0.28", 16384)
