"""Claims about what is written for an LLMDeployment: conditions, times, Events, or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from decision_builders import (
    A100,
    BIG,
    H100,
    H200,
    PlainEngine,
    cluster,
    model,
    on,
    pool,
    request,
    world,
)
from plimsoll.decision.policy import Mode, Policy
from plimsoll.engines.base import EngineSettings
from plimsoll.errors import Problem
from plimsoll.models.architecture import Model, ModelSource
from plimsoll_operator.api.status import LLMDeploymentStatus
from plimsoll_operator.controller.plan import StatusPlan, plan, plan_after_error
from plimsoll_operator.controller.snapshot import Identity, Inputs
from unit.operator.controller.test_status_patch import merged

if TYPE_CHECKING:
    from plimsoll.decision.request import Request
    from plimsoll.inventory.pools import Inventory

NOW = datetime(2026, 11, 23, 6, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=7)
NODES = cluster(pool(A100, 2), pool(H100, 1))

FITS = on(A100)
DOES_NOT = on(A100, tensor=1)
UNKNOWN = request(Model("acme/Secret", ModelSource.UNKNOWN))
INVALID = replace(FITS, problems=(Problem("spec.model.uri", "", "a location", "give one"),))


def identity(generation: int, previous: dict[str, Any]) -> Identity:
    return Identity(
        namespace="chat",
        name="big",
        uid="uid",
        version="7",
        generation=generation,
        api_version="plimsoll.dev/v1alpha1",
        kind="LLMDeployment",
        previous=previous,
    )


def inputs(
    of: Request = FITS,
    inventory: Inventory = NODES,
    previous: dict[str, Any] | None = None,
    override: str = "",
    mode: Mode = Mode.ENFORCE,
    generation: int = 3,
) -> Inputs:
    return Inputs(identity(generation, previous or FRESH), of, inventory, Policy(mode), override)


FRESH: dict[str, Any] = {"observedGeneration": -1}
"""The status of an object that was just created, by the CRD's default."""


def planned(given: Inputs, now: datetime = NOW, engine: PlainEngine | None = None) -> StatusPlan:
    return plan(given, now, world(engine))


def status_after(given: Inputs, now: datetime = NOW, engine: PlainEngine | None = None) -> Any:
    patch = json.loads(json.dumps(planned(given, now, engine).patch))
    return merged(given.identity.previous, patch)


def by_type(status: Any) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in status["conditions"]}


def kstatus(status: Any, generation: int) -> str:
    """How Flux, Helm and kubectl wait read a status (cli-utils, kstatus, generic.go)."""
    if status.get("observedGeneration") != generation:
        return "InProgress"
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"


@pytest.mark.parametrize(
    ("of", "ready", "resolved", "fits", "reason", "reads"),
    [
        (FITS, "True", "True", "True", "EnoughMemory", "Current"),
        (DOES_NOT, "False", "True", "False", "NotEnoughMemory", "Failed"),
        (UNKNOWN, "False", "False", "Unknown", "UnknownModel", "Failed"),
        (INVALID, "False", "False", "False", "InvalidSpec", "Failed"),
    ],
)
def test_conditions_say_what_the_verdict_says_and_kstatus_reads_it(
    of: Request, ready: str, resolved: str, fits: str, reason: str, reads: str
) -> None:
    status = status_after(inputs(of))
    found = by_type(status)
    assert found["Ready"]["status"] == ready
    assert found["ModelResolved"]["status"] == resolved
    assert (found["Fits"]["status"], found["Fits"]["reason"]) == (fits, reason)
    assert kstatus(status, 3) == reads
    assert ("Stalled" in found) == (ready == "False")
    assert "Reconciling" not in found


def test_within_the_error_it_is_placed_and_nobody_claims_that_it_fits() -> None:
    status = status_after(inputs(on(A100, gpus_per_replica=2)), engine=PlainEngine(error=0.1))
    found = by_type(status)
    assert (found["Fits"]["status"], found["Fits"]["reason"]) == ("Unknown", "WithinError")
    assert found["Ready"]["status"] == "True"
    assert kstatus(status, 3) == "Current"


def test_ready_does_not_wait_for_nodes() -> None:
    status = status_after(inputs(FITS, cluster()))
    found = by_type(status)
    assert found["CapacityAvailable"]["status"] == "False"
    assert found["Ready"]["status"] == "True"
    assert kstatus(status, 3) == "Current"


def test_no_flag_of_the_user_is_left_out_of_a_status() -> None:
    flags = tuple(f"--served-model-name=m{number}" for number in range(64))
    of = replace(FITS, engine=replace(FITS.engine, flags=flags))
    written = status_after(inputs(of))["placement"]["engineArgs"]
    assert set(flags) < set(written)


def test_a_status_is_enough_to_run_the_model() -> None:
    placement = status_after(inputs())["placement"]
    assert placement["accelerator"] == A100.name
    assert placement["gpusPerReplica"] == placement["parallelism"]["tensor"] == 4
    assert placement["resources"] == {"nvidia.com/gpu": "4"}
    assert placement["nodeSelector"] == {"nvidia.com/gpu.product": A100.name.upper()}
    assert placement["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert "--tensor-parallel-size=4" in placement["engineArgs"]


def test_a_status_says_what_it_is_for_in_the_words_of_its_conditions() -> None:
    status = status_after(inputs())
    found = status["estimate"]
    assert found["engineVersion"]
    assert found["gpuMemoryUtilization"] == "0.92"
    assert (found["accelerator"], found["gpusPerReplica"]) == (A100.name, 4)
    assert found["parallelism"]["tensor"] == 4
    band = [int(found["perGPU"][k][:-2]) for k in ("requiredLow", "required", "requiredHigh")]
    assert band == sorted(band)
    need, have = found["needPerGPU"], found["havePerGPU"]
    assert f"needs {need} of {have} usable per GPU" in by_type(status)["Fits"]["message"]
    assert found["ruleOfThumb"].endswith(" GB")


def test_what_is_refused_says_what_it_was_tried_on() -> None:
    for mode in (Mode.ENFORCE, Mode.WARN):
        status = status_after(inputs(DOES_NOT, mode=mode))
        assert "placement" not in status
        tried = status["estimate"]
        assert (tried["accelerator"], tried["gpusPerReplica"]) == (A100.name, 1)
        assert float(tried["needPerGPU"][:-4]) > float(tried["havePerGPU"][:-4])
        said = by_type(status)["Fits"]["message"]
        assert f"usable per GPU on 1 x {tried['accelerator']}" in said


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    status = status_after(inputs(DOES_NOT))
    assert "short by" in by_type(status)["Fits"]["message"]
    assert "placement" not in status
    assert 1 <= len(status["alternatives"]) <= 5
    assert all(a["changes"] for a in status["alternatives"])


def test_need_is_rounded_up_and_possession_down_to_mib() -> None:
    result = planned(inputs()).verdict
    assert result is not None
    assert result.estimate is not None
    per_gpu = status_after(inputs())["estimate"]["perGPU"]
    required, usable = int(per_gpu["required"][:-2]), int(per_gpu["usable"][:-2])
    assert (required - 1) << 20 < result.estimate.required <= required << 20
    assert usable << 20 <= result.estimate.usable < (usable + 1) << 20


def test_nothing_is_written_when_nothing_changed() -> None:
    for of in (FITS, DOES_NOT, UNKNOWN, INVALID):
        before = status_after(inputs(of))
        again = planned(inputs(of, previous=before), LATER)
        assert not again.patch
        assert not again.events


def test_the_generation_is_always_the_one_that_was_decided_on() -> None:
    before = status_after(inputs(generation=3))
    after = status_after(inputs(previous=before, generation=4), LATER)
    assert after["observedGeneration"] == 4
    assert {c["observedGeneration"] for c in after["conditions"]} == {4}


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:
    before = status_after(inputs(FITS))
    after = by_type(status_after(inputs(FITS, cluster(), previous=before, generation=4), LATER))
    assert after["Ready"]["lastTransitionTime"] == "2026-11-23T06:00:00Z"
    assert after["CapacityAvailable"]["lastTransitionTime"] == "2026-11-23T06:07:00Z"


def test_what_is_no_longer_true_leaves_the_status() -> None:
    before = status_after(inputs(DOES_NOT))
    after = status_after(inputs(FITS, previous=before), LATER)
    assert "alternatives" not in after
    assert "Stalled" not in by_type(after)
    assert after["placement"]


def test_events_tell_of_transitions() -> None:
    first = planned(inputs(FITS))
    assert [(e.type, e.reason) for e in first.events] == [("Normal", "Placed")]
    before = status_after(inputs(FITS))
    worse = planned(inputs(DOES_NOT, previous=before, generation=4), LATER)
    assert [(e.type, e.reason) for e in worse.events] == [("Warning", "NotEnoughMemory")]
    lost = planned(inputs(FITS, cluster(), previous=before), LATER)
    assert [(e.type, e.reason) for e in lost.events] == [("Warning", "NoNodesMatch")]


def test_an_event_tells_that_a_placement_moved_to_other_gpus() -> None:
    either = replace(on(A100, H100), follow=True)
    before = status_after(inputs(either, cluster(pool(H100, 2))))
    moved = planned(inputs(either, cluster(pool(A100, 2)), previous=before), LATER)
    assert ("PlacementChanged", f"from 4 x {H100.name} to 4 x {A100.name} per replica") in [
        (e.reason, e.message) for e in moved.events
    ]


def test_a_placement_stays_where_it_was_while_its_pool_sleeps_and_others_are_there() -> None:
    either = on(A100, H100)
    before = status_after(inputs(either, cluster(pool(H100, 2))))
    for nodes in (cluster(), cluster(pool(A100, 2)), cluster(pool(H100, 2, ready=0), pool(A100))):
        after = status_after(inputs(either, nodes, previous=before), LATER)
        assert after["placement"] == before["placement"]
    asleep = by_type(status_after(inputs(either, cluster(pool(A100, 2)), previous=before), LATER))
    assert asleep["CapacityAvailable"]["reason"] == "NoNodesMatch"
    better = asleep["BetterPlacement"]
    assert (better["status"], better["reason"]) == ("True", "NodesToday")
    assert "nodes for 4 x nvidia-a100-80gb per replica are there today" in better["message"]
    awake = status_after(inputs(either, cluster(pool(H100, 2)), previous=before), LATER)
    assert "BetterPlacement" not in by_type(awake)


def test_nothing_is_written_when_a_pool_that_is_no_better_joins() -> None:
    before = status_after(inputs(on(A100, H200, tensor=4), cluster(pool(A100, 2))))
    joined = cluster(pool(A100, 2), pool(H200))
    assert not planned(inputs(on(A100, H200, tensor=4), joined, previous=before)).patch


def test_a_placement_moves_when_the_spec_changes_or_when_it_was_made_before_any_node() -> None:
    either = on(A100, H100)
    on_h100 = status_after(inputs(either, cluster(pool(H100, 2))))
    a100 = cluster(pool(A100, 2))
    other = replace(either, engine=replace(either.engine, max_num_seqs=64))
    changed = status_after(inputs(other, a100, previous=on_h100, generation=4), LATER)
    assert changed["placement"]["accelerator"] == A100.name
    guessed = status_after(inputs(either, cluster()))
    assert guessed["placement"]["onNodes"] is False
    joined = status_after(inputs(either, a100, previous=guessed), LATER)
    assert joined["placement"]["accelerator"] == A100.name
    assert joined["placement"]["onNodes"] is True


@pytest.mark.parametrize("replicas", [0, 1, 3])
def test_whoever_scales_or_changes_what_is_made_of_a_placement_does_not_move_it(
    replicas: int,
) -> None:
    either = on(A100, H100)
    before = status_after(inputs(either, cluster(pool(H100, 2))))
    scaled = replace(either, replicas=replicas)
    after = status_after(
        inputs(scaled, cluster(pool(A100, 4), pool(H100)), previous=before, generation=4), LATER
    )
    assert after["placement"]["accelerator"] == H100.name
    each = after["placement"]["gpusPerReplica"]
    assert after["placement"]["totalGPUs"] == replicas * each
    again = status_after(
        inputs(either, cluster(pool(A100, 4), pool(H100)), previous=after, generation=5), LATER
    )
    assert again["placement"]["accelerator"] == H100.name


def test_a_better_placement_is_told_with_what_it_saves_and_taken_by_follow() -> None:
    either = on(A100, H200)
    before = status_after(inputs(either, cluster(pool(A100, 2))))
    both = cluster(pool(A100, 2), pool(H200))
    after = status_after(inputs(either, both, previous=before), LATER)
    assert after["placement"] == before["placement"]
    better = by_type(after)["BetterPlacement"]
    assert better["reason"] == "FewerGPUs"
    assert better["message"].startswith("2 x nvidia-h200 per replica would do: 2 GPUs fewer; ")
    taken = status_after(inputs(replace(either, follow=True), both, previous=before), LATER)
    assert taken["placement"]["accelerator"] == H200.name


def test_a_placement_that_no_longer_fits_moves() -> None:
    before = status_after(inputs(FITS))
    larger = replace(FITS, model=model(parameters=200_000_000_000))
    after = status_after(inputs(larger, previous=before), LATER)
    assert after["placement"]["gpusPerReplica"] > before["placement"]["gpusPerReplica"]


@pytest.mark.parametrize("field", ["parallelism", "resources", "accelerator"])
def test_a_placement_in_a_form_that_is_not_known_is_planned_anew(field: str) -> None:
    before = status_after(inputs(FITS))
    values: tuple[Any, ...] = (None, {}, 7)
    for value in values:
        broken = {**before, "placement": {**before["placement"], field: value}}
        after = status_after(inputs(FITS, previous=broken), LATER)
        assert after["placement"] == before["placement"]


def test_an_override_is_recorded_with_its_reason() -> None:
    found = by_type(status_after(inputs(DOES_NOT, override="measured it, ticket 4711")))
    assert found["Overridden"]["status"] == "True"
    assert "ticket 4711" in found["Overridden"]["message"]
    assert "claims an override" in found["Overridden"]["message"]
    assert "nobody asks here" in found["Overridden"]["message"]
    assert found["Fits"]["status"] == "False"


def test_the_reason_of_an_override_is_repeated_in_part_and_without_control_characters() -> None:
    rude = "approved\n\x1b[2J by the board" + "!" * 9000
    message = by_type(status_after(inputs(DOES_NOT, override=rude)))["Overridden"]["message"]
    assert "approved" in message
    assert message.isprintable()
    assert len(message) < 300


def test_an_override_that_overrides_nothing_is_not_recorded() -> None:
    assert "Overridden" not in by_type(status_after(inputs(FITS, override="just in case")))
    warned = inputs(DOES_NOT, override="just in case", mode=Mode.WARN)
    assert "Overridden" not in by_type(status_after(warned))
    assert "Overridden" not in by_type(status_after(inputs(DOES_NOT)))


def test_the_status_has_no_field_that_the_resource_has_not() -> None:
    for of in (FITS, DOES_NOT, UNKNOWN, INVALID):
        LLMDeploymentStatus.model_validate(status_after(inputs(of, override="why")))


def test_a_fault_of_ours_keeps_what_was_found_before_and_reads_as_in_progress() -> None:
    before = status_after(inputs(FITS))
    after = merged(before, plan_after_error(identity(4, before), KeyError("secret"), LATER).patch)
    assert kstatus(after, 4) == "InProgress"
    assert after["placement"] == before["placement"]
    assert by_type(after)["Fits"]["status"] == "True"
    assert "secret" not in json.dumps(after)
    recovered = by_type(status_after(inputs(FITS, previous=after, generation=4), LATER))
    assert recovered["Ready"]["status"] == "True"
    assert "Reconciling" not in recovered


def test_no_text_is_longer_than_the_resource_allows() -> None:
    endless = Problem("spec.model.uri", "x" * 80, "y" * 100_000)
    long = replace(
        request(BIG, engine=EngineSettings(flags=("--x=" + "z" * 9000,) * 500)),
        problems=(endless,) * 50,
    )
    status = status_after(inputs(long, override="o" * 100_000))
    assert len(json.dumps(status)) < 64 << 10
    assert all(len(c["message"]) <= 1024 for c in status["conditions"])
