"""vLLM's command line, read as its own parser reads it, and written again."""

from __future__ import annotations

import shlex
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import H100, LLAMA_70B
from plimsoll.engines.base import AskedSplit, EngineSettings, Parallelism, Reading, Workload
from plimsoll.engines.vllm.arguments import read_arguments, write_arguments
from plimsoll.engines.vllm.engine import VLLM
from worded import problems_in, warnings_in


def read(*args: str, **typed: object) -> Reading:
    split = {k: typed.pop(k) for k in ("tensor", "pipeline", "data", "expert") if k in typed}
    asked = AskedSplit(**split)  # type: ignore[arg-type]
    return read_arguments(args, replace(EngineSettings(), **typed), asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "args",
    [
        ["--max-model-len=32768"],
        ["--max-model-len", "32768"],
        ["--max_model_len", "32768"],
        ["--max_model_len=32K"],
        ["--max-model-len", "32.768k"],
        ["--max-model", "32768"],
    ],
)
def test_a_length_is_read_in_every_spelling_that_vllm_takes(args: list[str]) -> None:
    reading = read(*args)
    assert reading.settings.max_model_len == 32768
    assert (problems_in(reading), warnings_in(reading)) == ((), ())


def test_all_typed_flags_are_read() -> None:
    reading = read(
        *shlex.split(
            "-tp 4 -pp=2 --data_parallel_size=2 -ep -q fp8 --enforce-eager"
            " --kv-cache-dtype=fp8_e4m3 --gpu-memory-utilization 0.85 --max-num-seqs 128"
            " --max-num-batched-tokens=8k --dtype=half --block-size 32 --kv-cache-memory-bytes 10G"
        )
    )
    assert reading.split == AskedSplit(4, 2, 2, True)
    assert problems_in(reading) == ()
    assert reading.settings == EngineSettings(
        dtype="half",
        quantization="fp8",
        max_num_seqs=128,
        max_num_batched_tokens=8000,
        kv_cache_dtype="fp8_e4m3",
        kv_cache_memory=10 << 30,
        utilization=Decimal("0.85"),
        enforce_eager=True,
        block_size=32,
    )


def test_a_flag_that_says_the_same_as_a_typed_field_is_fine() -> None:
    reading = read("--max-model-len=8192", "-tp", "2", max_model_len=8192, tensor=2)
    assert problems_in(reading) == ()
    assert reading.split.tensor == 2


def test_a_flag_that_contradicts_a_typed_field_names_both() -> None:
    reading = read("--port=8000", "-tp", "4", "--max-model-len=4096", max_model_len=8192, tensor=2)
    first, second = map(str, problems_in(reading))
    assert first == (
        'spec.engine.extraArgs[1]: Invalid value: "-tp 4": '
        "the same as spec.engine.parallelism.tensor (2); say it in one place only"
    )
    assert second.startswith("spec.engine.extraArgs[3]")
    assert "spec.engine.maxModelLen (8192)" in second
    assert reading.split.tensor == 2
    assert reading.settings.max_model_len == 8192


def test_eager_mode_can_be_switched_off_and_that_contradicts_a_typed_true() -> None:
    assert read("--no-enforce-eager").settings.enforce_eager is False
    assert len(read("--no-enforce-eager", enforce_eager=True).problems) == 1


@pytest.mark.parametrize(
    "args",
    [
        ["--speculative-config", '{"method": "dflash", "model": "a/b"}'],
        ["--kv-transfer-config", '{"kv_connector": "NixlConnector"}'],
        ["--specialize-active-lora"],
        ["--load-format", "bitsandbytes"],
        ["--calculate-kv-scales"],
        ["-O3"],
        ["-O", "2"],
        ["--compilation-config.level", "3"],
        ["--mm-processor-kwargs", '{"num_crops": 4}'],
        ["--cudagraph-capture-sizes", "1", "2", "4"],
    ],
)
def test_a_flag_that_touches_memory_and_is_not_read_is_named(args: list[str]) -> None:
    reading = read(*args)
    assert len(reading.settings.unread) == 1
    assert reading.settings.flags == ()
    assert (problems_in(reading), warnings_in(reading)) == ((), ())


@pytest.mark.parametrize(
    "args",
    [
        ["--port", "8000"],
        ["--swap-space=16"],
        ["--enable-log-requests"],
        ["--disable-log-requests"],
        ["--load-format=safetensors"],
        ["--served-model-name", "a", "b"],
        ["--trust-remote-code"],
    ],
)
def test_a_flag_that_touches_no_memory_is_passed_on(args: list[str]) -> None:
    reading = read(*args)
    assert len(reading.settings.flags) == 1
    assert reading.settings.unread == ()
    assert (problems_in(reading), warnings_in(reading)) == ((), ())


def test_an_unknown_flag_is_passed_on_with_a_warning() -> None:
    reading = read("--frobnicate=7")
    assert reading.settings.flags == ("--frobnicate=7",)
    assert (
        'spec.engine.extraArgs[0]: "--frobnicate=7" is no flag of vLLM' in warnings_in(reading)[0]
    )


def test_two_arguments_in_one_entry_are_a_problem_with_the_way_out() -> None:
    problem = str(problems_in(read("--max-model-len 8192"))[0])
    assert "one argument per entry" in problem
    assert "--flag=value" in problem


@pytest.mark.parametrize(
    "args",
    [
        ["--max-model-len"],
        ["--max-model-len=many"],
        ["--max-model-len=0"],
        ["--max-model-len=1.5K"],
        ["--gpu-memory-utilization=1.5"],
        ["--gpu-memory-utilization=nan"],
        ["-tp", "0"],
        ["-tp=99999999999999999999999999"],
        ["--dtype=a b"],
        ["--enforce-eager=yes"],
        ["--port"],
    ],
)
def test_a_value_that_vllm_would_not_take_is_a_problem_at_its_place(args: list[str]) -> None:
    reading = read(*args)
    assert [p.path for p in problems_in(reading)] == ["spec.engine.extraArgs[0]"]


def test_the_last_of_two_equal_flags_holds_and_that_is_said() -> None:
    reading = read("-tp=2", "-tp=4")
    assert reading.split.tensor == 4
    assert "given twice" in warnings_in(reading)[0]


@given(st.lists(st.text(max_size=30) | st.sampled_from(["--dtype", "-tp", "--x=", "-", "--"])))
def test_no_arguments_break_the_reading(args: list[str]) -> None:
    reading = read(*args)
    assert all(p.path.startswith("spec.engine.extraArgs[") for p in problems_in(reading))


def test_the_flags_to_run_say_the_split_and_the_length_and_what_the_user_said() -> None:
    reading = read(
        *shlex.split("--port=8000 --served-model-name a b --enable-lora"),
        max_model_len=8192,
        utilization=Decimal("0.9"),
        kv_cache_dtype="fp8",
    )
    settings = reading.settings
    estimate = VLLM().estimate(LLAMA_70B, settings, Workload(), Parallelism(4, 2), H100)
    assert write_arguments(estimate, settings) == tuple(
        shlex.split(
            "--tensor-parallel-size=4 --pipeline-parallel-size=2 --max-model-len=8192"
            " --gpu-memory-utilization=0.9 --kv-cache-dtype=fp8 --enable-lora --port=8000"
            " --served-model-name a b"
        )
    )


def test_the_flags_to_run_read_back_as_the_same_settings() -> None:
    settings = EngineSettings(
        max_model_len=4096, max_num_seqs=64, enforce_eager=True, dtype="float16", block_size=32
    )
    split = Parallelism(2, 1, 4, True)
    estimate = VLLM().estimate(LLAMA_70B, settings, Workload(), split, H100)
    reading = read(*write_arguments(estimate, settings))
    assert reading.settings == settings
    assert reading.split == AskedSplit(2, data=4, expert=True)


def test_a_length_left_to_the_engine_stays_with_the_engine() -> None:
    settings = read("--max-model-len=auto").settings
    estimate = VLLM().estimate(LLAMA_70B, settings, Workload(), Parallelism(4), H100)
    flags = [f for f in write_arguments(estimate, settings) if "max-model-len" in f]
    assert flags == ["--max-model-len=auto"]


@pytest.mark.parametrize(
    ("flag", "shrinks"),
    [
        ('--hf-overrides={"num_hidden_layers": 8}', True),
        ("--load-format=bitsandbytes", True),
        ("--load-format=foo", False),
        ("-O0", False),
        ("--attention-backend=X", False),
        ("--disable-cascade-attn", False),
        ("--video-pruning-rate=0", False),
        ("--mm-tensor-ipc=x", False),
    ],
)
def test_a_flag_that_is_not_read_says_whether_weights_may_be_smaller_with_it(
    flag: str, shrinks: bool
) -> None:
    settings = read(flag).settings
    assert settings.unread == (flag,)
    assert settings.shrinking == ((flag,) if shrinks else ())


@pytest.mark.parametrize(
    ("flag", "may"),
    [
        ("--device=cpu", True),
        ("--device=cuda", False),
        ("--model-impl=transformers", False),
        ('--hf-overrides={"num_hidden_layers": 8, "rope_theta": 1e6}', True),
        ("--hf-overrides.num_hidden_layers=8", True),
        ("--hf-overrides=$(OVERRIDES)", True),
        ("--hf-overrides={}", False),
        ("--hf-overrides={", False),
        ("--hf-overrides=[1]", False),
        ("--hf-overrides=" + "[" * 100_000, False),
        ('--hf-overrides={"rope_scaling": {"factor": 4}, "max_position_embeddings": 9}', False),
        ("--hf-overrides.rope_theta=1", False),
        ("--additional-config={}", False),
        ("--quantization-config={}", False),
        ("--model-class-overrides={}", False),
    ],
)
def test_a_flag_may_shrink_weights_only_with_values_that_can(flag: str, may: bool) -> None:
    assert (flag in read(flag).settings.shrinking) is may
