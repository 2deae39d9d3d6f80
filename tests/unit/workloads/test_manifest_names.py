"""Names, labels and taints in a manifest: what is none to Kubernetes is a problem at its field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from plimsoll.cli.check import command
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision
from plimsoll.report import messages
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll.workloads.spec import LLMDeploymentSpec
from worded import problems_in

if TYPE_CHECKING:
    from plimsoll.decision.request import Request


def read(spec: dict[str, Any]) -> Request:
    """A spec, of a small model unless it names one, read."""
    spec = {"model": {"uri": "hf://Qwen/Qwen3-0.6B"}, **spec}
    return request({"metadata": {"name": "a", "namespace": "b"}, "spec": spec}, NoDocuments())


WITHOUT_FORM = {
    "model": {
        **dict.fromkeys(("uri", "quantization", "parameters"), "?"),
        "configMapRef": {"name": "?", "key": "?"},
    },
    "engine": {
        **dict.fromkeys(("dtype", "quantization", "kvCacheDtype", "kvCacheMemory"), "?"),
        **dict.fromkeys(("gpuMemoryUtilization", "cpuOffload"), "?"),
        "speculative": {"method": "?"},
    },
    "accelerator": {
        **dict.fromkeys(("minMemory", "reserved", "memory", "computeCapability", "family"), "?"),
        "nodeSelector": {"zone": "?"},
        "tolerations": [{"key": "?", "value": "?"}],
    },
    "output": {
        **dict.fromkeys(("readRate", "cacheClaim", "queueName"), "?"),
        "targetRef": {"kind": "Deployment", "name": "?", "container": "?"},
        "tokenSecretRef": {"name": "?", "key": "?"},
    },
}
"""Every field that must have a form, with a text that has none."""


def test_every_form_that_a_field_has_is_put_into_words() -> None:
    patterns = json.dumps(LLMDeploymentSpec.model_json_schema()).count('"pattern": ')
    problems = problems_in(read(WITHOUT_FORM))
    assert len(problems) == patterns
    assert [problem for problem in problems if "another form" in problem.wanted] == []


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        ("zone", True),
        ("example.com/zone", True),
        ("a.b-c.example/Zone_1.x", True),
        ("z" * 63, True),
        ("9", True),
        ("", False),
        ("z" * 64, False),
        ("-zone", False),
        ("zone.", False),
        ("/zone", False),
        ("example.com/", False),
        ("Example.com/zone", False),
        ("a/b/c", False),
        ("zo ne", False),
        ("zone\n", False),
        ("zone\x1b[2J", False),
        ("zöne", False),
    ],
)
def test_a_key_of_a_label_or_a_taint_is_one_as_kubernetes_has_them(key: str, taken: bool) -> None:
    for accelerator in ({"nodeSelector": {key: "a"}}, {"tolerations": [{"key": key}]}):
        problems = problems_in(read({"accelerator": accelerator}))
        (part,) = accelerator
        assert [one.path.startswith(f"spec.accelerator.{part}") for one in problems] == (
            [] if taken else [True]
        )


@pytest.mark.parametrize(
    ("value", "taken"),
    [("", True), ("a", True), ("A.b_c-9", True), ("v" * 63, True)]
    + [(text, False) for text in ("v" * 64, "-a", "a-", "a b", "a/b", "a\n", "\x1b", "ä")],
)
def test_a_value_of_a_label_or_a_taint_is_one_as_kubernetes_has_them(
    value: str, taken: bool
) -> None:
    taint = {"key": "t", "value": value}
    for accelerator in ({"nodeSelector": {"zone": value}}, {"tolerations": [taint]}):
        assert bool(problems_in(read({"accelerator": accelerator}))) is not taken


@pytest.mark.parametrize(
    ("toleration", "said"),
    [
        ({"operator": "Exists"}, ""),
        ({"key": "t", "operator": "Exists"}, ""),
        ({"key": "t"}, ""),
        ({"key": "t", "operator": "Exists", "value": "x"}, "no value with operator: Exists"),
        ({"operator": "Equal", "value": "x"}, "a key of a taint"),
        ({}, "a key of a taint"),
    ],
)
def test_a_toleration_that_no_pod_may_have_is_a_problem(
    toleration: dict[str, Any], said: str
) -> None:
    problems = problems_in(read({"accelerator": {"tolerations": [toleration]}}))
    assert [one.wanted for one in problems] == ([said] if said else [])
    assert {one.path for one in problems} <= {"spec.accelerator.tolerations[0]"}


@pytest.mark.parametrize(
    ("uri", "base", "named"),
    [
        ("hf://me/Llama-3.3-70B-mine", "Qwen/Qwen3-0.6B", "70B"),
        ("s3://models/mixtral-8x7b-v3", "Qwen/Qwen3-8B", "8x7b"),
        ("hf://me/Llama-3.3-70B-mine", "meta-llama/Llama-3.3-70B-Instruct", ""),
        ("hf://me/llama-8b-distilled-from-70b", "meta-llama/Llama-3.1-8B-Instruct", ""),
        ("hf://me/my-model-b200", "Qwen/Qwen3-0.6B", ""),
        ("hf://me/phi-1b-instruct", "meta-llama/Llama-3.3-70B-Instruct", ""),
    ],
)
def test_a_name_that_says_a_larger_model_than_its_base_is_not_believed_to_fit(
    uri: str, base: str, named: str
) -> None:
    found = read(
        {
            "model": {"uri": uri, "baseModel": base},
            "accelerator": {"allowed": ["nvidia-h200-141gb"], "gpusPerReplica": 2},
        }
    )
    verdict = decide(found)
    assert verdict.decision is (Decision.WARN if named else Decision.ALLOW)
    said = " ".join(messages.warning(found, verdict))
    assert (f"its name says {named}, and the model that is believed has" in said) is bool(named)


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"configMapRef": {"name": "../x"}}},
        {"model": {"configMapRef": {"name": "x", "key": "a/b"}}},
        {"output": {"mode": "Apply", "targetRef": {"kind": "Deployment", "name": "A"}}},
        {"output": {"tokenSecretRef": {"name": "a\u202eb"}}},
        {"output": {"cacheClaim": "a_b"}},
        {"output": {"queueName": "a:b"}},
    ],
)
def test_what_no_object_is_called_is_a_problem(spec: dict[str, Any]) -> None:
    (problem,) = problems_in(read(spec))
    assert problem.wanted.startswith("must be ")
    assert str(problem).isprintable()


def checked(obj: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said of each engine of an object, as data."""
    answer = CliRunner().invoke(command, ["-", "-o", "json"], input=json.dumps(obj))
    found: list[dict[str, Any]] = json.loads(answer.stdout)["results"]
    return found


@pytest.mark.parametrize(
    "model",
    [
        "/models/Llama-3.3-70B-Instruct-GGUF",
        "/models/llama-3-3-70b-instruct-gguf",
        "/models/Llama-3.3-70B-Instruct/model-Q4_K_M.gguf",
        "bartowski/Llama-3.3-70B-Instruct-GGUF",
        "someone/Llama-3.3-70B-Instruct-Q4_K_M-GGUF",
    ],
)
def test_a_gguf_file_of_another_engine_is_not_judged_as_the_model_it_was_made_from(
    model: str,
) -> None:
    container = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.11.0",
        "args": ["--model", model],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    spec = {"nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"}}
    obj: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "it"},
        "spec": {"template": {"spec": {**spec, "containers": [container]}}},
    }
    (one,) = checked(obj)
    assert one["decision"] == "warn"
    assert f"model {model}: a GGUF file" in str(one["unreadable"])
    obj["metadata"]["annotations"] = {"plimsoll.dev/base-model": "Qwen/Qwen3-4B"}
    (one,) = checked(obj)
    assert one["resolvedModel"]["name"] == "Qwen/Qwen3-4B"


@pytest.mark.parametrize(
    ("module", "read"),
    [
        ("wellmed.seg:app", 0),
        ("enrollment:app", 0),
        ("llm:app", 1),
        ("rayllm.backend:app", 1),
        ("serve.my_llm_app:app", 1),
        ("service:LLMServer", 1),
        ("service:BuildLlmApp", 1),
    ],
)
def test_an_application_of_ray_is_an_llm_if_the_word_is_in_its_module(
    module: str, read: int
) -> None:
    pods = {"containers": [{"name": "a", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
    workers = {"replicas": 1, "groupName": "g", "template": {"spec": pods}}
    obj = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "it"},
        "spec": {
            "serveConfigV2": f"applications: [{{name: a, import_path: '{module}'}}]",
            "rayClusterConfig": {"workerGroupSpecs": [workers]},
        },
    }
    assert len(checked(obj)) == read
