"""Claims about extraArgs of an LLMDeployment: what is refused of them at their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.workloads.llmdeployment import NoDocuments, request
from worded import problems_in

if TYPE_CHECKING:
    from plimsoll.decision.request import Request

QWEN = "hf://Qwen/Qwen2.5-7B-Instruct"


def read(**engine: Any) -> Request:
    """The request of a deployment of that engine."""
    spec = {"model": {"uri": QWEN}, "engine": engine}
    return request({"metadata": {"name": "it"}, "spec": spec}, NoDocuments())


@pytest.mark.parametrize(
    ("args", "other"),
    [
        (["-hf", "unsloth/Qwen3-8B-GGUF:Q4_K_M"], "Qwen/Qwen3-8B"),
        (["-m", "/models/Qwen3-32B-Q4_K_M.gguf"], "Qwen/Qwen3-32B"),
        (["-hf", "unsloth/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"], ""),
        (["-m", "/models/our-own-Q4_K_M.gguf"], ""),
    ],
)
def test_the_file_that_llama_cpp_is_told_is_one_of_the_model(args: list[str], other: str) -> None:
    found = [str(one) for one in problems_in(read(name="llama.cpp", extraArgs=args))]
    assert any(f"by its name this is {other}" in problem for problem in found) is bool(other)


@pytest.mark.parametrize(
    "text", ["--seed=\x1b[31m1", "--seed=1\u00a0", "--se\u200bed=1", "\t--seed=1"]
)
def test_arguments_that_cannot_be_printed_are_refused_at_their_place(text: str) -> None:
    found = problems_in(read(extraArgs=["--seed=1", text]))
    assert "spec.engine.extraArgs[1]" in {problem.path for problem in found}
    assert all(problem.isprintable() for problem in map(str, found))
