"""What a review is answered, by mode, by what changed, and by who asks."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.api_group import OVERRIDE_ANNOTATION
from plimsoll.decision.policy import Mode, Policy
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.models.catalogue import load
from plimsoll.workloads.llmdeployment import Missing
from plimsoll_operator.admission.judge import Judge
from plimsoll_operator.admission.review import Answer, Review, read_review
from plimsoll_operator.admission.task import Decided, Question, work
from plimsoll_operator.deciding.errors import Cause, NotDecided

if TYPE_CHECKING:
    from plimsoll_operator.deciding.beside import Wanted

BIG = "hf://meta-llama/Llama-3.3-70B-Instruct"


@dataclass
class Documents:
    found: dict[str, str] = field(default_factory=dict)

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        return self.found.get(name) or Missing(f"there is no ConfigMap {name} yet")


@dataclass
class Known:
    mode: Mode = Mode.ENFORCE
    documents: Documents = field(default_factory=Documents)

    def inventory(self) -> Inventory:
        return NO_INVENTORY

    def policy(self, namespace: str) -> Policy:
        return Policy(self.mode, f"namespace {namespace}")

    def workloads_policy(self, namespace: str, kind: str) -> Policy | None:
        return None

    def beside(self, wanted: Wanted) -> None:
        raise AssertionError("this is for other people's kinds")


def obj(
    tensor: int, *, length: int = 32768, override: str | None = None, **spec: Any
) -> dict[str, Any]:
    annotations = {} if override is None else {OVERRIDE_ANNOTATION: override}
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "m", "namespace": "chat", "annotations": annotations},
        "spec": {
            "model": {"uri": BIG},
            "engine": {"maxModelLen": length, "parallelism": {"tensor": tensor}},
            "accelerator": {"allowed": ["nvidia-a100-80gb"]},
            **spec,
        },
    }


def review(new: dict[str, Any], old: dict[str, Any] | None = None, user: str = "ada") -> Review:
    request = {
        "uid": "u1",
        "operation": "CREATE" if old is None else "UPDATE",
        "namespace": "chat",
        "name": "m",
        "object": new,
        "oldObject": old,
        "userInfo": {"username": user},
    }
    whole = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return read_review(json.dumps(whole).encode())


async def decide_here(inventory: Inventory, question: Question, namespace: str) -> Decided:
    """What a process apart decides, without one."""
    decided = work(inventory, question)
    assert isinstance(decided, Decided)
    return decided


async def answer(
    new: dict[str, Any],
    old: dict[str, Any] | None = None,
    *,
    mode: Mode = Mode.ENFORCE,
    may: frozenset[str] = frozenset(),
    user: str = "ada",
    documents: Documents | None = None,
) -> Answer:
    async def may_override(asked: Review) -> bool:
        return asked.user in may

    known = Known(mode, documents or Documents())
    return await Judge(known, may_override, decide_here)(review(new, old, user))


async def test_what_fits_is_allowed_without_a_word() -> None:
    said = await answer(obj(4))
    assert (said.allowed, said.message, said.warnings) == (True, "", ())


async def test_what_does_not_fit_is_denied_with_breakdown_and_fixes() -> None:
    said = await answer(obj(1))
    assert not said.allowed
    assert "spec.engine.parallelism.tensor: Invalid value: 1" in said.message
    assert "short by" in said.message
    assert "Any one of these fits:" in said.message


async def test_a_warn_namespace_admits_with_a_warning() -> None:
    said = await answer(obj(1), mode=Mode.WARN)
    assert said.allowed
    assert any("has 72.9 GiB usable" in warning for warning in said.warnings)


async def test_an_audit_namespace_admits_without_a_word_and_leaves_a_trace() -> None:
    said = await answer(obj(1), mode=Mode.AUDIT)
    assert said.allowed
    assert said.warnings == ()
    assert said.audit["decision"] == "deny"


async def test_all_errors_are_said_at_once() -> None:
    bad = obj(3, replicas=-1)
    bad["spec"]["engine"]["maxModelLen"] = -5
    bad["spec"]["workload"] = {"concurrentSequences": "many"}
    said = await answer(bad)
    for path in ("spec.replicas", "spec.engine.maxModelLen", "spec.workload.concurrentSequences"):
        assert path in said.message


async def test_an_unknown_model_is_a_warning_never_a_denial() -> None:
    new = obj(1)
    new["spec"]["model"] = {"uri": "hf://nobody/knows-this"}
    said = await answer(new)
    assert said.allowed
    assert any("unknown" in warning for warning in said.warnings)


async def test_a_config_map_that_is_not_there_yet_is_a_warning_that_names_it() -> None:
    new = obj(1)
    new["spec"]["model"] = {"configMapRef": {"name": "mine"}}
    said = await answer(new)
    assert said.allowed
    assert any("mine" in warning for warning in said.warnings)


async def test_a_broken_config_map_is_an_error_with_its_path() -> None:
    new = obj(1)
    new["spec"]["model"] = {"configMapRef": {"name": "mine"}}
    said = await answer(new, documents=Documents({"mine": "{not json"}))
    assert not said.allowed
    assert "spec.model.configMapRef" in said.message


async def test_an_update_that_changes_neither_spec_nor_our_annotations_passes() -> None:
    old = obj(1)
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"team": "a"}
    assert (await answer(new, old)).allowed


async def test_an_object_on_its_way_out_passes() -> None:
    new = obj(1, length=131072)
    new["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert (await answer(new, obj(4))).allowed


async def test_an_object_that_failed_already_may_become_better_and_not_worse() -> None:
    better = await answer(obj(1, length=16384), obj(1))
    assert better.allowed
    assert any("has 72.9 GiB usable" in warning for warning in better.warnings)
    worse = await answer(obj(1, length=131072), obj(1))
    assert not worse.allowed


async def test_an_object_that_fitted_may_not_become_one_that_does_not() -> None:
    assert not (await answer(obj(1), obj(4))).allowed


async def test_an_override_by_somebody_with_the_verb_lets_it_in_and_is_recorded() -> None:
    said = await answer(obj(1, override="load test on friday"), may=frozenset({"ada"}))
    assert said.allowed
    assert said.audit["override"] == "load test on friday"
    assert "overridden by ada" in said.warnings[0]


async def test_an_overrides_reason_is_cleaned_wherever_it_is_repeated() -> None:
    said = await answer(obj(1, override="why\x1b[2J\n" + "x" * 5000), may=frozenset({"ada"}))
    assert said.allowed
    assert said.warnings[0].isprintable()
    assert said.audit["override"].isprintable()
    assert len(said.audit["override"]) == 1000


@pytest.mark.parametrize("reason", ["\u200b", " \u2060 ", "...", "\x1b"])
async def test_a_reason_that_nobody_can_read_is_none(reason: str) -> None:
    said = await answer(obj(1, override=reason), may=frozenset({"ada"}))
    assert not said.allowed
    assert "a reason, in words" in said.message


async def test_the_name_of_who_asks_is_cleaned_wherever_it_is_repeated() -> None:
    user = "ada\x1b[2J\nroot"
    said = await answer(obj(1, override="why"), user=user, may=frozenset({user}))
    assert said.warnings[0].isprintable()
    assert (await answer(obj(1, override="why"), user=user)).message.isprintable()


async def test_an_override_without_the_verb_is_refused_in_words() -> None:
    said = await answer(obj(1, override="please"))
    assert not said.allowed
    assert "may not override" in said.message
    assert "'ada'" in said.message


async def test_an_override_cannot_be_laid_in_store_on_an_object_that_fits() -> None:
    assert not (await answer(obj(4, override="for later"))).allowed
    assert not (await answer(obj(4, override="for later"), obj(4))).allowed


async def test_somebody_elses_override_does_not_cover_my_change() -> None:
    old = obj(4, override="agreed with the platform team")
    said = await answer(
        obj(1, override="agreed with the platform team"), old, user="eve", may=frozenset({"ada"})
    )
    assert not said.allowed
    assert "short by" in said.message


@pytest.mark.parametrize("reason", ["", "   "])
async def test_an_override_needs_a_reason(reason: str) -> None:
    said = await answer(obj(1, override=reason), may=frozenset({"ada"}))
    assert not said.allowed
    assert "a reason" in said.message


async def test_an_override_may_be_taken_away_from_an_object_that_does_not_fit() -> None:
    assert (await answer(obj(1), obj(1, override="was needed"))).allowed


async def test_what_is_not_decided_in_time_is_no_answer_and_names_the_object() -> None:
    async def never(inventory: Inventory, question: Question, namespace: str) -> Decided:
        raise NotDecided(Cause.BUDGET, "deciding took more than 2 s")

    async def nobody(asked: Review) -> bool:
        return False

    with pytest.raises(NotDecided) as raised:
        await Judge(Known(), nobody, never)(review(obj(1)))
    said = 'Plimsoll has not decided on "chat/m": deciding took more than 2 s'
    assert str(raised.value) == said


async def test_what_decides_is_handed_the_documents_that_both_objects_refer_to() -> None:
    asked: list[Question] = []

    async def decide(inventory: Inventory, question: Question, namespace: str) -> Decided:
        asked.append(question)
        return await decide_here(inventory, question, namespace)

    async def nobody(asked: Review) -> bool:
        return False

    new, old = obj(1), obj(1)
    new["spec"]["model"] = {"configMapRef": {"name": "mine"}}
    old["spec"]["model"] = {"configMapRef": {"name": "other", "key": "x"}}
    known = Known(documents=Documents({"mine": "{}"}))
    await Judge(known, nobody, decide)(review(new, old))
    assert asked[0].documents == {
        ("mine", None): "{}",
        ("other", "x"): Missing("there is no ConfigMap other yet"),
    }


@pytest.mark.parametrize("text", ["", "a profile"])
async def test_a_model_that_was_resolved_is_known_by_its_id(text: str) -> None:
    entry = load().find("meta-llama/Llama-3.3-70B-Instruct")
    assert entry is not None
    profile = json.dumps(entry.profile()) if text else ""
    asked = obj(1, model={"uri": "hf://acme/our-70b"})
    documents = Documents({"acme/our-70b": profile})
    answered = await answer(asked, documents=documents)
    assert answered.allowed is not bool(text)
    assert ("is unknown" in " ".join(answered.warnings)) is not bool(text)
