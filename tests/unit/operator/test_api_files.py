"""Claims about the YAML under deploy/: made from the types, complete, no stricter than we are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from plimsoll.accelerators.catalogue import find
from plimsoll.api_group import GROUP
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision, Reason
from plimsoll.engines.base import TermName
from plimsoll.engines.registry import NAMES
from plimsoll.models.catalogue import load as load_catalogue
from plimsoll.workloads.files import load as load_manifests
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll.workloads.spec import EngineSpec, LLMDeploymentSpec, ModelSpec
from plimsoll_operator.api import generate
from plimsoll_operator.api.crd import crd, schema
from plimsoll_operator.api.policy import checkpoints, floor_policy, mebibytes, shrinking_flags
from plimsoll_operator.api.status import LLMDeploymentStatus
from plimsoll_operator.api.webhook import at_url, webhook_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
CHART = DEPLOY.parent / "charts" / "plimsoll"
FIELDS = {"spec", "status"}


def walk(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its path."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from walk(node["additionalProperties"], f"{path}{{}}")


EVERY = [(path, node) for path, node in walk(schema()) if path.split(".")[1:2] != ["metadata"]]


@pytest.mark.parametrize("name", ["crd.yaml", "floor.yaml"])
def test_the_checked_in_file_is_the_generated_one(name: str) -> None:
    written = (DEPLOY / name).read_text(encoding="utf-8")
    assert written == generate.files()[name], "run `make generate`"


@pytest.mark.parametrize(
    "name", ["templates/crd.yaml", "templates/floor.yaml", "templates/workloads-floor.yaml"]
)
def test_the_charts_template_is_the_generated_one(name: str) -> None:
    written = (CHART / name).read_text(encoding="utf-8")
    assert written == generate.chart_files()[name], "run `make generate`"


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    assert len(generate.write(tmp_path / "deploy", tmp_path / "chart")) == 6
    assert generate.write(tmp_path / "deploy", tmp_path / "chart") == []


def test_what_looks_like_a_template_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = crd()
    odd["spec"]["names"]["kind"] = "{{ .Values.evil }}"
    monkeypatch.setattr(generate, "crd", lambda: odd)
    text = generate.chart_files()["templates/crd.yaml"]
    assert """kind: '{{ "{{" }} .Values.evil }}'""" in text


def test_two_secrets_are_read_and_no_other() -> None:
    rules = [
        rule
        for role in yaml.safe_load_all((DEPLOY / "rbac.yaml").read_text(encoding="utf-8"))
        if role["kind"] == "Role"
        for rule in role["rules"]
        if "secrets" in rule["resources"]
    ]
    named = [rule for rule in rules if set(rule["verbs"]) != {"create"}]
    assert [rule["resourceNames"] for rule in named] == [
        ["plimsoll-webhook-tls", "plimsoll-webhook-tls-ca"]
    ]


def test_every_field_has_a_description() -> None:
    bare = [
        path
        for path, node in EVERY
        if path.split(".")[1:2]
        and path.split(".")[1] in FIELDS
        and not path.endswith(("[]", "{}"))
        and not node.get("description")
    ]
    assert bare == []


def test_the_schema_is_structural() -> None:
    for path, node in EVERY:
        assert not {"$ref", "$defs", "anyOf", "allOf", "const", "title"} & set(node), path
        assert "type" in node, path
        assert not ({"properties", "additionalProperties"} <= set(node)), path


def test_nothing_that_is_decided_has_a_default() -> None:
    assert [path for path, node in EVERY if "default" in node] == [".status"]
    assert schema()["properties"]["status"]["default"] == {"observedGeneration": -1}


def test_every_text_and_list_of_the_spec_is_bounded() -> None:
    for path, node in EVERY:
        if path.startswith(".spec"):
            assert node["type"] != "string" or "maxLength" in node or "enum" in node, path
            assert node["type"] != "array" or "maxItems" in node, path
            assert node["type"] != "integer" or {"minimum", "maximum"} <= set(node), path
            assert node["type"] != "number", path


def test_every_field_of_the_types_is_in_the_schema() -> None:
    def names(model: type[BaseModel]) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    properties = schema()["properties"]
    assert set(properties["spec"]["properties"]) == names(LLMDeploymentSpec)
    assert set(properties["spec"]["properties"]["model"]["properties"]) == names(ModelSpec)
    assert set(properties["status"]["properties"]) == names(LLMDeploymentStatus)


def test_the_memory_of_a_gpu_has_a_field_for_every_term() -> None:
    estimate = schema()["properties"]["status"]["properties"]["estimate"]
    assert {str(term) for term in TermName} < set(estimate["properties"]["perGPU"]["properties"])


def test_a_table_of_objects_answers_the_question() -> None:
    (version,) = crd()["spec"]["versions"]
    columns = [c["name"] for c in version["additionalPrinterColumns"] if "priority" not in c]
    where = ["GPUs", "Accelerator", "Need/GPU", "Have/GPU", "Capacity"]
    assert columns == ["State", "Fits", *where, "Overridden", "Age"]
    names = crd()["spec"]["names"]
    assert (names["shortNames"], names["categories"]) == (["llmd"], ["ai"])


@pytest.mark.parametrize(
    ("name", "decision", "reason", "gpus"),
    [
        ("smallest", Decision.ALLOW, Reason.ENOUGH_MEMORY, 1),
        ("llama-70b", Decision.ALLOW, Reason.ENOUGH_MEMORY, 4),
        ("fine-tune", Decision.ALLOW, Reason.ENOUGH_MEMORY, 1),
        ("moe", Decision.ALLOW, Reason.ENOUGH_MEMORY, 1),
        ("rule-of-thumb", Decision.WARN, Reason.RULE_OF_THUMB, 2),
        ("refused", Decision.DENY, Reason.NOT_ENOUGH_MEMORY, None),
    ],
)
def test_a_sample_does_what_its_comment_says(
    name: str, decision: Decision, reason: Reason, gpus: int | None
) -> None:
    found = load_manifests((str(DEPLOY / "samples" / f"{name}.yaml"),))
    assert found.problems == []
    (manifest,) = found.deployments
    verdict = decide(request(manifest.obj, NoDocuments()))
    assert (verdict.decision, verdict.reason) == (decision, reason)
    assert (verdict.placement and verdict.placement.gpus_per_replica) == gpus
    assert verdict.alternatives or decision is not Decision.DENY


def test_every_sample_is_tested() -> None:
    assert {p.stem for p in (DEPLOY / "samples").iterdir()} == {
        "smallest",
        "llama-70b",
        "fine-tune",
        "moe",
        "rule-of-thumb",
        "refused",
    }


def test_the_floor_refuses_nothing_that_the_decision_lets_in() -> None:
    weights, room = checkpoints(), mebibytes()["nvidia-l4"]
    tried = 0
    for entry in [entry for entry in load_catalogue() if not entry.word][::5]:
        gpus = (weights[entry.id.lower()] - 1) // room
        if not 1 <= gpus <= 4096:
            continue
        tried += 1
        spec = {
            "model": {"uri": f"hf://{entry.id}"},
            "accelerator": {"allowed": ["nvidia-l4"], "gpusPerReplica": gpus},
        }
        verdict = decide(request({"metadata": {}, "spec": spec}, NoDocuments()))
        assert verdict.decision is Decision.DENY, (entry.id, gpus)
    assert tried > 20


def test_the_floor_passes_flags_that_may_make_weights_smaller_and_few_others() -> None:
    shrinking = shrinking_flags()

    for flag in ("--quantization", "-q", "--hf-overrides", "-tp", "--cpu-offload-gb", "--tp-size"):
        assert flag in shrinking
    for flag in ("--seed", "--max-model-len", "--optimization-level", "-O", "--rope-theta"):
        assert flag not in shrinking


def test_the_floor_knows_no_less_memory_than_a_gpu_has() -> None:
    for name, mib in mebibytes().items():
        accelerator = find(name)
        assert accelerator is not None
        assert mib << 20 > accelerator.memory


def test_the_floor_fits_well_into_an_object_of_the_api_server() -> None:
    assert len(generate.files()["floor.yaml"]) < 128 << 10
    for variable in floor_policy()["spec"]["variables"]:
        assert len(variable["expression"]) < 64 << 10


def test_the_rights_are_no_wider_than_needed() -> None:
    roles = {
        role["metadata"]["name"]: role["rules"]
        for role in yaml.safe_load_all((DEPLOY / "rbac.yaml").read_text(encoding="utf-8"))
        if role["kind"] == "ClusterRole"
    }
    for name, rules in roles.items():
        for rule in rules:
            assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"]), name
            assert "secrets" not in rule["resources"], name
            assert "override" not in rule["verbs"] or name == "plimsoll-override", name
    writing = {"create", "update", "patch", "delete", "deletecollection"}
    writes = {
        (name, resource): set(rule["verbs"]) & writing
        for name in ("plimsoll-controller", "plimsoll-webhook")
        for rule in roles[name]
        for resource in rule["resources"]
        if set(rule["verbs"]) & writing
    }
    assert writes == {
        ("plimsoll-controller", "llmdeployments/status"): {"patch"},
        ("plimsoll-controller", "sizingpolicies/status"): {"patch"},
        ("plimsoll-controller", "events"): {"create", "patch"},
        ("plimsoll-controller", "validatingwebhookconfigurations"): {"patch"},
        ("plimsoll-webhook", "subjectaccessreviews"): {"create"},
    }


def test_the_webhook_fails_closed_on_our_own_kind_only() -> None:
    (webhook,) = webhook_configuration("it", at_url("https://127.0.0.1:1/fit", b"x"))["webhooks"]
    (rule,) = webhook["rules"]
    assert rule["apiGroups"] == [GROUP]
    assert (webhook["failurePolicy"], webhook["timeoutSeconds"]) == ("Fail", 5)
    assert webhook["clientConfig"] == {"url": "https://127.0.0.1:1/fit", "caBundle": "eA=="}


def test_the_engines_that_a_manifest_may_name_are_those_that_are_registered() -> None:
    schema = EngineSpec.model_json_schema()["properties"]["name"]
    assert tuple(schema["anyOf"][0]["enum"]) == NAMES
