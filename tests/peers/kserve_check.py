"""Claims about LLMInferenceServices, with KServe's own controller (v0.20.0) and its presets.

Not collected by `pytest`: `make test-peers` builds it, once, and runs this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cluster.fixtures_operator import until
from controlplane import ControlPlane
from peers.kserve import KServe
from peers.lws_check import SAME, SOON, checked

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE = "chat"
GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
SAID = tuple(key for key in SAME if key != "engineVersion")


@pytest.fixture(scope="module")
def kserve() -> Iterator[tuple[ControlPlane, KServe]]:
    """A control plane with KServe's controller."""
    with ControlPlane() as plane, KServe(plane) as running:
        plane.kubectl("create", "namespace", SPACE)
        yield plane, running


def service(name: str, model: str, gpus: int, product: str, **spec: Any) -> dict[str, Any]:
    """An LLMInferenceService whose container is the preset's, with further arguments for vLLM."""
    main = {
        "name": "main",
        "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--max-model-len=8192"}],
        "resources": {"limits": {GPU: str(gpus)}},
    }
    pod = {"nodeSelector": {PRODUCT: product}, "containers": [main]}
    if "worker" in spec:
        spec = {**spec, "worker": pod}
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"model": {"uri": f"hf://{model}", "name": model}, "template": pod, **spec},
    }


L4, H200 = "NVIDIA-L4", "NVIDIA-H200"
FITS = service("fits", "Qwen/Qwen3-14B", 2, L4, parallelism={"tensor": 2}, replicas=2)
REFUSED = service("refused", "Qwen/Qwen3-14B", 1, L4, replicas=1)
OVER_NODES = service(
    "experts",
    "deepseek-ai/DeepSeek-V3",
    8,
    H200,
    parallelism={"data": 16, "dataLocal": 8, "tensor": 1, "expert": True},
    replicas=1,
    worker=True,
)


@pytest.mark.parametrize(
    ("obj", "decision", "kind"),
    [
        (FITS, "allow", "deployments"),
        (REFUSED, "deny", "deployments"),
        (OVER_NODES, "allow", "leaderworkersets"),
    ],
    ids=lambda given: given["metadata"]["name"] if isinstance(given, dict) else None,
)
def test_what_is_made_of_a_service_is_judged_like_it_and_once(
    kserve: tuple[ControlPlane, KServe], obj: dict[str, Any], decision: str, kind: str
) -> None:
    plane, running = kserve
    plane.create([obj])
    name = obj["metadata"]["name"]

    def made() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = plane.get(kind, "-n", SPACE)["items"]
        mine = [one for one in found if one["metadata"]["name"].startswith(f"{name}-")]
        assert mine, running.log()
        return mine

    (workload,) = until(made, SOON, f"what is made of {name}")
    (whole,) = checked(obj)["results"]
    assert whole["decision"] == decision
    there = plane.get("llminferenceservice", name, "-n", SPACE)
    together = checked(there, workload)
    assert [one["kind"] for one in together["results"]] == ["LLMInferenceService"]
    assert together["madeByOthers"] == 1
    (alone,) = checked(workload)["results"]
    assert {key: alone[key] for key in SAID} == {key: whole[key] for key in SAID}
