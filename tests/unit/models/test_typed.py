"""Claims about ids as people type them: the model that is meant, or none, and never another."""

from __future__ import annotations

import pytest

from commands import as_json, run
from plimsoll.models.catalogue import load, sizes
from plimsoll.models.typed import typed
from plimsoll.workloads.model_names import Meant, meant

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
    ("llama 3 8b", "meta-llama/Meta-Llama-3-8B", "", "vllm#6829: the instruct model is alike"),
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
PLACES: list[tuple[str, str | None, str]] = [
    ("nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8", "meta-llama/Llama-3.1-8B-Instruct", ""),
    ("nvcr.io/nim/meta/llama-3.1-70b-instruct:latest", "meta-llama/Llama-3.1-70B-Instruct", ""),
    ("nvcr.io/nim/meta/llama3-8b-instruct:1.0.3", "meta-llama/Meta-Llama-3-8B-Instruct", ""),
    (
        "nvcr.io/nim/mistralai/mixtral-8x7b-instruct-v01:1.2.1",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "",
    ),
    ("nvcr.io/nim/deepseek-ai/deepseek-r1", "deepseek-ai/DeepSeek-R1", ""),
    ("nvcr.io/nim/qwen/qwen3-32b:1", "Qwen/Qwen3-32B", ""),
    ("nvcr.io/nim/nvidia/riva-asr:2.19", None, ""),
    ("ollama://llama3.1:70b", "meta-llama/Llama-3.1-70B-Instruct", "gguf"),
    ("ollama://qwen2.5-coder:32b", "Qwen/Qwen2.5-Coder-32B-Instruct", "gguf"),
    ("ollama://gemma3:27b", "google/gemma-3-27b-it", "gguf"),
    ("ollama://gpt-oss:20b", "openai/gpt-oss-20b", "gguf"),
    ("ollama://deepseek-r1:8b", None, ""),
    ("ollama://deepseek-r1:70b", None, ""),
    ("ollama://llama3.1", None, ""),
    ("ollama://mistral", None, ""),
    ("ollama://llama3.1:8b-instruct-q8_0", "meta-llama/Llama-3.1-8B-Instruct", "gguf"),
    (
        "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M",
        "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "gguf",
    ),
    ("bartowski/Qwen_Qwen3-8B-GGUF:Q8_0", "Qwen/Qwen3-8B", "gguf"),
    ("ggml-org/gemma-3-4b-it-GGUF", "google/gemma-3-4b-it", "gguf"),
    ("unsloth/DeepSeek-R1-0528-GGUF:UD-Q2_K_XL", "unsloth/DeepSeek-R1-0528-GGUF", ""),
    ("lmstudio-community/Qwen3-32B-GGUF", "Qwen/Qwen3-32B", "gguf"),
    (
        "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        "",
    ),
    (
        "https://huggingface.co/bartowski/Mistral-Nemo-Instruct-2407-GGUF/resolve/main/Mistral-Nemo-Instruct-2407-Q4_K_M.gguf",
        "mistralai/Mistral-Nemo-Instruct-2407",
        "gguf",
    ),
    ("hf://mistralai/Mistral-7B-Instruct-v0.3@main", "mistralai/Mistral-7B-Instruct-v0.3", ""),
    ("hf://Qwen/Qwen3-32B@a1b2c3", "Qwen/Qwen3-32B", ""),
    ("huggingface://Qwen/Qwen3-32B", "Qwen/Qwen3-32B", ""),
    (
        "models--meta-llama--Llama-3.1-8B-Instruct/snapshots/0e9e39f249a16976918f6564b8830bc894c89659",
        "meta-llama/Llama-3.1-8B-Instruct",
        "",
    ),
    ("s3://models/meta-llama/Llama-3.3-70B-Instruct/", "meta-llama/Llama-3.3-70B-Instruct", ""),
    ("s3://my-bucket/llms/Qwen3-32B-AWQ", "Qwen/Qwen3-32B-AWQ", ""),
    ("gs://corp-models/gemma-3-27b-it", "google/gemma-3-27b-it", ""),
    ("pvc://models/granite-3.1-8b-instruct", "ibm-granite/granite-3.1-8b-instruct", ""),
    ("pvc://models/hub/models--Qwen--Qwen3-8B/snapshots/abc", "Qwen/Qwen3-8B", ""),
    (
        "oci://registry.redhat.io/rhelai1/modelcar-llama-3-1-8b-instruct-fp8-dynamic:1.5",
        "RedHatAI/Llama-3.1-8B-Instruct-FP8-dynamic",
        "",
    ),
    (
        "oci://quay.io/redhat-ai-services/modelcar-catalog:granite-3.1-8b-instruct",
        "ibm-granite/granite-3.1-8b-instruct",
        "",
    ),
    ("oci://registry.example/models:v3", None, ""),
    ("s3://bucket/prod/model-a", None, ""),
    ("modelscope://Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct", ""),
    ("https://www.modelscope.cn/models/Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct", ""),
    ("LLM-Research/Meta-Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct", ""),
    ("meta/llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", ""),
    ("meta-llama/Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-8B-Instruct", ""),
    ("meta-llama/llama-3.1-8b-instruct", "meta-llama/llama-3.1-8b-instruct", ""),
    ("llama-3-1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", ""),
    ("qwen2-5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct", ""),
    ("mixtral-8x7b-instruct-v0-1", "mistralai/Mixtral-8x7B-Instruct-v0.1", ""),
    ("qwen3_32b", "Qwen/Qwen3-32B", ""),
    ("Llama-3.3-70B-Instruct-NVFP4", "nvidia/Llama-3.3-70B-Instruct-NVFP4", ""),
    ("someone/Llama-3.3-70B-Instruct-FP8-KV", "meta-llama/Llama-3.3-70B-Instruct", "fp8"),
    (
        "Intel/Qwen3-30B-A3B-Instruct-2507-int4-AutoRound",
        "Qwen/Qwen3-30B-A3B-Instruct-2507",
        "w4a16",
    ),
    ("someone/Qwen3-32B-AWQ-4bit", "Qwen/Qwen3-32B", "awq"),
    ("someone/Llama-3.1-8B-Instruct-quantized.w8a16", "meta-llama/Llama-3.1-8B-Instruct", "int8"),
    ("someone/gemma-3-27b-it-GPTQ-4b-128g", "google/gemma-3-27b-it", "gptq"),
    ("someone/gpt-oss-120b-BF16", "openai/gpt-oss-120b", "none"),
    ("someone/Qwen3-32B-GPTQ-Int8", None, ""),
    ("mlx-community/Qwen3-32B-4bit", None, ""),
    ("Meta-Llama-3-8B-Instruct.Q5_K_M.gguf", "meta-llama/Meta-Llama-3-8B-Instruct", "gguf"),
    ("Qwen2-57B", None, ""),
    ("llama-3.1-9b-instruct", None, ""),
    ("Qwen/Qwen3-VL-32B", None, ""),
    ("deepseek-r1-distill-qwen-32b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", ""),
    ("gpt-4o", None, ""),
    ("nvidia/Llama-3.3-70B-Instruct-FP4", "meta-llama/Llama-3.3-70B-Instruct", "nvfp4"),
    ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "deepseek-ai/DeepSeek-R1-0528", "nvfp4"),
    (
        "hugging-quants/Llama-3.2-1B-Instruct-Q8_0-GGUF",
        *("meta-llama/Llama-3.2-1B-Instruct", "gguf"),
    ),
    ("llama3", None, ""),
    ("mistral", None, ""),
    ("qwen3", None, ""),
    ("meta-llama/Llama-3.1-8B-Instruct:cheapest", "meta-llama/Llama-3.1-8B-Instruct", ""),
    (
        "TheBloke/Llama-2-13B-chat-GPTQ:gptq-4bit-32g-actorder_True",
        "TheBloke/Llama-2-13B-chat-GPTQ",
        "",
    ),
]
"""Images of NIMs and of weights, stores, caches, libraries; written down before they were tried."""
ALL = [row[:3] for row in THREADS] + MADE + PLACES


@pytest.mark.parametrize(("text", "meant", "stored"), ALL, ids=[row[0][:60] for row in ALL])
def test_an_id_means_its_model_or_none(text: str, meant: str | None, stored: str) -> None:
    found = typed(text)
    assert (found.id if found else None) == meant
    if found is not None:
        assert found.stored == stored
        assert load().find(found.id) is not None
        plain = text.partition("/snapshots/")[0].replace("-4b-128g", "").lower()
        assert sizes(found.id) == sizes(plain.replace(" ", "-"))


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


def test_a_gguf_file_is_of_the_type_that_its_tag_says() -> None:
    words = ("--engine", "llama.cpp", "--gpu", "nvidia-l40s", "--max-model-len", "8192")
    told = run("estimate", "bartowski/Qwen_Qwen3-8B-GGUF:Q8_0", *words)
    assert "is read as Qwen/Qwen3-8B, stored as gguf" in told.stderr
    assert "q8_0, 36 of 36 layers and output" in told.stdout
    told = run("estimate", "ollama://qwen3:8b", *words)
    assert "Qwen/Qwen3-8B, in a GGUF file as Ollama serves it" in told.stderr
    assert "q4_k_m, 36 of 36 layers and output" in told.stdout


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        (
            "oci://registry.example/modelcar-llama-3-1-8b-instruct:1.5",
            "hf://meta-llama/Llama-3.1-8B-Instruct",
        ),
        ("/mnt/models/qwen2-5-7b-instruct", "hf://Qwen/Qwen2.5-7B-Instruct"),
        ("s3://models/someone/Qwen3-32B-NVFP4-of-ours", ""),
        ("/mnt/models/someone-Qwen3-32B-Int4", ""),
        ("q4_" * 170, ""),
        ("/models/qwen3-8b/qwen3-70b-ours", ""),
        ("/data/gpt2/my-13b-model", ""),
        ("/models/Qwen/Qwen3-8B/our-70b", ""),
        ("pvc://models/Qwen3-8B/8b-merged", "hf://Qwen/Qwen3-8B"),
        ("/models/qwen3-8b/checkpoint-300", "hf://Qwen/Qwen3-8B"),
    ],
)
def test_a_manifest_s_place_is_taken_for_the_model_that_it_is_called_after(
    place: str, uri: str
) -> None:
    assert meant(place) == Meant(uri, assumed=bool(uri))
