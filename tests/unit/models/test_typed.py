"""Claims about ids as people type them: the model that is meant, or none, and never another."""

from __future__ import annotations

import pytest

from commands import as_json, run
from plimsoll.models.catalogue import load, sizes
from plimsoll.models.typed import typed

_HF = "https://huggingface.co/"
THREADS: list[tuple[str, str | None, str, str]] = [
    ("llama3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", "", "vllm#8372"),
    (f"{_HF}Qwen/Qwen2.5-3B-Instruct-AWQ", "Qwen/Qwen2.5-3B-Instruct-AWQ", "", "vllm#15204"),
    (f"{_HF}Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct-AWQ", "", "vllm#15204"),
    (
        "OPEA/Mistral-Small-3.1-24B-Instruct-2503-int4-AutoRound-awq-sym",
        *("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "awq", "vllm#16128"),
    ),
    ("zephyr-7b-beta-awq", "HuggingFaceH4/zephyr-7b-beta", "awq", "vllm#1479"),
    ("TheBloke/CodeLlama-7B-AWQ", None, "", "vllm#1479: its base is CodeLlama-7b-hf"),
    ("TheBloke/tulu-7B-AWQ", None, "", "vllm#1234: not in the catalogue"),
    ("Llama-3.3-70b", None, "", "vllm#12400: there is the Instruct alone"),
    ("llama 3 8b", None, "", "vllm#6829: base or instruct"),
    (f"{_HF}Qwen/QwQ-32B", "Qwen/QwQ-32B", "", "ollama#9523"),
    ("qwen3:235b", None, "", "ollama#10810: Qwen3-235B-A22B has another name"),
    ("qwen3:14b", "Qwen/Qwen3-14B", "", "davealtena/homelab#1984"),
    ("qwen2.5 14B", "Qwen/Qwen2.5-14B", "", "ollama#7189"),
    ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B", "", "whichllm#76"),
    ("google/gemma-3-27b-it", "google/gemma-3-27b-it", "", "whichllm#76"),
]
"""What was typed, what is meant, how it is stored, and the thread where it was seen."""
MADE: list[tuple[str, str | None, str]] = [
    ("Qwen3-32B", "Qwen/Qwen3-32B", ""),
    ("QWEN3-32B", "Qwen/Qwen3-32B", ""),
    ("gpt-oss-20b", "openai/gpt-oss-20b", ""),
    ("GPT-OSS-120B", "openai/gpt-oss-120b", ""),
    ("deepseek-r1", "deepseek-ai/DeepSeek-R1", ""),
    ("mistral-7b-instruct-v0.3", "mistralai/Mistral-7B-Instruct-v0.3", ""),
    ("mixtral-8x7b-instruct-v0.1", "mistralai/Mixtral-8x7B-Instruct-v0.1", ""),
    ("gemma 3 27b it", "google/gemma-3-27b-it", ""),
    ("'Qwen/Qwen3-32B'", "Qwen/Qwen3-32B", ""),
    ("hf://Qwen/Qwen3-32B", "Qwen/Qwen3-32B", ""),
    ("hf.co/meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", ""),
    (f"{_HF}Qwen/Qwen3-32B/tree/main", "Qwen/Qwen3-32B", ""),
    (f"{_HF}Qwen/Qwen3-32B?library=vllm", "Qwen/Qwen3-32B", ""),
    ("someone/Qwen3-32B-NVFP4", "Qwen/Qwen3-32B", "nvfp4"),
    ("someone/Qwen3-32B-bnb-4bit", "Qwen/Qwen3-32B", "bitsandbytes"),
    ("someone/Qwen3-32B-unsloth-bnb-4bit", "Qwen/Qwen3-32B", "bitsandbytes"),
    ("someone/Qwen3-32B-GPTQ-Int4", "Qwen/Qwen3-32B", "gptq"),
    ("someone/Qwen2.5-32B-Instruct-quantized.w4a16", "Qwen/Qwen2.5-32B-Instruct", "w4a16"),
    (
        "someone/Llama-3.3-70B-Instruct-FP8-dynamic",
        *("meta-llama/Llama-3.3-70B-Instruct", "fp8"),
    ),
    ("someone/Qwen3-32B-2507", "Qwen/Qwen3-32B", ""),
    ("someone/Qwen3-32B-20251107", "Qwen/Qwen3-32B", ""),
    ("someone/Qwen3-32B", None, ""),
    ("someone/Qwen3-32B-Abliterated-AWQ", None, ""),
    ("Qwen-314B", None, ""),
    ("Qwen3-33B-AWQ", None, ""),
    ("someone/Qwen3-32B-GGUF-of-mine", None, ""),
    ("", None, ""),
    ("/", None, ""),
    ("A" * 10_000, None, ""),
]
"""The same, of our own making."""
ALL = [row[:3] for row in THREADS] + MADE


@pytest.mark.parametrize(("text", "meant", "stored"), ALL, ids=[row[0][:60] for row in ALL])
def test_an_id_means_its_model_or_none(text: str, meant: str | None, stored: str) -> None:
    found = typed(text)
    assert (found.id if found else None) == meant
    if found is not None:
        assert found.stored == stored
        assert load().find(found.id) is not None
        assert sizes(found.id) == sizes(text.lower().replace(" ", "-"))


def test_every_id_of_the_catalogue_means_itself() -> None:
    names = [name for entry in load() for name in (entry.id, *entry.aliases)]
    assert len(names) > 600
    wrong = [name for name in names if (found := typed(name)) is None or found.id != name]
    assert wrong == []


def test_a_copy_is_estimated_as_its_base_stored_so_and_that_is_said() -> None:
    words = ("--gpu", "nvidia-l40s", "--max-model-len", "8192")
    told = run("estimate", "someone/Qwen3-32B-NVFP4", *words, "-o", "json")
    assert "note: someone/Qwen3-32B-NVFP4 is read as Qwen/Qwen3-32B, stored as nvfp4" in told.stderr
    whole = as_json("estimate", "Qwen/Qwen3-32B", *words, "--gpus", "2")["estimate"]
    copy = as_json("estimate", "someone/Qwen3-32B-NVFP4", *words, "--gpus", "2")["estimate"]
    weights = [one["terms"][0]["bytes"] for one in (copy, whole)]
    assert weights[0] < weights[1] * 0.4
    assert copy["terms"][1] == whole["terms"][1]


def test_a_plain_id_is_read_without_a_word() -> None:
    told = run("estimate", "Qwen/Qwen3-32B", "--gpu", "nvidia-l40s", "-o", "json")
    assert told.stderr == ""


@pytest.mark.parametrize(
    "text",
    ["Qwen3-33B", "Qwen/Qwen2.5-71B-Instruct", "meta-llama/Llama-3.3-8B-Instruct", "gemma-3-28b"],
)
def test_a_suggestion_has_the_size_that_was_asked_for(text: str) -> None:
    assert all(sizes(one) == sizes(text) for one in load().suggest(text))
