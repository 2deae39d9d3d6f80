"""The promise of `plimsoll render`: what it prints reads back as the same plan."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.decision.decide import decide
from plimsoll.render.rendered import Rendered, render
from plimsoll.workloads import kinds
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll.workloads.roles import NothingBeside

if TYPE_CHECKING:
    from plimsoll.decision.verdict import Verdict
    from plimsoll.workloads.roles import Beside

MODELS = (
    "Qwen/Qwen3-32B",
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V2-Lite",
    "deepseek-ai/DeepSeek-V3",
    "google/gemma-3-12b-it",
)
GPUS = (
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-l4",
    "nvidia-l40s",
    "amd-mi300x",
    "nvidia-a100-80gb-mig-3g.40gb",
)
ENGINES = ("vllm", "sglang", "tgi", "tensorrt-llm", "llama.cpp")
PINS = ("Utilization", "Nothing")


def deployment(model: str, gpu: str, engine: str, **output: Any) -> dict[str, Any]:
    """An LLMDeployment of a model on one kind of GPU."""
    settings: dict[str, Any] = {"name": engine, "maxModelLen": 4096}
    if engine == "llama.cpp":
        settings["quantization"] = "q4_k_m"
    spec = {"model": {"uri": f"hf://{model}"}, "engine": settings}
    spec |= {"accelerator": {"allowed": [gpu]}, "output": output}
    return {"metadata": {"name": "it", "namespace": "chat"}, "spec": spec}


def planned(obj: dict[str, Any]) -> tuple[Verdict, Rendered]:
    """Its verdict, and what is rendered of it."""
    asked = request(obj, NoDocuments())
    verdict = decide(asked)
    return verdict, render(obj, asked, verdict)


def figures(verdict: Verdict) -> tuple[object, ...]:
    """What a verdict says, as far as a workload can tell it again."""
    estimate, placement = verdict.estimate, verdict.placement
    assert placement is not None, (verdict.decision, verdict.problems)
    memory: tuple[object, ...] = ()
    if estimate is not None:
        memory = (estimate.required, estimate.usable, estimate.kv_tokens, estimate.max_model_len)
    where = (placement.gpus_per_replica, placement.nodes_per_replica, placement.parallelism)
    return (verdict.decision, verdict.accelerator, *memory, *where)


def read_back(workload: dict[str, Any], beside: Beside | None = None) -> Verdict:
    """What `plimsoll check` says of a rendered workload."""
    kind = kinds.find(workload["apiVersion"], workload["kind"])
    assert kind is not None
    (served,) = kind.read(workload, beside or NothingBeside())
    assert not served.facts.unreadable
    return decide(served.request)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_reads_back_as_the_same_verdict_with_the_same_figures(engine: str) -> None:
    compared, over_nodes = 0, 0
    for model, gpu, pin in itertools.product(MODELS, GPUS, PINS):
        verdict, made = planned(deployment(model, gpu, engine, pin=pin))
        if not made.objects:
            continue
        compared += 1
        over_nodes += made.objects[0]["kind"] == "LeaderWorkerSet"
        assert figures(read_back(made.objects[0])) == figures(verdict), (model, gpu, pin)
    assert compared >= 40
    assert bool(over_nodes) == (engine in ("vllm", "sglang"))


def test_a_cache_that_is_pinned_in_bytes_reads_back_as_a_verdict_that_fits() -> None:
    verdict, made = planned(
        deployment("Qwen/Qwen3-32B", "nvidia-h100-80gb", "vllm", pin="KVCacheBytes")
    )
    assert verdict.estimate is not None
    again = read_back(made.objects[0])
    assert again.decision == verdict.decision
    assert again.estimate is not None
    assert verdict.estimate.max_model_len <= again.estimate.kv_tokens <= verdict.estimate.kv_tokens


@pytest.mark.parametrize(
    "model",
    [
        {"uri": "pvc://weights/llama", "baseModel": "meta-llama/Llama-3.1-8B-Instruct"},
        {"uri": "oci://registry.example.com/m:1", "baseModel": "meta-llama/Llama-3.1-8B-Instruct"},
        {"uri": "file:///mnt/it", "baseModel": "meta-llama/Llama-3.1-8B-Instruct"},
    ],
)
def test_a_model_that_is_mounted_reads_back_by_its_annotations(model: dict[str, Any]) -> None:
    obj = deployment("", "nvidia-l40s", "vllm")
    obj["spec"]["model"] = model
    verdict, made = planned(obj)
    again = read_back(made.objects[0])
    assert again.model.parameters == verdict.model.parameters
    assert figures(again) == figures(verdict)


class Lying(NothingBeside):
    """Rendered objects, each beside the others."""

    def __init__(self, objects: tuple[dict[str, Any], ...]) -> None:
        self._objects = {(one["kind"], one["metadata"]["name"]): one for one in objects}

    def other(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._objects.get((kind, name))


@pytest.mark.parametrize("gpu", ["nvidia-a100-80gb", "nvidia-h100-80gb", "nvidia-l40s"])
@pytest.mark.parametrize("model", ["Qwen/Qwen3-32B", "meta-llama/Llama-3.3-70B-Instruct"])
def test_gpus_that_are_claimed_read_back_by_the_template_beside(model: str, gpu: str) -> None:
    obj = deployment(model, gpu, "vllm")
    obj["spec"]["accelerator"]["allocation"] = "DRA"
    verdict, made = planned(obj)
    assert [one["kind"] for one in made.objects][-1] == "ResourceClaimTemplate"
    assert figures(read_back(made.objects[0], Lying(made.objects))) == figures(verdict)


def test_a_claim_that_names_no_product_reads_back_as_gpus_of_enough_memory() -> None:
    obj = deployment("Qwen/Qwen3-32B", "", "vllm")
    obj["spec"]["accelerator"] = {"allocation": "DRA", "gpusPerReplica": 1}
    verdict, made = planned(obj)
    again = read_back(made.objects[0], Lying(made.objects))
    assert again.decision == verdict.decision == "allow"
    assert again.placement is not None
    assert again.placement.gpus_per_replica == 1


def test_a_claim_without_its_template_is_said_to_be_unread() -> None:
    obj = deployment("Qwen/Qwen3-32B", "nvidia-h100-80gb", "vllm")
    obj["spec"]["accelerator"]["allocation"] = "DRA"
    _, made = planned(obj)
    kind = kinds.find("apps/v1", "Deployment")
    assert kind is not None
    (served,) = kind.read(made.objects[0], NothingBeside())
    name = made.objects[-1]["metadata"]["name"]
    unread = f"claim gpus: ResourceClaimTemplate {name} is not at hand"
    assert unread in served.facts.unreadable
