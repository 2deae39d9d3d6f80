"""A context that fits itself: ``--max-model-len auto`` (or -1), from vLLM 0.14 on.

Source: vllm/engine/arg_utils.py and vllm/v1/core/kv_cache_utils.py (_auto_fit_max_model_len) of
0.14.0, which 0.13.0 lacks.
"""

from __future__ import annotations

import pytest

from commands import as_json, run
from plimsoll.engines.base import EngineSettings
from plimsoll.engines.registry import engine
from vllm_features import estimate, read

LLAMA, L4 = "meta-llama/Llama-3.1-8B-Instruct", "nvidia-l4"
ASKED = ("estimate", LLAMA, "--gpu", L4, "--gpus", "1", "--max-model-len", "auto")


@pytest.mark.parametrize("word", ["auto", "-1", "AUTO"])
def test_the_longest_context_that_surely_fits_is_taken(word: str) -> None:
    fitted = estimate(LLAMA, "--max-model-len", word, version="0.19", gpu=L4)
    longer = str(fitted.max_model_len + 16)
    assert fitted.required_high <= fitted.usable
    assert 20_000 < fitted.max_model_len < 131_072
    more = estimate(LLAMA, "--max-model-len", longer, version="0.19", gpu=L4)
    assert more.required_high > more.usable
    assert fitted.max_model_len <= fitted.largest_max_model_len


def test_a_context_that_fits_whole_is_the_models_own() -> None:
    fitted = estimate(LLAMA, "--max-model-len", "auto", version="0.19", gpu="nvidia-h100-80gb")
    assert fitted.max_model_len == 131_072


def test_releases_that_cannot_are_not_believed_to() -> None:
    old, new = (
        read("--max-model-len", "auto", settings=EngineSettings(version=version)).settings
        for version in ("0.13.0", "0.14.0")
    )
    assert (old.fitted_length, old.unread) == (False, ("--max-model-len=auto",))
    assert (new.fitted_length, new.unread) == (True, ())


def test_the_flag_is_passed_on_and_no_length_beside_it() -> None:
    settings = read("--max-model-len", "auto", settings=EngineSettings(version="0.19")).settings
    found = estimate(LLAMA, "--max-model-len", "auto", version="0.19", gpu=L4)
    written = engine("vllm").arguments(found, settings)
    assert [flag for flag in written if "max-model-len" in flag] == ["--max-model-len=auto"]


def test_it_is_said_that_it_starts_and_with_what() -> None:
    told = run(*ASKED)
    assert told.exit_code == 0
    length = as_json(*ASKED)["estimate"]["maxModelLen"]
    assert f"with a context of {length:,} tokens or a little more, not 131,072" in told.output


def test_what_the_workload_says_of_one_sequence_is_held_to() -> None:
    short = as_json(*ASKED, "--input-tokens", "3000", "--output-tokens", "1000")
    long = as_json(*ASKED, "--input-tokens", "60000", "--output-tokens", "1000")
    assert (short["decision"], long["decision"]) == ("allow", "deny")


def test_a_word_that_is_no_length_is_refused_on_the_command_line() -> None:
    told = run("estimate", LLAMA, "--max-model-len", "long")
    assert told.exit_code == 2
    assert "'long' is no number of tokens and not auto" in told.output
