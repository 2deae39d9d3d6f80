"""Drafts beside the model: weights, cache and flags, against vLLM's own rules and sizes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.engines.base import EngineSettings, Known, Speculative, TermName
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.units import GIB
from vllm_features import estimate, extra, model, read
from worded import problems_in, warnings_in, worded

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
V3 = "deepseek-ai/DeepSeek-V3"
EAGLE3 = json.dumps(
    {
        "method": "eagle3",
        "model": "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B",
        "num_speculative_tokens": 3,
    }
)


def config(**keys: object) -> str:
    return "--speculative-config=" + json.dumps(keys)


def test_ngram_takes_nothing_of_a_gpu() -> None:
    found = estimate(LLAMA, config(method="ngram", num_speculative_tokens=4, prompt_lookup_max=4))
    plain = estimate(LLAMA)
    assert found.required == plain.required
    assert found.kv_tokens == plain.kv_tokens
    assert TermName.DRAFT not in [term.name for term in found.terms]


def test_an_eagle3_head_weighs_what_its_checkpoint_weighs() -> None:
    # q, k, v over 2 h; o; gate, up, down; fc over 3 h; a head of 32,000 tokens: 425 M parameters
    h, kv, i = 4096, 1024, 14336
    weights = 2 * ((h + 2 * kv) * 2 * h + h * h + 3 * h * i + 3 * h * h + 32000 * h)
    buffers = 2 * 8192 * h * 2
    found = extra(
        estimate(LLAMA, f"--speculative-config={EAGLE3}", gpu="nvidia-h100-80gb"), TermName.DRAFT
    )
    assert found == pytest.approx(weights + buffers, rel=0.01)
    assert weights / 1e6 == pytest.approx(850, rel=0.01)


def test_an_eagle_head_is_assumed_and_says_so_with_its_band() -> None:
    term = estimate(LLAMA, f"--speculative-config={EAGLE3}").terms[TermName.DRAFT]
    assert term.known is Known.ASSUMED
    assert term.low < term.bytes * 0.7 < term.bytes * 1.3 < term.high


def test_a_head_caches_one_layer_more() -> None:
    plain = estimate(LLAMA).terms[TermName.KV_CACHE].bytes
    found = estimate(LLAMA, f"--speculative-config={EAGLE3}").terms[TermName.KV_CACHE].bytes
    assert found == plain * 33 // 32


def test_a_draft_model_brings_all_its_layers_and_weights() -> None:
    small = "Qwen/Qwen3-0.6B"
    flag = config(model=small, num_speculative_tokens=4)
    found, plain = estimate("Qwen/Qwen3-32B", flag), estimate("Qwen/Qwen3-32B")
    alone = estimate(small)
    length = plain.max_model_len
    assert alone.max_model_len == length
    page = 2 * 8 * 128 * 2  # one layer's keys and values of one token in both models
    assert found.terms[TermName.KV_CACHE].bytes - plain.terms[TermName.KV_CACHE].bytes == (
        28 * page * (length + 16)
    )
    buffers = 2 * plain.max_num_batched_tokens * 1024 * 2
    weights = extra(found, TermName.DRAFT) - buffers
    assert weights == alone.terms[TermName.WEIGHTS].bytes


def test_the_layer_that_deepseek_stores_is_one_more_of_its_layers() -> None:
    flag = config(method="deepseek_mtp", num_speculative_tokens=1)
    found, plain = estimate(V3, flag, tensor=8), estimate(V3, tensor=8)
    layer = plain.terms[TermName.KV_CACHE].bytes / 61
    more = found.terms[TermName.KV_CACHE].bytes - plain.terms[TermName.KV_CACHE].bytes
    assert more == pytest.approx(layer, rel=0.001)
    # 11.5 B parameters in fp8 over 8 ranks, and a projection of 7168 x 14336 in 16 bits on each
    expected = 11.5e9 / 8 + 7168 * 14336 * 2
    buffers = 2 * plain.max_num_batched_tokens * 7168 * 2
    assert extra(found, TermName.DRAFT) - buffers == pytest.approx(expected, rel=0.05)
    assert found.terms[TermName.DRAFT].known is Known.MODELLED


def test_recurrent_layers_keep_a_page_more_for_each_guessed_token() -> None:
    name = "Qwen/Qwen3-Next-80B-A3B-Instruct"
    needs = [
        estimate(name, config(method="mtp", num_speculative_tokens=n), tensor=4)
        .terms[TermName.KV_CACHE]
        .bytes
        for n in (1, 2, 3)
    ]
    assert needs[0] < needs[1] < needs[2]


def test_a_draft_lies_on_the_last_stage_with_an_embedding_of_its_own() -> None:
    alone = extra(estimate(LLAMA, f"--speculative-config={EAGLE3}", pipeline=1), TermName.DRAFT)
    staged = estimate(LLAMA, f"--speculative-config={EAGLE3}", pipeline=2)
    assert staged.stage == 1
    assert extra(staged, TermName.DRAFT) == alone + 128256 * 4096 * 2


def test_probabilistic_drafts_keep_their_logits() -> None:
    keys = {"method": "eagle3", "num_speculative_tokens": 2, "draft_sample_method": "probabilistic"}
    settings = EngineSettings(max_num_seqs=64)
    found = extra(estimate(LLAMA, config(**keys), settings=settings), TermName.DRAFT)
    del keys["draft_sample_method"]
    plain = extra(estimate(LLAMA, config(**keys), settings=settings), TermName.DRAFT)
    assert found - plain == 64 * 2 * 128256 * 4


def test_before_0_8_a_draft_may_not_have_been_measured() -> None:
    flags = ("--speculative-model", "Qwen/Qwen3-0.6B", "--num-speculative-tokens=4")
    term = estimate("Qwen/Qwen3-32B", *flags, version="0.7.3").terms[TermName.DRAFT]
    assert term.low == 0 < term.bytes


@pytest.mark.parametrize(
    "flags",
    [
        (config(method="eagle3", model="a/b", num_speculative_tokens=3),),
        ("-sc.method=eagle3", "-sc.model", "a/b", "--speculative-config.num_speculative_tokens=3"),
        ("--spec-method=eagle3", "--spec-model=a/b", "--spec-tokens=3"),
    ],
)
def test_every_way_to_say_a_draft_means_the_same(flags: tuple[str, ...]) -> None:
    reading = read(*flags)
    assert reading.settings.speculative == Speculative("eagle3", "a/b", 3)
    assert (problems_in(reading), warnings_in(reading), reading.settings.unread) == ((), (), ())


def test_the_old_flags_are_read_and_written_for_the_releases_that_have_them() -> None:
    flags = ("--speculative-model=[ngram]", "--num-speculative-tokens=5")
    reading = read(*flags, settings=EngineSettings(version="0.7.3"))
    assert reading.settings.speculative == Speculative("ngram", "", 5)
    found = estimate(LLAMA, *flags, version="0.7.3")
    assert set(flags) <= set(VLLM().arguments(found, reading.settings))


def test_a_flag_that_contradicts_the_typed_draft_is_an_error() -> None:
    typed = EngineSettings(speculative=Speculative("eagle3", "a/b", 3))
    reading = read(config(num_speculative_tokens=5), settings=typed)
    assert [str(p) for p in problems_in(reading)] == [
        "spec.engine.extraArgs[0]: Invalid value: --speculative-config 5: the same as "
        "spec.engine.speculative.tokens (3); say it in one place only"
    ]
    assert read(config(num_speculative_tokens=3), settings=typed).problems == ()


def test_a_draft_of_an_unknown_model_turns_a_denial_into_a_warning_that_names_it() -> None:
    flag = config(model="someone/unknown-1b", num_speculative_tokens=2)
    for reading in (
        read(flag),
        read(settings=EngineSettings(speculative=Speculative("", "someone/unknown-1b", 2))),
    ):
        assert reading.settings.speculative is None
        assert len(reading.settings.unread) == 1
        assert "someone/unknown-1b" in reading.settings.unread[0]


def test_a_draft_that_does_not_say_how_many_tokens_is_refused_where_it_must() -> None:
    settings = read(config(method="ngram")).settings
    problems = VLLM().problems(model(LLAMA), settings, None, None)
    assert [p.path for p in worded(problems)] == ["spec.engine.speculative.tokens"]
    settings = read(config(method="mtp")).settings
    assert VLLM().problems(model(V3), settings, None, None) == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "1",
        '{"num_speculative_tokens": "x"}',
        '{"model": 1}',
        '{"num_speculative_tokens": -1}',
        '{"method": []}',
    ],
)
def test_an_unreadable_draft_is_a_problem_and_never_a_crash(text: str) -> None:
    assert read(f"--speculative-config={text}").problems


@given(
    st.sampled_from(["eagle", "eagle3", "medusa", "mtp", "ngram"]),
    st.sampled_from([LLAMA, V3, "openai/gpt-oss-20b", "Qwen/Qwen3-Next-80B-A3B-Instruct"]),
    st.integers(1, 8),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
)
def test_a_draft_never_needs_less_than_none_nor_more_tokens_less(
    method: str, name: str, tokens: int, tensor: int, pipeline: int
) -> None:
    def need(n: int) -> int:
        flag = config(method=method, num_speculative_tokens=n)
        return estimate(name, flag, tensor=tensor, pipeline=pipeline).required

    without = estimate(name, tensor=tensor, pipeline=pipeline).required
    assert without <= need(tokens) <= need(tokens + 1) + GIB // 2**20
