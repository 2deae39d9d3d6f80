"""Claims about what SizingPolicies hold an object to: each bound, the strictest of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plimsoll.decision.bounds import numbers
from plimsoll.decision.policy import Mode, Outcome, no_worse, outcome, policy_of, workloads_policy
from plimsoll.decision.verdict import Decision, Reason
from plimsoll.units import GIB
from sizing import BIG_MODEL, SMALL_MODEL, decided, deployment, held_to, llmd, one

if TYPE_CHECKING:
    from plimsoll.decision.policy import Policy

L40S: dict[str, Any] = {"accelerator": {"allowed": ["nvidia-l40s"]}}


def test_a_gpu_that_no_policy_allows_is_refused_with_both_lists() -> None:
    allowed = {"allowedAccelerators": ["nvidia-l40s", "nvidia-h100-80gb"]}
    verdict, said = one(
        llmd(accelerator={"allowed": ["nvidia-a100-80gb", "nvidia-h200-141gb"]}), allowed
    )
    assert verdict.denied
    assert (
        'spec.accelerator.allowed: Invalid value: "nvidia-a100-80gb, nvidia-h200-141gb": one of '
        "nvidia-l40s, nvidia-h100-80gb, which SizingPolicy a allows" in said
    )


def test_labels_of_nodes_that_name_another_gpu_are_refused_at_the_labels() -> None:
    verdict, said = one(deployment(), {"allowedAccelerators": ["nvidia-h100-80gb"]})
    assert verdict.denied
    assert "spec.template.spec.nodeSelector" in said
    assert '"nvidia-l40s": one of nvidia-h100-80gb, which SizingPolicy a allows' in said


def test_what_an_object_leaves_open_is_planned_on_gpus_that_are_allowed() -> None:
    free, _ = one(llmd())
    held, _ = one(llmd(), {"allowedAccelerators": ["nvidia-h200-141gb"]})
    assert free.placement
    assert free.placement.accelerator != "nvidia-h200-141gb"
    assert held.placement
    assert held.placement.accelerator == "nvidia-h200-141gb"


def test_of_the_gpus_that_an_object_allows_those_stay_that_the_policy_allows() -> None:
    both = llmd(accelerator={"allowed": ["nvidia-l4", "nvidia-h200-141gb"]})
    verdict, _ = one(both, {"allowedAccelerators": ["nvidia-h200-141gb", "nvidia-b200"]})
    assert verdict.decision is Decision.ALLOW
    assert verdict.placement
    assert verdict.placement.accelerator == "nvidia-h200-141gb"


def test_a_card_that_is_stated_by_its_memory_alone_must_be_named() -> None:
    held = {"allowedAccelerators": ["nvidia-h200-141gb"]}
    verdict, said = one(llmd(accelerator={"memory": "80Gi"}), held)
    assert verdict.denied
    assert "a card that is stated by its memory alone may be any" in said


def test_policies_without_a_gpu_in_common_are_said_to_have_none() -> None:
    lists = ({"allowedAccelerators": ["nvidia-h200-141gb"]}, {"allowedAccelerators": ["nvidia-l4"]})
    verdict, said = one(llmd(), *lists)
    assert verdict.denied
    assert "an accelerator that all of SizingPolicy a and SizingPolicy b allow" in said


def test_more_gpus_a_replica_than_are_allowed_are_refused_where_they_are_asked_for() -> None:
    asked = llmd(accelerator={"allowed": ["nvidia-l40s"], "gpusPerReplica": 4})
    verdict, said = one(asked, {"maxGPUsPerReplica": 2})
    assert verdict.denied
    assert (
        "spec.accelerator.gpusPerReplica: Invalid value: 4: SizingPolicy a allows at most 2 GPUs "
        "a replica, and this is 4" in said
    )


def test_a_count_that_is_open_is_planned_up_to_what_is_allowed_and_the_miss_says_so() -> None:
    asked = llmd(BIG_MODEL, **L40S, engine={"maxModelLen": 8192})
    free, _ = one(asked)
    held, said = one(asked, {"maxGPUsPerReplica": 2})
    assert free.placement
    assert free.placement.gpus_per_replica > 2
    assert held.denied
    assert held.reason is Reason.NOT_ENOUGH_MEMORY
    assert "does not fit on 2 x nvidia-l40s" in said
    assert "SizingPolicy a: at most 2 GPUs a replica" in said
    assert all(one.gpus_per_replica <= 2 for one in held.alternatives)


def test_gpus_of_all_replicas_count_and_no_replica_is_cheaper_than_one_gpu() -> None:
    verdict, said = one(llmd(replicas=3, **L40S), {"maxGPUsPerObject": 2})
    assert verdict.denied
    assert (
        "spec.replicas: Invalid value: 3: SizingPolicy a allows at most 2 GPUs an object, all its "
        "engines and replicas, and this is 3 x 1 = 3" in said
    )
    assert not one(llmd(replicas=2, **L40S), {"maxGPUsPerObject": 2})[0].denied


def test_gpus_of_all_engines_of_an_object_count() -> None:
    obj = deployment(gpus=2)
    pod = obj["spec"]["template"]["spec"]
    second = {**pod["containers"][0], "name": "second"}
    pod["containers"].append(second)
    verdicts = decided(obj, held_to({"maxGPUsPerObject": 3}))
    assert len(verdicts) == 2
    for verdict, said in verdicts:
        assert verdict.denied
        assert "and this is 1 x 2 + 2 = 4" in said


@pytest.mark.parametrize(
    ("version", "refused"), [("0.10.2", True), ("0.11.0", False), ("0.11.1", False)]
)
def test_an_engine_older_than_the_oldest_is_refused(version: str, refused: bool) -> None:
    asked = llmd(engine={"version": version}, **L40S)
    verdict, said = one(asked, {"oldestEngineVersions": {"vllm": "0.11"}})
    assert verdict.denied is refused
    assert (
        f'spec.engine.version: Invalid value: "{version}": SizingPolicy a asks for vllm 0.11 or '
        "later" in said
    ) is refused


def test_the_version_of_an_image_is_held_to_it_even_where_its_memory_is_not_modelled() -> None:
    image = "vllm/vllm-openai:v0.2.0"
    verdict, said = one(deployment(image), {"oldestEngineVersions": {"vllm": "0.11"}})
    assert verdict.denied
    assert '.image: Invalid value: "0.2.0": SizingPolicy a asks for vllm 0.11 or later' in said


def test_a_version_that_nobody_says_is_a_warning_and_never_plainly_allowed() -> None:
    held = {"oldestEngineVersions": {"vllm": "0.11"}}
    assert one(llmd(**L40S))[0].decision is Decision.ALLOW
    verdict, said = one(llmd(**L40S), held)
    assert verdict.decision is Decision.WARN
    assert "spec.engine.version: nothing says which version of vllm runs" in said
    assert "SizingPolicy a asks for 0.11 or later" in said
    latest, _ = one(deployment("vllm/vllm-openai:latest"), held)
    assert latest.decision is Decision.WARN


def test_annotations_that_are_asked_for_must_be_there_on_every_kind() -> None:
    keys = {"requiredAnnotations": ["cost-center", "owner"]}
    verdict, said = one(llmd(annotations=("owner",), **L40S), keys)
    assert verdict.denied
    assert "metadata.annotations: Required: cost-center, which SizingPolicy a asks for" in said
    assert not one(llmd(annotations=("owner", "cost-center"), **L40S), keys)[0].denied
    _, said = one(deployment(), keys)
    assert "metadata.annotations: Required: cost-center and owner" in said


def test_what_must_stay_free_is_taken_off_before_anything_fits() -> None:
    one_gpu = {"allowed": ["nvidia-l40s"], "gpusPerReplica": 1}
    asked = llmd(engine={"maxModelLen": 4096, "version": "0.11.0"}, accelerator=one_gpu)
    free, _ = one(asked)
    assert free.decision is Decision.ALLOW
    assert free.estimate
    spare = free.estimate.spare // GIB
    held, said = one(asked, {"headroom": f"{spare + 2}Gi"})
    assert held.denied
    assert f"less {spare + 2}.0 GiB that stay free" in said
    assert "it would start, and leave less free than the policy asks for" in said
    assert held.estimate
    assert held.estimate.usable == free.estimate.usable - (spare + 2) * GIB
    assert held.alternatives
    for way in held.alternatives:
        assert way.required <= way.usable
    assert one(asked, {"headroom": f"{spare - 4}Gi"})[0].decision is Decision.ALLOW


def test_a_share_that_must_stay_free_is_one_of_the_whole_gpu() -> None:
    verdict, _ = one(llmd(**L40S), {"headroom": "10%"})
    assert verdict.estimate
    assert verdict.estimate.headroom == -(-verdict.estimate.physical // 10)


def test_weights_of_a_known_size_alone_leave_room_too() -> None:
    sized = {"parameters": "20B"}
    asked = llmd(sized, accelerator={"allowed": ["nvidia-l40s"], "gpusPerReplica": 1})
    assert not one(asked)[0].denied
    assert one(asked, {"headroom": "20%"})[0].denied


def test_the_strictest_of_several_policies_holds_in_every_bound_and_is_named() -> None:
    loose = {"headroom": "5%", "maxGPUsPerReplica": 8, "oldestEngineVersions": {"vllm": "0.10"}}
    strict = {"headroom": "10%", "maxGPUsPerReplica": 2, "oldestEngineVersions": {"vllm": "0.11"}}
    for pair in ((loose, strict), (strict, loose)):
        bounds = held_to(*pair).bounds
        assert (bounds.headroom_percent, bounds.gpus_per_replica) == (10, 2)
        assert bounds.oldest_of("vllm") == "0.11"
        name = "SizingPolicy b" if pair[1] is strict else "SizingPolicy a"
        for bound in ("headroom_percent", "gpus_per_replica", "oldest.vllm"):
            assert bounds.set_by(bound) == (name,)


def test_the_strictest_mode_holds_but_the_label_of_a_namespace_goes_before() -> None:
    rulings = [held_ruling(mode) for mode in ("audit", "enforce", "warn")]
    assert policy_of("team", None, rulings).mode is Mode.ENFORCE
    assert policy_of("team", None, rulings).source == "SizingPolicy enforce"
    assert policy_of("team", None, rulings[:1]).mode is Mode.AUDIT
    labelled = policy_of("team", "warn", rulings)
    assert labelled.mode is Mode.WARN
    assert labelled.bounds.gpus_per_replica == 2


def test_other_peoples_kinds_are_looked_at_by_label_or_by_a_policy_that_names_them() -> None:
    rulings = [held_ruling("enforce")]
    assert workloads_policy("team", None, rulings) is None
    named = workloads_policy("team", None, rulings, named=True)
    assert named is not None
    assert named.mode is Mode.ENFORCE
    labelled = workloads_policy("team", "audit", rulings)
    assert labelled is not None
    assert (labelled.mode, labelled.bounds.gpus_per_replica) == (Mode.AUDIT, 2)


def held_ruling(mode: str) -> Any:
    from plimsoll.workloads import sizing_policy
    from sizing import policy_object

    return sizing_policy.read(policy_object(mode, mode=mode, maxGPUsPerReplica=2)).ruling


def test_bounds_change_the_hash_and_who_set_them_does_not() -> None:
    asked = llmd(**L40S)
    free, _ = one(asked)
    held, _ = one(asked, {"headroom": "1Gi"})
    second, _ = one(asked, {}, {"headroom": "1Gi"})
    assert free.request_hash != held.request_hash
    assert held.request_hash == second.request_hash
    assert decided(llmd(annotations=("kubectl",), **L40S), held_to())[0][0].request_hash == (
        free.request_hash
    )
    keys = {"requiredAnnotations": ["owner"]}
    with_owner, _ = one(llmd(annotations=("owner",), **L40S), keys)
    assert with_owner.request_hash != one(asked, keys)[0].request_hash


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ({"replicas": 3}, {"replicas": 4}, {"maxGPUsPerObject": 2}),
        ({"annotations": ("a",)}, {"annotations": ()}, {"requiredAnnotations": ["a", "b"]}),
    ],
)
def test_an_object_that_is_beyond_a_policy_may_not_go_further(
    before: dict[str, Any], after: dict[str, Any], keys: dict[str, Any]
) -> None:
    was, _ = one(llmd(**L40S, **before), keys)
    now, _ = one(llmd(**L40S, **after), keys)
    assert was.denied
    assert now.denied
    assert no_worse(was, was)
    assert no_worse(now, was)
    assert not no_worse(was, now)
    assert outcome(now, before=was) is Outcome.DENIED


def test_versions_compare_by_their_numbers() -> None:
    assert (numbers("0.11.0") or ()) == (numbers("v0.11") or ())
    assert (numbers("0.9.2") or ()) < (numbers("0.10.0rc1") or ())
    assert (numbers("b5200") or ()) < (numbers("b5201") or ())
    assert numbers("latest") is numbers("") is numbers("sha-0a1b") is None


_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "headroom": st.sampled_from(["5%", "25%", "2Gi", "30Gi"]),
        "maxGPUsPerReplica": st.integers(1, 8),
        "maxGPUsPerObject": st.integers(1, 16),
        "allowedAccelerators": st.lists(
            st.sampled_from(
                [
                    "nvidia-l40s",
                    "nvidia-h100-80gb",
                    "nvidia-h200-141gb",
                    "nvidia-l4",
                    "amd-mi355x",
                    "x",
                ]
            ),
            min_size=1,
            unique=True,
        ),
        "oldestEngineVersions": st.sampled_from([{"vllm": "0.11"}, {"vllm": "9"}, {"sglang": "1"}]),
        "requiredAnnotations": st.sampled_from([["a"], ["b", "a"]]),
    },
)
_OBJECTS = st.builds(
    lambda model, length, accelerator, annotations, version, replicas: llmd(
        model,
        annotations,
        replicas=replicas,
        engine={"maxModelLen": length, **version},
        accelerator=accelerator,
    ),
    st.sampled_from([SMALL_MODEL, BIG_MODEL, {"parameters": "400B"}]),
    st.sampled_from([4096, 131072]),
    st.fixed_dictionaries(
        {},
        optional={
            "allowed": st.sampled_from(
                [["nvidia-l4"], ["nvidia-h200-141gb", "nvidia-l40s"], ["x"]]
            ),
            "gpusPerReplica": st.sampled_from([1, 2, 4, 8]),
        },
    ),
    st.sampled_from([(), ("a",), ("a", "b")]),
    st.sampled_from([{}, {"version": "0.10.0"}, {"version": "0.12.0"}]),
    st.integers(0, 4),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_OBJECTS, st.lists(_SPECS, max_size=2), _SPECS)
def test_one_policy_more_never_turns_a_refusal_into_an_admission(
    obj: dict[str, Any], specs: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    before, after = held_to(*specs), held_to(*specs, more)
    (was, _), (now, _) = decided(obj, before)[0], decided(obj, after)[0]
    if was.denied:
        assert not outcome(now).let_in, (specs, more)
    if was.decision is Decision.WARN:
        assert now.decision is not Decision.ALLOW, (specs, more)
    assert _kept(now.placement, after)


def _kept(placement: Any, policy: Policy) -> bool:
    """Whether a placement keeps to the bounds of a policy."""
    bounds = policy.bounds
    return placement is None or (
        (bounds.accelerators is None or placement.accelerator in bounds.accelerators)
        and placement.gpus_per_replica <= (bounds.gpus_per_replica or 4096)
        and placement.total_gpus <= (bounds.gpus_per_object or 4096)
    )
