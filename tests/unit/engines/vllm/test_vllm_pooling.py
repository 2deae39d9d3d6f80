"""Models that embed, classify or rank: no head, no sampler, and of encoders no cache."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from plimsoll.engines.base import EngineSettings, TermName
from plimsoll.engines.vllm.traits import is_pooling
from plimsoll.models.config import architecture
from plimsoll.models.resolve import resolve
from plimsoll.units import GIB
from vllm_features import estimate, model, read

QWEN = "Qwen/Qwen3-8B"
BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "torch_dtype": "float32",
}


@pytest.mark.parametrize(
    "flags",
    [("--runner=pooling",), ("--task", "embed"), ("--task=score",), ("--convert", "classify")],
)
def test_a_pooling_model_makes_no_logits_and_loads_no_head(flags: tuple[str, ...]) -> None:
    found, plain = estimate(QWEN, *flags), estimate(QWEN)
    head = 151936 * 4096 * 2
    weights = (e.terms[TermName.WEIGHTS].bytes for e in (plain, found))
    spared = next(weights) - next(weights)
    assert spared == pytest.approx(head, rel=0.002)
    activation = found.terms[TermName.ACTIVATION]
    assert activation.bytes < plain.terms[TermName.ACTIVATION].bytes
    assert activation.basis == f"{found.max_num_batched_tokens:,} batched tokens"


def test_a_tied_embedding_stays() -> None:
    small = "Qwen/Qwen3-0.6B"
    found = estimate(small, "--runner=pooling").terms[TermName.WEIGHTS]
    assert found == estimate(small).terms[TermName.WEIGHTS]


def test_a_decoder_that_embeds_keeps_its_cache() -> None:
    cache = estimate(QWEN, "--task=embed").terms[TermName.KV_CACHE]
    assert cache == estimate(QWEN).terms[TermName.KV_CACHE]


def test_an_encoder_has_no_cache() -> None:
    found = estimate(architecture(BERT))
    assert found.terms[TermName.KV_CACHE].bytes == 0
    assert found.terms[TermName.KV_CACHE].basis == "nothing is cached"
    assert found.required <= found.usable


@pytest.mark.parametrize(
    ("version", "length", "tokens"),
    [
        ("0.9.1", 512, 32768),
        ("0.10.0", 8192, 32768),
        ("0.10.1", 512, 512),
        ("0.11.0", 8192, 8192),
        ("0.12.0", 512, 8192),
        ("0.19.0", 16384, 16384),
    ],
)
def test_an_encoder_takes_whole_inputs(version: str, length: int, tokens: int) -> None:
    """vllm/config.py (32,768 in the first engine), then arg_utils.py: length or default."""
    made = architecture({**BERT, "max_position_embeddings": length})
    assert estimate(made, version=version).max_num_batched_tokens == tokens


def test_a_decoder_that_embeds_took_large_batches_in_the_first_engine() -> None:
    assert estimate(QWEN, "--task=embed", version="0.9.1").max_num_batched_tokens == 40960
    assert estimate(QWEN, "--task=embed", version="0.9.2").max_num_batched_tokens == 8192


@pytest.mark.parametrize("flag", ["--task=generate", "--runner=generate", "--task=auto"])
def test_a_generator_stays_one(flag: str) -> None:
    assert estimate(QWEN, flag).terms == estimate(QWEN).terms
    assert read(flag).settings.unread == ()


@pytest.mark.parametrize(
    ("name", "pools"),
    [
        ("Qwen3ForCausalLM", False),
        ("ChatGLMModel", False),
        ("LlavaForConditionalGeneration", False),
        ("Qwen2ForRewardModel", True),
        ("Qwen3ForSequenceClassification", True),
        ("Gemma3TextModel", True),
        ("XLMRobertaForSequenceClassification", True),
    ],
)
def test_the_class_says_who_pools_if_nobody_else_does(name: str, pools: bool) -> None:
    made = replace(model(QWEN), class_name=name)
    assert is_pooling(made, EngineSettings()) is pools


@pytest.mark.parametrize("name", ["BertModel", "BertForMaskedLM", "BertForSequenceClassification"])
def test_an_encoder_pools_whatever_its_class(name: str) -> None:
    made = architecture({**BERT, "architectures": [name]})
    assert is_pooling(made, EngineSettings())
    found = estimate(made)
    assert found.terms[TermName.KV_CACHE].bytes == 0
    weights = made.parameters * 2
    assert found.terms[TermName.WEIGHTS].bytes == pytest.approx(weights, rel=0.02)


QWEN3_EMBEDDING = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "vocab_size": 151665,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}


def test_a_model_that_is_named_for_embedding_pools_without_being_told() -> None:
    # Qwen3-Embedding-8B, 0.12.0, H100: 56.24 GiB for the cache, weights of 14.1062
    settings = EngineSettings(version="0.12.0", max_model_len=8192)
    document = json.dumps(QWEN3_EMBEDDING)
    found = resolve(uri="hf://Qwen/Qwen3-Embedding-8B", document=document).architecture
    assert found is not None
    estimated = estimate(found, settings=settings, gpu="nvidia-h100-80gb")
    assert estimated.terms[TermName.WEIGHTS].bytes / GIB == pytest.approx(14.106, abs=0.01)
    assert estimated.kv_capacity / GIB == pytest.approx(56.24, abs=0.1)


@pytest.mark.parametrize(
    ("name", "pools"),
    [
        ("Qwen/Qwen3-Embedding-8B", True),
        ("./weights/Qwen3-Embedding-0.6B", True),
        ("Alibaba-NLP/gte-Qwen2-7B-instruct", True),
        ("Qwen/Qwen3-Reranker-8B", False),
        ("Qwen/Qwen3-8B", False),
        ("EleutherAI/gpt-neox-20b", False),
    ],
)
def test_a_name_says_whether_a_decoder_gives_vectors(name: str, pools: bool) -> None:
    found = resolve(uri=name, document=json.dumps(QWEN3_EMBEDDING)).architecture
    assert found is not None
    assert is_pooling(found, EngineSettings()) is pools
    assert not is_pooling(found, read("--runner=generate").settings)


def test_a_reranker_pools_once_its_class_is_overridden() -> None:
    flag = '--hf-overrides={"architectures":["Qwen3ForSequenceClassification"]}'
    assert is_pooling(model(QWEN), read(flag).settings)
