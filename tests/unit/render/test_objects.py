"""Claims about the objects that run a placement, as whoever applies them reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.accelerators.types import Dialect
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Beside
from plimsoll.inventory.nodes import read_node
from plimsoll.inventory.pools import pools
from plimsoll.render.images import image
from plimsoll.render.names import MAX_NAME, object_name
from plimsoll.render.objects import asked_of
from plimsoll.render.rendered import Rendered, render
from plimsoll.workloads.llmdeployment import NoDocuments, request

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict


def of(name: str = "chat", dialect: Dialect | None = None, **spec: Any) -> Rendered:
    """What is rendered of an LLMDeployment of Qwen3-8B on an H100, with parts of its spec."""
    said = {
        "model": {"uri": "hf://Qwen/Qwen3-8B"},
        "engine": {"maxModelLen": 8192},
        "accelerator": {"allowed": ["nvidia-h100-80gb"]},
        **spec,
    }
    obj = {"metadata": {"name": name, "namespace": "team"}, "spec": said}
    asked, verdict = decided(obj)
    return render(obj, asked, verdict, dialect)


def decided(obj: dict[str, Any]) -> tuple[Request, Verdict]:
    """Its request and its verdict."""
    asked = request(obj, NoDocuments())
    return asked, decide(asked)


def pod(made: Rendered) -> dict[str, Any]:
    """The spec of the pods of a Deployment."""
    assert not made.problems, [str(one) for one in made.problems]
    spec: dict[str, Any] = made.objects[0]["spec"]["template"]["spec"]
    return spec


def engine(made: Rendered) -> dict[str, Any]:
    """The container that serves."""
    found: dict[str, Any] = pod(made)["containers"][0]
    return found


def said(made: Rendered) -> list[str]:
    """Why nothing was rendered."""
    assert made.objects == ()
    return [str(one) for one in made.problems]


def test_it_serves_the_model_with_the_planned_flags_and_the_pinned_share() -> None:
    made = engine(of())
    assert made["image"] == "docker.io/vllm/vllm-openai:v0.33.0"
    assert made["command"] == ["vllm", "serve"]
    assert made["args"] == [
        "Qwen/Qwen3-8B",
        "--served-model-name=Qwen/Qwen3-8B",
        "--port=8000",
        "--tensor-parallel-size=1",
        "--max-model-len=8192",
        "--gpu-memory-utilization=0.92",
    ]
    assert made["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_the_service_finds_the_pods_and_the_port() -> None:
    workload, service = of().objects
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert workload["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert engine(of())["ports"][0]["name"] == "http"


def test_the_start_probe_waits_for_the_checkpoint_at_the_rate_that_is_said() -> None:
    slow, fast = engine(of()), engine(of(output={"readRate": "1Gi"}))
    budget = {p: e["startupProbe"] for p, e in (("slow", slow), ("fast", fast))}
    assert budget["slow"]["failureThreshold"] * budget["slow"]["periodSeconds"] >= 600 + 131
    assert budget["fast"]["failureThreshold"] * budget["fast"]["periodSeconds"] < 600 + 131
    given = {e["name"]: e["value"] for e in slow["env"]}
    assert given["VLLM_ENGINE_READY_TIMEOUT_S"] == "732"


def test_without_nodes_every_label_of_the_gpu_is_accepted_in_the_dialect_that_is_asked_for() -> (
    None
):
    def terms(made: Rendered) -> Any:
        node = pod(made)["affinity"]["nodeAffinity"]
        return node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]

    (term,) = terms(of())
    assert term["matchExpressions"][0]["values"] == ["NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"]
    (term,) = terms(of(dialect=Dialect.GKE))
    assert term["matchExpressions"][0]["key"] == "cloud.google.com/gke-accelerator"
    (term,) = terms(of(dialect=Dialect.KARPENTER_AWS))
    assert len(term["matchExpressions"]) == 2


def test_with_nodes_the_placement_s_own_labels_select_and_its_own_taints_are_tolerated() -> None:
    node = {
        "metadata": {
            "name": "gpu-1",
            "labels": {
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                "nvidia.com/gpu.count": "8",
                "nvidia.com/gpu.memory": "81559",
            },
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"nvidia.com/gpu": "8"},
            "capacity": {"nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    facts = read_node(node)
    assert facts is not None
    obj = {"metadata": {"name": "it"}, "spec": {"model": {"uri": "hf://Qwen/Qwen3-8B"}}}
    asked = request(obj, NoDocuments())
    made = render(obj, asked, decide(asked, pools([facts])))
    assert pod(made)["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert "affinity" not in pod(made)
    assert [one["key"] for one in pod(made)["tolerations"]] == ["nvidia.com/gpu"]


def test_a_replica_over_nodes_is_a_leader_worker_set_whose_leader_alone_is_served() -> None:
    made = of(model={"uri": "hf://deepseek-ai/DeepSeek-V3"}, engine={"maxModelLen": 8192})
    workload, service = made.objects
    group = workload["spec"]["leaderWorkerTemplate"]
    leader = group["leaderTemplate"]["spec"]["containers"][0]
    worker = group["workerTemplate"]["spec"]["containers"][0]
    assert (workload["kind"], group["size"]) == ("LeaderWorkerSet", 2)
    assert "--nnodes=$(LWS_GROUP_SIZE)" in leader["args"]
    assert worker["args"] == [*leader["args"], "--headless"]
    assert "startupProbe" in leader
    assert "startupProbe" not in worker
    assert service["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


@pytest.mark.parametrize(
    ("name", "restricted"),
    [("vllm", True), ("sglang", False), ("tgi", False), ("tensorrt-llm", False)],
)
def test_it_runs_as_another_user_than_root_where_the_engine_is_known_to(
    name: str, restricted: bool
) -> None:
    made = of(engine={"name": name, "maxModelLen": 8192})
    assert pod(made)["securityContext"].get("runAsNonRoot", False) is restricted
    assert engine(made)["securityContext"]["allowPrivilegeEscalation"] is False


def test_a_pod_on_amd_gpus_stays_root_as_the_groups_of_its_devices_are_not_known() -> None:
    made = of(accelerator={"allowed": ["amd-mi300x"]})
    assert "runAsNonRoot" not in pod(made)["securityContext"]
    assert engine(made)["image"] == "docker.io/vllm/vllm-openai-rocm:v0.33.0"


def test_every_setting_of_the_output_is_in_what_is_made() -> None:
    made = of(
        output={
            "registry": "registry.example.com/mirror/",
            "tokenSecretRef": {"name": "hub", "key": "read"},
            "cacheClaim": "models",
            "queueName": "team-a",
        }
    )
    container = engine(made)
    assert container["image"] == "registry.example.com/mirror/vllm/vllm-openai:v0.33.0"
    reference = {"secretKeyRef": {"name": "hub", "key": "read"}}
    assert {"name": "HF_TOKEN", "valueFrom": reference} in container["env"]
    claim = {"claimName": "models"}
    assert {"name": "cache", "persistentVolumeClaim": claim} in pod(made)["volumes"]
    assert "ephemeral-storage" not in container["resources"]["requests"]
    assert made.objects[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ({"hostPath": {"path": "/mnt/models"}}, False),
        ({"emptyDir": {"medium": "Memory"}}, False),
        ({"emptyDir": {"sizeLimit": "40Gi"}}, True),
    ],
)
def test_a_cache_elsewhere_in_the_template_asks_no_node_for_disk(
    source: dict[str, Any], asks: bool
) -> None:
    made = of(output={"template": {"spec": {"volumes": [{"name": "cache", **source}]}}})
    assert ("ephemeral-storage" in engine(made)["resources"]["requests"]) is asks


def test_what_a_pod_asks_for_is_the_sum_of_its_containers_or_its_largest_first_one() -> None:
    def asking(**size: str) -> dict[str, Any]:
        return {"resources": {"requests": {k.replace("_", "-"): v for k, v in size.items()}}}

    spec = {
        "containers": [
            asking(cpu="2", memory="8Gi", ephemeral_storage="20Gi"),
            {"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}},
            {"resources": "none"},
        ],
        "initContainers": [asking(cpu="4"), asking(memory="?")],
    }
    asked = asked_of({"spec": {"template": {"spec": spec}}})
    assert asked == {Beside.DISK: 20 << 30, Beside.MEMORY: 9 << 30, Beside.CPU: 4000}


def test_the_pod_template_wins_over_everything() -> None:
    container = {"name": "engine", "resources": {"limits": {"memory": "64Gi"}}}
    template = {"spec": {"containers": [container], "runtimeClassName": "nvidia"}}
    made = of(output={"template": template})
    assert pod(made)["runtimeClassName"] == "nvidia"
    assert engine(made)["resources"]["limits"] == {"nvidia.com/gpu": "1", "memory": "64Gi"}


def test_what_is_refused_renders_nothing() -> None:
    one = {"allowed": ["nvidia-l4"], "gpusPerReplica": 1}
    made = of(model={"uri": "hf://meta-llama/Llama-3.1-405B"}, accelerator=one)
    assert (made.objects, made.problems) == ((), ())


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"engine": {"name": "generic"}}, "spec.engine.name: Invalid value: \"generic\""),
        ({"model": {"uri": "s3://bucket/it", "baseModel": "Qwen/Qwen3-8B"}}, "spec.model.uri"),
        ({"model": {"uri": "hf://a/b", "parameters": "8B"}}, "spec.model: Required: a model whose"),
        ({"model": {"baseModel": "Qwen/Qwen3-8B"}}, "spec.model.uri: Required: where a pod finds"),
        ({"engine": {"name": "llama.cpp"}}, "spec.engine.quantization: Required"),
        (
            {"engine": {"name": "sglang"}, "accelerator": {"allowed": ["amd-mi300x"]}},
            "spec.output.image: Required",
        ),
        ({"engine": {"version": "0.9.0"}, "output": {"pin": "KVCacheBytes"}}, "spec.output.pin"),
        ({"output": {"template": {"spec": {"containers": [{}]}}}}, "spec.output.template.spec"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_says_the_field_and_what_it_wants(
    spec: dict[str, Any], wanted: str
) -> None:
    (line,) = said(of(**spec))
    assert wanted in line


@pytest.mark.parametrize(
    ("engine_name", "version", "expected"),
    [
        ("vllm", "0.19", "docker.io/vllm/vllm-openai:v0.19.0"),
        ("vllm", "v0.19.1", "docker.io/vllm/vllm-openai:v0.19.1"),
        ("vllm", "0.8.5.post1", "docker.io/vllm/vllm-openai:v0.8.5.post1"),
        ("tgi", "3.3.7", "ghcr.io/huggingface/text-generation-inference:3.3.7"),
        ("llama.cpp", "b9440", "ghcr.io/ggml-org/llama.cpp:server-cuda-b9440"),
    ],
)
def test_images_are_named_as_their_projects_name_them(
    engine_name: str, version: str, expected: str
) -> None:
    assert image(engine_name, version, "nvidia.com/gpu") == expected


@pytest.mark.parametrize("name", ["a" * 253, "llama-3.3-70b", "3b", "x" * 60, "a.b", "-", "Ünï"])
def test_every_name_becomes_one_that_a_service_may_have(name: str) -> None:
    made = object_name(name)
    assert len(made) <= MAX_NAME
    assert made[0].isalpha()
    assert made.replace("-", "a").isalnum()
    assert made.isascii()
    assert made != object_name(name + "1")


def test_a_name_that_is_fine_stays_as_it_is() -> None:
    assert object_name("llama-70b") == "llama-70b"
