"""Claims about reading an LLMDeployment: every mistake at once, in words, and never a crash."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import LLAMA_8B
from json_values import JSON
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision, Reason
from plimsoll.engines.base import AskedSplit
from plimsoll.models.architecture import ModelSource
from plimsoll.units import GIB
from plimsoll.workloads.llmdeployment import Missing, NoDocuments, override_reason, request
from worded import problems_in, warnings_in

if TYPE_CHECKING:
    from plimsoll.decision.request import Request

QWEN = "hf://Qwen/Qwen2.5-7B-Instruct"
CONFIG = LLAMA_8B | {"max_position_embeddings": 8192}


class Texts:
    """ConfigMaps of one namespace, as (name, key) to text."""

    def __init__(self, texts: dict[tuple[str, str | None], str]) -> None:
        self.texts = texts

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """See `plimsoll.workloads.llmdeployment.Documents`."""
        return self.texts.get((name, key)) or Missing(f"there is no ConfigMap {name}")


def read(spec: Any, documents: Any = None, **metadata: Any) -> Request:
    """The request of a spec, in namespace chat."""
    obj = {"metadata": {"name": "it", "namespace": "chat", **metadata}, "spec": spec}
    return request(obj, documents or NoDocuments())


def said(found: Request) -> list[str]:
    """Its problems as users read them."""
    return [str(problem) for problem in problems_in(found)]


def paths(found: Request) -> set[str]:
    """The fields that its problems name."""
    return {problem.path for problem in problems_in(found)}


def test_everything_that_a_manifest_says_is_in_the_request() -> None:
    found = read(
        {
            "replicas": 3,
            "model": {"uri": QWEN, "revision": "main"},
            "engine": {
                "name": "vllm",
                "version": "0.19.0",
                "dtype": "bfloat16",
                "quantization": "fp8",
                "maxModelLen": 8192,
                "maxNumSeqs": 64,
                "maxNumBatchedTokens": 4096,
                "kvCacheDtype": "fp8",
                "kvCacheMemory": "20Gi",
                "gpuMemoryUtilization": "0.85",
                "enforceEager": True,
                "parallelism": {"tensor": 2, "pipeline": 1, "data": 1, "expert": False},
                "extraArgs": ["--block-size=32"],
            },
            "workload": {"concurrentSequences": 8, "inputTokens": 1000, "outputTokens": 200},
            "accelerator": {
                "allowed": ["nvidia-l4"],
                "gpusPerReplica": 2,
                "minMemory": "20Gi",
                "nodeSelector": {"zone": "a"},
            },
        }
    )
    assert said(found) == []
    assert found.name == "chat/it"
    assert found.replicas == 3
    assert found.model.source is ModelSource.CATALOGUE
    engine = found.engine
    assert (engine.version, engine.dtype, engine.quantization) == ("0.19.0", "bfloat16", "fp8")
    assert (engine.max_model_len, engine.max_num_seqs) == (8192, 64)
    assert engine.max_num_batched_tokens == 4096
    assert (engine.kv_cache_dtype, engine.kv_cache_memory) == ("fp8", 20 * GIB)
    assert (engine.utilization, engine.enforce_eager) == (Decimal("0.85"), True)
    assert engine.block_size == 32
    assert (found.workload.concurrent, found.workload.input_tokens) == (8, 1000)
    assert found.workload.output_tokens == 200
    wanted = found.wanted
    assert wanted.split == AskedSplit(2, 1, 1, False)
    assert (wanted.allowed, wanted.gpus_per_replica) == (("nvidia-l4",), 2)
    assert (wanted.min_memory, wanted.node_selector) == (20 * GIB, (("zone", "a"),))


def test_what_is_not_said_stays_unsaid() -> None:
    found = read({"model": {"uri": QWEN}})
    assert said(found) == []
    assert found.engine.max_model_len is None
    assert found.engine.utilization is None
    assert found.wanted.split == AskedSplit()
    assert found.wanted.gpus_per_replica is None
    assert found.workload.concurrent is None


def test_all_mistakes_are_said_at_once_each_with_its_field() -> None:
    found = read(
        {
            "replicas": -1,
            "model": {"uri": "http://x", "parameters": "plenty"},
            "engine": {
                "name": "ollama",
                "maxModelLen": 10**20,
                "parallelism": {"tensor": 0},
                "gpuMemoryUtilization": 0.9,
                "extraArgs": [1],
            },
            "workload": {"inputTokens": -5},
            "accelerator": {"allowed": "nvidia-l4", "minMemory": "80GB"},
        }
    )
    assert paths(found) == {
        "spec.replicas",
        "spec.model.uri",
        "spec.model.parameters",
        "spec.engine.name",
        "spec.engine.maxModelLen",
        "spec.engine.parallelism.tensor",
        "spec.engine.gpuMemoryUtilization",
        "spec.engine.extraArgs[0]",
        "spec.workload.inputTokens",
        "spec.accelerator.allowed",
        "spec.accelerator.minMemory",
    }
    assert decide(found).decision is Decision.DENY


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {"engine": {"modle": 1}},
            "spec.engine.modle: Invalid value: 1: no such field; known here: cpuOffload",
        ),
        (
            {"engine": {"maxModelLength": 1}},
            "spec.engine.maxModelLength: Invalid value: 1: no such field; "
            "did you mean maxModelLen?",
        ),
        (
            {"engine": {"gpuMemoryUtilization": 0.9}},
            "spec.engine.gpuMemoryUtilization: Invalid value: 0.9: must be a string; "
            'write it as a string: "0.9"',
        ),
        (
            {"engine": {"maxModelLen": "8192"}},
            'spec.engine.maxModelLen: Invalid value: "8192": must be an integer; '
            "write it without quotes: 8192",
        ),
        (
            {"engine": {"maxModelLen": True}},
            "spec.engine.maxModelLen: Invalid value: true: must be an integer",
        ),
        (
            {"engine": {"maxModelLen": 10**18}},
            "spec.engine.maxModelLen: Invalid value: 1000000000000000000: must be at most "
            "1000000000; change it, or leave it out (the model's maximum)",
        ),
        (
            {"engine": {"parallelism": {"tensor": -2}}},
            "spec.engine.parallelism.tensor: Invalid value: -2: must be at least 1; change it, or "
            "leave it out (planned)",
        ),
        (
            {"accelerator": {"minMemory": "80 gigs"}},
            'spec.accelerator.minMemory: Invalid value: "80 gigs": must be a quantity such as '
            "40Gi or 81559Mi",
        ),
        (
            {"engine": {"gpuMemoryUtilization": "0.0"}},
            'spec.engine.gpuMemoryUtilization: Invalid value: "0.0": a share above 0',
        ),
        (
            {"accelerator": {"allowed": ["nvidia-l4", "nvidia-l4"]}},
            'spec.accelerator.allowed[1]: Invalid value: "nvidia-l4": every name once',
        ),
        (
            {"engine": {"max_model_len": 8192}},
            "spec.engine.max_model_len: Invalid value: 8192: no such field; did you mean "
            "maxModelLen?",
        ),
        (
            {"workload": []},
            "spec.workload: Invalid value: a list of 0: must be a mapping; its fields: "
            "concurrentSequences, imagesPerPrompt, inputTokens, outputTokens",
        ),
        (
            {"model": QWEN},
            f'spec.model: Invalid value: "{QWEN}": must be a mapping; its fields: baseModel',
        ),
        (
            {"model": {"uri": "Qwen/Qwen2.5-7B-Instruct"}},
            'spec.model.uri: Invalid value: "Qwen/Qwen2.5-7B-Instruct": must be a location such '
            "as hf://org/name (also oci, pvc, s3, gs, file); write it as "
            "hf://Qwen/Qwen2.5-7B-Instruct",
        ),
        (
            {"model": {"uri": QWEN, "URI": 1}},
            "spec.model.URI: Invalid value: 1: no such field; did you mean uri?",
        ),
        (
            {"maxModelLen": 8192},
            "spec.maxModelLen: Invalid value: 8192: no such field; its place is "
            "spec.engine.maxModelLen",
        ),
        (
            {"engine": {"tensor": 2}},
            "spec.engine.tensor: Invalid value: 2: no such field; its place is "
            "spec.engine.parallelism.tensor",
        ),
        (
            {"engine": {"maxModelLen": 8192.0}},
            "spec.engine.maxModelLen: Invalid value: 8192.0: must be an integer; write it without "
            "a fraction: 8192",
        ),
        (
            {"engine": {"enforceEager": "true"}},
            'spec.engine.enforceEager: Invalid value: "true": must be true or false; write it '
            "without quotes",
        ),
        (
            {"engine": {"kvCacheMemory": "0Gi"}},
            'spec.engine.kvCacheMemory: Invalid value: "0Gi": must be a quantity such as 40Gi',
        ),
        (
            {"accelerator": {"minMemory": "-40Gi"}},
            'spec.accelerator.minMemory: Invalid value: "-40Gi": must be a quantity such as 40Gi',
        ),
        (
            {"accelerator": {"allowed": []}},
            "spec.accelerator.allowed: Invalid value: a list of 0: must be at least one entry "
            "long; change it, or leave it out (any)",
        ),
        (
            {"accelerator": {"nodeSelector": {"topology.kubernetes.io/zone": 1}}},
            "spec.accelerator.nodeSelector[topology.kubernetes.io/zone]: Invalid value: 1: must "
            'be a string; write it as a string: "1"',
        ),
    ],
)
def test_a_mistake_is_said_with_field_given_wanted_and_next_step(
    spec: dict[str, Any], sentence: str
) -> None:
    (problem,) = said(read({"model": {"uri": QWEN}, **spec}))
    assert problem.startswith(sentence)


def test_every_problem_of_form_says_a_next_step() -> None:
    found = read(
        {
            "model": {"uri": None, "bits": [1], "configMapRef": 5, "quantization": "ALL CAPS"},
            "engine": {"version": "", "extraArgs": [None], "enforceEager": 1, "kvCacheDtype": {}},
            "accelerator": {"nodeSelector": {"a": None}, "gpusPerReplica": 10**400},
            "replicas": float("nan"),
            7: "seven",
        }
    )
    assert len(problems_in(found)) == 11
    assert [str(problem) for problem in problems_in(found) if not problem.fix] == []


def test_nothing_of_pydantic_reaches_a_user() -> None:
    found = read({"model": {"uri": 1, "bits": "x"}, "engine": 3, "nonsense": {"a": [1]}})
    text = " ".join(said(found)).lower()
    for word in ("pydantic", "http", "input_", "type=", "validation", "extra inputs"):
        assert word not in text


@pytest.mark.parametrize("spec", [None, [], "text", 5, {}, {"model": None}, {"model": {}}])
def test_a_spec_that_is_none_is_a_problem(spec: Any) -> None:
    assert said(read(spec))


def test_a_hundred_mistakes_are_counted_not_listed() -> None:
    found = read({"model": {"uri": QWEN}, **{f"field{i}": i for i in range(100)}})
    assert len(problems_in(found)) == 51
    assert "50 more" in said(found)[-1]


@pytest.mark.parametrize("text", ["é" * 3_000_000, "\ud800" * 100, "\u202e\x00\x1b[31m"])
def test_megabytes_and_control_characters_come_back_short_and_printable(text: str) -> None:
    found = read({"model": {"uri": "hf://" + text}, text[:400]: 1}, name=text)
    for sentence in [*said(found), found.name]:
        assert len(sentence) < 600
        assert sentence.isprintable()
        sentence.encode()


def test_ten_to_the_eighteen_parameters_are_not_believed() -> None:
    assert paths(read({"model": {"parameters": "1000000000000000000"}})) == {
        "spec.model.parameters"
    }
    assert paths(read({"model": {"parameters": "999999T"}})) == {"spec.model.parameters"}


def test_an_unknown_model_is_no_mistake_but_a_warning_with_names_near_it() -> None:
    found = read({"model": {"uri": "hf://Qwen/Qwen2.5-7B-Instrukt"}})
    assert said(found) == []
    verdict = decide(found)
    assert (verdict.decision, verdict.reason) == (Decision.WARN, Reason.UNKNOWN_MODEL)
    assert "did you mean Qwen/Qwen2.5-7B-Instruct" in " ".join(warnings_in(verdict))


def test_an_unknown_base_model_is_a_mistake() -> None:
    (problem,) = said(read({"model": {"baseModel": "Qwen/Qwen2.5-7B-Instrukt"}}))
    assert problem.startswith("spec.model.baseModel: Invalid value")
    assert "did you mean Qwen/Qwen2.5-7B-Instruct" in problem


def test_a_config_map_that_is_not_there_yet_is_a_warning_that_names_it() -> None:
    found = read({"model": {"uri": "s3://b/m", "configMapRef": {"name": "mine"}}}, Texts({}))
    assert said(found) == []
    assert found.model.source is ModelSource.UNKNOWN
    assert "spec.model.configMapRef: there is no ConfigMap mine" in warnings_in(found)[0]
    assert decide(found).decision is Decision.WARN


def test_without_the_config_map_the_base_model_still_says_what_it_is() -> None:
    spec = {"model": {"baseModel": "Qwen/Qwen2.5-7B-Instruct", "configMapRef": {"name": "mine"}}}
    found = read(spec, Texts({}))
    assert found.model.source is ModelSource.BASE_MODEL
    assert warnings_in(found)


def test_a_config_map_says_what_the_model_is() -> None:
    texts = Texts({("mine", "config.json"): json.dumps(CONFIG)})
    spec = {"model": {"configMapRef": {"name": "mine", "key": "config.json"}}}
    found = read(spec, texts)
    assert said(found) == []
    assert found.model.source is ModelSource.CONFIG
    assert found.model.parameters == 8_030_261_248
    assert found.model.origin == "configmap:chat/mine/config.json"


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        "{}",
        '{"model_type": "llama"}',
        '{"a": NaN}',
        "[" * 100_000,
        json.dumps(CONFIG | {"hidden_size": "4096"}),
        json.dumps(CONFIG | {"vocab_size": -1}),
        json.dumps(CONFIG | {"num_hidden_layers": 10**18}),
        "x" * (2 << 20),
        json.dumps({k: v for k, v in CONFIG.items() if k != "num_attention_heads"}),
    ],
)
def test_a_broken_config_is_a_mistake_of_the_reference(text: str) -> None:
    found = read({"model": {"configMapRef": {"name": "mine"}}}, Texts({("mine", None): text}))
    assert said(found)
    for problem in problems_in(found):
        assert problem.path.startswith("spec.model.configMapRef")
    assert decide(found).reason is Reason.INVALID_SPEC


def test_extra_args_that_contradict_a_field_are_a_mistake() -> None:
    engine = {"maxModelLen": 4096, "extraArgs": ["--max-model-len=8192", "-tp", "2"]}
    (problem,) = said(read({"model": {"uri": QWEN}, "engine": engine}))
    assert problem == (
        'spec.engine.extraArgs[0]: Invalid value: "--max-model-len=8192": the same as '
        "spec.engine.maxModelLen (4096); say it in one place only"
    )


def test_bits_without_parameters_are_a_mistake() -> None:
    assert paths(read({"model": {"uri": QWEN, "bits": 4}})) == {"spec.model.bits"}


def test_a_size_alone_is_taken_at_sixteen_bits() -> None:
    found = read({"model": {"parameters": "70B"}})
    assert (found.model.parameters, found.model.bits) == (70_000_000_000, 16)


def test_an_exact_count_of_parameters_can_be_given_as_it_is_shown() -> None:
    assert read({"model": {"parameters": "70553706496"}}).model.parameters == 70_553_706_496


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (
            {
                "engine": {"maxModelLen": 4096},
                "workload": {"inputTokens": 4000, "outputTokens": 1000},
            },
            "spec.workload.inputTokens",
        ),
        (
            {"engine": {"maxNumSeqs": 4}, "workload": {"concurrentSequences": 8}},
            "spec.engine.maxNumSeqs",
        ),
        (
            {"engine": {"parallelism": {"tensor": 4}}, "accelerator": {"gpusPerReplica": 2}},
            "spec.accelerator.gpusPerReplica",
        ),
        ({"engine": {"parallelism": {"tensor": 3}}}, "spec.engine.parallelism.tensor"),
        (
            {
                "accelerator": {
                    "allowed": ["nvidia-t4"],
                    "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
                }
            },
            "spec.accelerator.nodeSelector",
        ),
    ],
)
def test_fields_that_contradict_each_other_or_the_model_are_denied(
    spec: dict[str, Any], path: str
) -> None:
    verdict = decide(read({"model": {"uri": QWEN}, **spec}))
    assert verdict.decision is Decision.DENY
    assert path in {problem.path for problem in problems_in(verdict)}
    assert verdict.placement is None


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({"plimsoll.dev/override": " measured by hand "}, "measured by hand"),
        ({"plimsoll.dev/override": ""}, ""),
        ({"plimsoll.dev/override": 5}, ""),
        ({}, ""),
        (None, ""),
        ("text", ""),
    ],
)
def test_an_override_needs_a_reason_in_words(annotations: Any, reason: str) -> None:
    assert override_reason({"metadata": {"annotations": annotations}}) == reason
    assert override_reason({"metadata": annotations}) == ""


names = st.sampled_from(
    ["model", "engine", "workload", "accelerator", "replicas", "uri", "parameters", "bits",
     "configMapRef", "name", "key", "extraArgs", "parallelism", "tensor", "maxModelLen", "allowed",
     "gpuMemoryUtilization", "nodeSelector", "minMemory", "inputTokens", "quantization"]
)  # fmt: skip
shaped = st.recursive(JSON, lambda inner: st.dictionaries(names, inner, max_size=6), max_leaves=30)


@pytest.mark.sweep
@given(obj=st.fixed_dictionaries({"metadata": JSON, "spec": shaped}))
def test_whatever_is_in_the_object_it_is_read_or_refused_in_words(obj: dict[str, Any]) -> None:
    found = request(obj, NoDocuments())
    for problem in problems_in(found):
        assert problem.path.startswith("spec")
        assert problem.wanted
        str(problem).encode()
    verdict = decide(found)
    assert not problems_in(found) or verdict.decision is Decision.DENY
