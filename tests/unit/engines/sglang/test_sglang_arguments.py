"""SGLang's command line: what its flags come to, and what is written back."""

from __future__ import annotations

import shlex
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import H100, LLAMA_8B, moe
from plimsoll.engines.base import AskedSplit, EngineSettings, Parallelism, Reading, Workload
from plimsoll.engines.sglang.engine import SGLang
from plimsoll.engines.sglang.settings import SGLangOptions
from worded import problems_in, warnings_in

ENGINE = SGLang()


def read(*args: str, settings: EngineSettings | None = None, **asked: Any) -> Reading:
    """What extraArgs come to."""
    return ENGINE.read_arguments(
        args, settings or EngineSettings(name="sglang"), AskedSplit(**asked)
    )


def test_flags_fill_the_settings_and_the_split() -> None:
    found = read(
        *shlex.split(
            "--mem-fraction-static=0.85 --tp-size 4 --context-length 32k"
            " --max-running-requests=64 --chunked-prefill-size 4096 --kv-cache-dtype=fp8_e5m2"
            " --page-size 64 --disable-cuda-graph --quantization fp8 --dp 2"
        )
    )
    assert found.problems == ()
    said = found.settings
    assert said.utilization == Decimal("0.85")
    assert (said.max_model_len, said.max_num_seqs, said.max_num_batched_tokens) == (32000, 64, 4096)
    assert (said.kv_cache_dtype, said.block_size) == ("fp8_e5m2", 64)
    assert (said.enforce_eager, said.quantization) == (True, "fp8")
    assert found.split == AskedSplit(4, None, 2)


@pytest.mark.parametrize(
    "switch",
    [
        "--prefill-round-robin-balance",
        "--enable-flashinfer-mla",
        "--enable-flashinfer-trtllm-moe",
        "--stream-output",
        "--collect-tokens-histogram",
        "--enable-piecewise-cuda-graph",
    ],
)
def test_switches_that_later_releases_gave_up_take_no_value(switch: str) -> None:
    found = read(switch, "--tp-size", "4", switch)
    assert (found.problems, found.split.tensor) == ((), 4)


def test_what_only_sglang_has_is_kept_as_its_own() -> None:
    found = read(
        *shlex.split(
            "--swa-full-tokens-ratio=0.5 --disable-radix-cache --max-total-tokens 100000"
            " --mamba-full-memory-ratio 0.5 --cuda-graph-max-bs=32 --max-prefill-tokens=8192"
        )
    )
    assert found.settings.options == SGLangOptions(
        swa_full_tokens_ratio="0.5",
        disable_radix_cache=True,
        max_total_tokens=100_000,
        mamba_full_memory_ratio="0.5",
        cuda_graph_max_bs=32,
        max_prefill_tokens=8192,
    )


def test_chunking_switched_off_prefills_up_to_the_largest_batch() -> None:
    found = read("--chunked-prefill-size=-1", "--max-prefill-tokens=20000")
    e = ENGINE.estimate(LLAMA_8B, found.settings, Workload(), Parallelism(), H100)
    assert e.max_num_batched_tokens == 20000


def test_data_parallel_attention_lies_inside_the_tensor_parallel_size() -> None:
    found = read("--tp-size=8", "--dp-size=4", "--enable-dp-attention")
    assert (found.split.tensor, found.split.data) == (2, 4)
    assert found.problems == ()


@pytest.mark.parametrize(
    ("typed", "split"),
    [
        ({"tensor": 16, "data": 16}, (1, 16)),
        ({"tensor": 8, "data": 2}, (4, 2)),
        ({"tensor": 1, "data": 16}, (1, 16)),
        ({"data": 8}, (None, 8)),
    ],
)
def test_with_data_parallel_attention_the_fields_mean_what_the_flags_do(
    typed: dict[str, Any], split: tuple[int | None, int]
) -> None:
    found = read("--enable-dp-attention", **typed)
    assert (found.split.tensor, found.split.data) == split
    assert found.problems == ()


def test_attention_ranks_said_in_one_flag_lie_inside_the_tensor_size() -> None:
    found = read("--tp-size=8", "--attn-dp-size=8")
    assert (found.split.tensor, found.split.data) == (1, 8)
    (problem,) = problems_in(read("--tp=8", "--attn-dp-size=4", "--dp-size=2"))
    assert "--dp-size (2)" in str(problem)


def test_groups_of_experts_are_written_as_they_were_read() -> None:
    found = read("--tp-size=8", "--ep-size=4")
    split = Parallelism(8, expert=True)
    e = ENGINE.estimate(moe(number=64, per_token=8), found.settings, Workload(), split, H100)
    assert "--ep-size=4" in ENGINE.arguments(e, found.settings)


def test_data_parallel_attention_that_does_not_divide_is_a_problem() -> None:
    (problem,) = problems_in(read("--tp-size=8", "--dp-size=3", "--enable-dp-attention"))
    assert "a multiple of --dp-size (3)" in str(problem)


def test_expert_parallelism_in_any_spelling() -> None:
    assert read("--ep-size=8").split.expert is True
    assert read("--enable-ep-moe").split.expert is True
    assert read("--ep", "1").split.expert is False
    assert read().split.expert is None
    assert read("--ep-size=8", expert=False).problems


def test_speculation_and_offload_are_named_as_unread() -> None:
    found = read(
        "--speculative-algorithm=EAGLE", "--cpu-offload-gb", "20", "--lora-paths", "a=x", "b=y"
    )
    assert found.settings.unread == (
        "--speculative-algorithm=EAGLE",
        "--cpu-offload-gb 20",
        "--lora-paths a=x b=y",
    )


def test_harmless_flags_are_passed_on_and_unknown_ones_warned_about() -> None:
    found = read("--host=0.0.0.0", "--load-format=dummy", "--not-a-flag=1", "--enable-mixed-chunk")
    assert found.settings.unread == ()
    assert set(found.settings.flags) == {
        "--host=0.0.0.0",
        "--load-format=dummy",
        "--not-a-flag=1",
        "--enable-mixed-chunk",
    }
    assert len(warnings_in(found)) == 1


def test_a_file_of_settings_may_say_anything() -> None:
    found = read("--config=/etc/sglang.yaml")
    assert found.settings.unread == found.settings.shrinking == ("--config=/etc/sglang.yaml",)


@pytest.mark.parametrize(
    ("args", "settings", "typed", "words"),
    [
        (("--mem-fraction-static=1.5",), {}, {}, "a share above 0"),
        (("--tp-size=two",), {}, {}, "a whole number"),
        (("--context-length",), {}, {}, "a flag with a value"),
        (("--tp-size 4",), {}, {}, "one argument per entry"),
        (("--context-length=8192",), {"max_model_len": 4096}, {}, "spec.engine.maxModelLen"),
        (
            ("--chunked-prefill-size=8192",),
            {"max_num_batched_tokens": 4096},
            {},
            "spec.engine.maxNumBatchedTokens",
        ),
        (("--tp-size=4",), {}, {"tensor": 2}, "spec.engine.parallelism.tensor"),
        (
            ("--tp-size=8", "--dp-size=4", "--enable-dp-attention"),
            {},
            {"tensor": 4},
            "parallelism.tensor (4)",
        ),
    ],
)
def test_contradictions_and_unreadable_values_name_flag_and_field(
    args: tuple[str, ...], settings: dict[str, object], typed: dict[str, int], words: str
) -> None:
    own = EngineSettings(name="sglang", **settings)  # type: ignore[arg-type]
    found = read(*args, settings=own, **typed)
    assert any(words in str(p) for p in problems_in(found))


def test_a_prefix_that_one_flag_has_stands_for_it() -> None:
    assert read("--mem-fraction=0.7").settings.utilization == Decimal("0.7")


def test_the_written_flags_read_back_as_the_same_settings() -> None:
    args = tuple(
        shlex.split(
            "--mem-fraction-static=0.8 --tp-size=8 --dp-size=2 --enable-dp-attention --ep-size=8"
            " --context-length=4096 --max-total-tokens=70000 --lora-paths a b --host ::"
            " --disable-cuda-graph"
        )
    )
    found = read(*args)
    split = Parallelism(found.split.tensor or 1, 1, found.split.data or 1, bool(found.split.expert))
    model = moe(number=64, per_token=8)
    e = ENGINE.estimate(model, found.settings, Workload(), split, H100)
    again = read(*ENGINE.arguments(e, found.settings))
    assert again.settings == found.settings
    assert again.split == AskedSplit(4, data=2, expert=True)


@given(
    st.lists(
        st.sampled_from(
            [
                "--enable-dp-attention",
                "--dp-size=0",
                "--tp-size=4",
                "--ep-size=4",
                "--page-size=7",
                "--chunked-prefill-size=0",
                "--max-total-tokens=1",
                "--dp-size=2",
            ]
        )
    )
)
def test_whatever_flags_say_is_estimated(args: list[str]) -> None:
    found = read(*args)
    split = Parallelism(found.split.tensor or 1, 1, found.split.data or 1, False)
    e = ENGINE.estimate(LLAMA_8B, found.settings, Workload(), split, H100)
    assert e.required > 0


def test_a_flag_is_no_value_of_the_flag_before_it() -> None:
    found = read("--context-length", "--tp-size=2")
    assert found.split.tensor == 2
    assert any("--context-length" in str(problem) for problem in problems_in(found))


@pytest.mark.parametrize("version", ["0.4.5", "0.5.9", "0.5.23"])
def test_a_billion_requests_are_bounded_by_the_pool_or_do_not_fit(version: str) -> None:
    said = EngineSettings("sglang", version, max_num_seqs=1_000_000_000, max_model_len=4096)
    e = ENGINE.estimate(LLAMA_8B, said, Workload(), Parallelism(), H100)
    assert e.required > e.usable or e.max_num_seqs < e.kv_tokens
