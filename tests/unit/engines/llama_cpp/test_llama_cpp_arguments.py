"""llama.cpp's command line, read as its own parser reads it, and written again."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from architectures import L4, LLAMA_8B
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings, Parallelism, Reading, Workload
from plimsoll.engines.llama_cpp.engine import LlamaCpp
from plimsoll.engines.llama_cpp.settings import LlamaCppOptions
from worded import problems_in, warnings_in

ENGINE = LlamaCpp()
SAID = EngineSettings("llama.cpp", quantization="q8_0")


def read(*args: str, **typed: object) -> Reading:
    return ENGINE.read_arguments(args, replace(SAID, **typed), NOTHING_ASKED)  # type: ignore[arg-type]


def written(said: EngineSettings, gpus: int = 1) -> tuple[str, ...]:
    found = ENGINE.estimate(LLAMA_8B, said, Workload(), Parallelism(1, gpus), L4)
    return ENGINE.arguments(found, said)


def test_short_and_long_flags_say_the_same() -> None:
    short = read("-c", "4096", "-np", "2", "-b", "1024", "-ngl", "20", "-ctk", "q8_0", "-fa")
    long = read(
        *shlex.split(
            "--ctx-size 4096 --parallel 2 --batch_size 1024 --n-gpu-layers 20 --cache-type-k q8_0"
            " --flash-attn on"
        )
    )
    assert short == long
    assert (short.problems, warnings_in(short)) == ((), ())
    assert short.settings.max_num_seqs == 2
    assert short.settings.options == LlamaCppOptions(
        ctx_size=4096, gpu_layers="20", cache_type_k="q8_0", flash_attn="on"
    )


def test_a_value_after_an_equals_sign_is_refused_as_the_engine_refuses_it() -> None:
    (only,) = problems_in(read("--ctx-size=4096"))
    assert str(only) == (
        'spec.engine.extraArgs[0]: Invalid value: "--ctx-size=4096": the flag and its value as '
        'two entries: llama.cpp does not read --flag=value; write --ctx-size and "4096"'
    )


def test_flags_that_touch_memory_and_are_not_read_are_named() -> None:
    reading = read("-ot", "exps=CPU", "-md", "draft.gguf", "--rpc", "host:50052")
    assert reading.settings.unread == ("-ot exps=CPU", "-md draft.gguf", "--rpc host:50052")


def test_a_split_by_rows_turns_a_denial_into_a_warning() -> None:
    assert read("-sm", "row").settings.unread == ("--split-mode row",)
    assert read("-sm", "layer").settings.unread == ()


def test_an_engine_that_may_shrink_what_is_asked_is_named() -> None:
    assert read("--fit", "on").settings.unread == ("--fit on",)
    assert read("--fit", "off").settings.unread == ()


def test_a_flag_that_contradicts_a_typed_field_names_both() -> None:
    (only,) = problems_in(read("-np", "2", max_num_seqs=4))
    assert "the same as spec.engine.maxNumSeqs (4)" in str(only)


def test_an_unknown_flag_is_passed_on_with_a_warning() -> None:
    reading = read("--no-such-flag", "--port", "8080")
    assert "is no flag of llama.cpp known here" in warnings_in(reading)[0]
    assert reading.settings.flags == ("--no-such-flag", "--port 8080")


@pytest.mark.parametrize(
    ("args", "file"),
    [
        (("-m", "/models/Llama-3.3-70B-Instruct-Q4_K_M.gguf"), "q4_k_m"),
        (("--model", "llama.q8_0.gguf"), "q8_0"),
        (("-m", "x-UD-IQ2_XXS-00001-of-00003.gguf"), "iq2_xxs"),
        (("-hf", "bartowski/Llama-3.3-70B-Instruct-GGUF:Q5_K_S"), "q5_k_s"),
        (("-hf", "bartowski/Llama-3.3-70B-Instruct-GGUF"), "q4_k_m"),
        (("-m", "/models/model.gguf"), ""),
        (("-hfr", "a/b", "-hff", "b-Q6_K.gguf"), "q6_k"),
    ],
)
def test_the_name_of_a_file_says_its_type(args: tuple[str, ...], file: str) -> None:
    reading = read(*args, quantization="")
    assert reading.settings.quantization == file
    assert reading.problems == ()


def test_a_file_of_another_type_than_the_one_said_is_a_problem() -> None:
    (only,) = problems_in(read("-m", "model-Q4_K_M.gguf"))
    assert "a file of the type in spec.engine.quantization (q8_0)" in str(only)


def test_a_context_of_zero_is_the_model_s_own() -> None:
    assert read("-c", "0").settings == SAID


def test_an_estimate_says_layers_context_and_that_nothing_is_to_be_lowered() -> None:
    assert written(replace(SAID, max_model_len=8192)) == tuple(
        shlex.split("--n-gpu-layers 999 --ctx-size 8192 --kv-unified --fit off")
    )


def test_what_was_written_reads_back_to_the_same_settings() -> None:
    said = read(
        *shlex.split(
            "-c 16384 -np 2 -ngl 12 -ctk q8_0 -ctv q8_0 -fa on -ub 256 --swa-full -nkvo -ts 3,1"
            " --n-cpu-moe 2 --jinja -ot exps=CPU"
        )
    ).settings
    again = ENGINE.read_arguments(written(said, 2), SAID, NOTHING_ASKED)
    assert again.problems == ()
    options = LlamaCppOptions.of(again.settings)
    assert set(said.options.said()) <= set(options.said())
    assert options.kv_unified is False
    assert again.settings.max_num_seqs == 2
    assert again.settings.unread == said.unread
    assert again.settings.flags == said.flags


def test_several_gpus_are_told_to_split_by_layers() -> None:
    assert "--split-mode" not in written(SAID)
    args = written(SAID, 2)
    assert args[args.index("--split-mode") + 1] == "layer"


def test_an_old_build_gets_no_flag_that_it_does_not_know() -> None:
    args = written(replace(SAID, version="b5000", max_model_len=4096))
    assert args == ("--n-gpu-layers", "999", "--ctx-size", "4096")
