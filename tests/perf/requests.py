"""Manifests for benchmarks, all distinct: allowed ones, refused ones, and those that name no GPU.

It must not use randomness that differs from run to run.
"""

from __future__ import annotations

from typing import Any

MODELS = (
    "meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-30B-A3B",
    "google/gemma-3-27b-it", "openai/gpt-oss-120b", "Qwen/Qwen3-32B", "microsoft/phi-4",
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506", "meta-llama/Llama-3.1-8B-Instruct",
    "deepseek-ai/DeepSeek-V2-Lite",
)  # fmt: skip
BIG = (
    "meta-llama/Llama-3.3-70B-Instruct",
    "Qwen/Qwen2.5-72B-Instruct",
    "openai/gpt-oss-120b",
    "mistralai/Mixtral-8x22B-v0.1",
    "Qwen/Qwen3-235B-A22B",
)


def manifest(number: int, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    """An LLMDeployment."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": f"{name}-{number}", "namespace": namespace},
        "spec": spec,
    }


def allowed(number: int, namespace: str = "bench") -> dict[str, Any]:
    """One that fits on the accelerator that it names."""
    model = MODELS[number % len(MODELS)]
    return manifest(
        number,
        "allowed",
        namespace,
        {
            "model": {"uri": f"hf://{model}", "revision": f"r{number}"},
            "engine": {"maxModelLen": 2048 + number % 4001, "maxNumSeqs": 16 + number % 241},
            "workload": {
                "concurrentSequences": 1 + number % 3,
                "inputTokens": 512 + number % 997,
                "outputTokens": 128 + number % 397,
            },
            "accelerator": {"allowed": ["nvidia-a100-80gb"]},
        },
    )


def refused(number: int, namespace: str = "bench") -> dict[str, Any]:
    """One that certainly does not fit, so that ways out are looked for."""
    model = BIG[number % len(BIG)]
    return manifest(
        number,
        "refused",
        namespace,
        {
            "model": {"uri": f"hf://{model}", "revision": f"r{number}"},
            "engine": {
                "maxModelLen": 4096 + number % 4001,
                "maxNumSeqs": 16 + number % 241,
                "parallelism": {"tensor": 1},
            },
            "accelerator": {"allowed": ["nvidia-l4"], "gpusPerReplica": 1},
        },
    )


def anywhere(number: int, namespace: str = "bench") -> dict[str, Any]:
    """One that names no accelerator: the whole table is looked through."""
    found = allowed(number, namespace)
    del found["spec"]["accelerator"]
    return found
