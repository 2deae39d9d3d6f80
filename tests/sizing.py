"""SizingPolicies and what they are held against, as tests write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Policy, ruled
from plimsoll.report import messages
from plimsoll.workloads import kinds, sizing_policy
from plimsoll.workloads.roles import NothingBeside

if TYPE_CHECKING:
    from plimsoll.decision.verdict import Verdict

SMALL_MODEL = {"uri": "hf://Qwen/Qwen2.5-7B-Instruct"}
BIG_MODEL = {"uri": "hf://meta-llama/Llama-3.1-70B-Instruct"}


def policy_object(name: str = "small", **spec: Any) -> dict[str, Any]:
    """A SizingPolicy."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "SizingPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def held_to(*specs: dict[str, Any]) -> Policy:
    """The policy of a namespace that SizingPolicies of these specs select, called a, b ..."""
    read = [
        sizing_policy.read(policy_object("abcdefgh"[index], **spec))
        for index, spec in enumerate(specs)
    ]
    assert not [problem for one in read for problem in one.problems]
    return ruled(Policy(), [one.ruling for one in read])


def llmd(
    model: dict[str, Any] = SMALL_MODEL, annotations: tuple[str, ...] = (), **spec: Any
) -> dict[str, Any]:
    """An LLMDeployment."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {
            "name": "chat",
            "namespace": "team",
            "annotations": dict.fromkeys(annotations, "x"),
        },
        "spec": {"model": model, **spec},
    }


def deployment(
    image: str = "vllm/vllm-openai:v0.11.0", gpus: int = 1, **spec: Any
) -> dict[str, Any]:
    """A Deployment that serves the small model with vLLM."""
    container = {
        "name": "vllm",
        "image": image,
        "args": ["--model", "Qwen/Qwen2.5-7B-Instruct", f"--tensor-parallel-size={gpus}"],
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
    }
    pod = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"}, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vllm", "namespace": "team"},
        "spec": {"template": {"spec": pod}, **spec},
    }


def decided(obj: dict[str, Any], policy: Policy) -> list[tuple[Verdict, str]]:
    """The verdict on each engine of an object, with all that is said of it."""
    kind = kinds.find(obj["apiVersion"], obj["kind"])
    assert kind is not None
    found = []
    for served in kind.read(obj, NothingBeside()):
        verdict = decide(served.request, policy=policy)
        words = messages.denial(served.request, verdict) if verdict.denied else ""
        said = "\n".join((words, *messages.warning(served.request, verdict)))
        found.append((verdict, said))
    return found


def one(obj: dict[str, Any], *specs: dict[str, Any]) -> tuple[Verdict, str]:
    """The verdict on an object of one engine under policies of these specs."""
    (found,) = decided(obj, held_to(*specs))
    return found
