"""Claims about GPUs by DRA: the memory that the plan needs, and never a marketing size."""

from __future__ import annotations

import re
from typing import Any

import pytest

from plimsoll.decision.decide import decide
from plimsoll.decision.knowledge import shipped
from plimsoll.render.claims import least_memory
from plimsoll.render.rendered import render
from plimsoll.units import MIB
from plimsoll.workloads.llmdeployment import NoDocuments, request


def made(gpu: str = "nvidia-h100-80gb", gpus: int = 1, **spec: Any) -> list[dict[str, Any]]:
    """What is rendered of Qwen3-8B with claims."""
    accelerator = {"gpusPerReplica": gpus, "allocation": "DRA", "allowed": [gpu]}
    said = {"model": {"uri": "hf://Qwen/Qwen3-8B"}, "engine": {"maxModelLen": 8192}}
    obj = {"metadata": {"name": "it"}, "spec": said | {"accelerator": accelerator} | spec}
    asked = request(obj, NoDocuments())
    found = render(obj, asked, decide(asked))
    assert not found.problems, [str(one) for one in found.problems]
    return list(found.objects)


def asked_for(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """What the claim template asks for."""
    (template,) = [one for one in objects if one["kind"] == "ResourceClaimTemplate"]
    (asked,) = template["spec"]["spec"]["devices"]["requests"]
    found: dict[str, Any] = asked["exactly"]
    return found


def mebibytes(asked: dict[str, Any]) -> int:
    """The memory in the selectors."""
    text = " ".join(one["cel"]["expression"] for one in asked["selectors"])
    (found,) = re.findall(r'quantity\("(\d+)Mi"\)', text)
    return int(found)


def test_the_pod_claims_its_gpus_and_asks_for_no_resource_beside() -> None:
    objects = made(gpus=2)
    pod = objects[0]["spec"]["template"]["spec"]
    (claim,) = pod["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == objects[-1]["metadata"]["name"]
    resources = pod["containers"][0]["resources"]
    assert resources["claims"] == [{"name": claim["name"]}]
    assert "limits" not in resources
    assert "affinity" not in pod
    assert (asked_for(objects)["count"], asked_for(objects)["allocationMode"]) == (2, "ExactCount")


@pytest.mark.parametrize("gpu", ["nvidia-h100-80gb", "nvidia-a100-80gb", "nvidia-l40s"])
def test_the_memory_is_the_least_on_which_the_plan_fits(gpu: str) -> None:
    accelerator = shipped().find(gpu)
    assert accelerator is not None
    least = mebibytes(asked_for(made(gpu)))
    assert least * MIB < accelerator.memory
    spec = {"model": {"uri": "hf://Qwen/Qwen3-8B"}, "engine": {"maxModelLen": 8192}}
    for mib, fits in ((least, True), (least - 64, False)):
        card = {"memory": f"{mib}Mi", "gpusPerReplica": 1, "allowed": [gpu]}
        asked = request({"spec": spec | {"accelerator": card}}, NoDocuments())
        assert (decide(asked).decision == "allow") is fits, mib


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "openai/gpt-oss-20b", "google/gemma-3-12b-it"])
@pytest.mark.parametrize("gpu", ["nvidia-a100-80gb", "nvidia-h100-80gb", "nvidia-l40s"])
def test_no_gpu_of_the_table_that_the_claim_lets_in_is_too_small(model: str, gpu: str) -> None:
    spec: dict[str, Any] = {"model": {"uri": f"hf://{model}"}, "engine": {"maxModelLen": 8192}}
    card = shipped().find(gpu)
    assert card is not None
    asked = request({"spec": spec | {"accelerator": {"allowed": [gpu]}}}, NoDocuments())
    verdict = decide(asked)
    least = least_memory(asked, verdict, card, shipped())
    let_in = [
        one
        for one in shipped().accelerators
        if least <= one.memory <= card.memory
        and one.compute >= card.compute
        and one.resource == "nvidia.com/gpu"
        and "shared with the CPU" not in one.title
    ]
    assert card in let_in
    for one in let_in:
        named = {"allowed": [one.name], "gpusPerReplica": 1}
        found = decide(request({"spec": spec | {"accelerator": named}}, NoDocuments()))
        assert found.decision == "allow", one.name


def test_a_plan_that_takes_the_whole_gpu_still_matches_the_gpu_it_was_made_for() -> None:
    obj = {
        "metadata": {"name": "it"},
        "spec": {
            "model": {"uri": "hf://Qwen/Qwen3-32B"},
            "engine": {"maxModelLen": 16384},
            "accelerator": {"allowed": ["nvidia-h100-80gb"], "allocation": "DRA"},
        },
    }
    asked = request(obj, NoDocuments())
    card = shipped().find("nvidia-h100-80gb")
    assert card is not None
    least = least_memory(asked, decide(asked), card, shipped())
    assert 70_000 * MIB < least <= card.memory < 80 * 1024 * MIB


def test_products_are_asked_for_only_where_the_spec_names_some() -> None:
    def text(**spec: Any) -> str:
        return " ".join(one["cel"]["expression"] for one in asked_for(made(**spec))["selectors"])

    assert '"NVIDIA-H100-80GB-HBM3"' in text()
    assert "productName" not in text(accelerator={"allocation": "DRA"})
    assert 'semver("9.0.0")' in text()


def test_another_plan_has_a_template_of_another_name_and_the_same_plan_the_same() -> None:
    names = [made(gpus=gpus)[-1]["metadata"]["name"] for gpus in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


def test_what_no_driver_is_known_for_is_said() -> None:
    obj = {
        "metadata": {"name": "it"},
        "spec": {
            "model": {"uri": "hf://Qwen/Qwen3-8B"},
            "accelerator": {"allowed": ["amd-mi300x"], "allocation": "DRA"},
        },
    }
    asked = request(obj, NoDocuments())
    (problem,) = render(obj, asked, decide(asked)).problems
    assert problem.path == "spec.accelerator.allocation"
    assert "NVIDIA's driver" in problem.wanted
