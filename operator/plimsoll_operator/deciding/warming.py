"""Objects that a template decides on before it forks, so that its workers start warm.

They stand for nothing: each leads through another part of the estimator. Nothing refers to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


def _object(uri: str, accelerator: str | None, **engine: Any) -> Mapping[str, Any]:
    spec: dict[str, Any] = {"model": {"uri": uri}, "engine": engine}
    if accelerator is not None:
        spec["accelerator"] = {"allowed": [accelerator]}
    return {"metadata": {"name": "warm", "namespace": "warm"}, "spec": spec}


OBJECTS: Final = (
    _object("hf://meta-llama/Llama-3.3-70B-Instruct", "nvidia-l4", name="vllm"),
    _object("hf://Qwen/Qwen3-30B-A3B", "nvidia-a100-80gb", name="vllm"),
    _object("hf://google/gemma-3-27b-it", None, name="vllm"),
    _object("hf://deepseek-ai/DeepSeek-V2-Lite", "nvidia-h100-80gb", name="sglang"),
    _object("hf://meta-llama/Llama-3.1-8B-Instruct", "nvidia-l4", name="llama.cpp"),
    _object("hf://nobody/knows-this", None),
)
