"""Claims about the decision itself: when it denies, warns and allows, and that it never raises."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_builders import (
    A100,
    BIG,
    H100,
    H200,
    L4,
    SLICE,
    SMALL,
    TABLE,
    VAGUE,
    PlainEngine,
    architecture,
    cluster,
    gpu,
    model,
    on,
    pool,
    request,
    world,
)
from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Mode, Outcome, Policy, no_worse, outcome
from plimsoll.decision.request import Request, Wanted
from plimsoll.decision.verdict import Capacity, Decision, Reason, Verdict
from plimsoll.engines.base import AskedSplit, EngineSettings, Workload
from plimsoll.errors import Problem
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.paths import Field
from plimsoll.report.messages import denial
from plimsoll.report.nodes import nodes_message
from worded import problems_in, warnings_in

if TYPE_CHECKING:
    from plimsoll.decision.knowledge import Knowledge

UNKNOWN = Model("acme/who", ModelSource.UNKNOWN, suggestions=("acme/Who-7B",))


def sized(parameters: int, bits: float | None = 16.0) -> Model:
    return Model("a size", ModelSource.PARAMETERS, parameters=parameters, bits=bits)


def verdict(
    of: Request, inventory: Inventory = NO_INVENTORY, knowledge: Knowledge | None = None
) -> Verdict:
    return decide(of, inventory, knowledge=knowledge or world())


def said(of: Request) -> tuple[Decision, Reason]:
    found = verdict(of)
    return found.decision, found.reason


def paths(found: Verdict) -> list[str]:
    return [problem.path for problem in problems_in(found)]


# -- allow, warn, deny ---------------------------------------------------------------------------


def test_what_fits_is_allowed_with_a_placement_and_the_rule_of_thumb_beside_it() -> None:
    found = verdict(on(A100))
    assert (found.decision, found.reason) == (Decision.ALLOW, Reason.ENOUGH_MEMORY)
    assert found.placement is not None
    assert found.short_by == 0
    assert found.rule_of_thumb is not None
    assert (found.rule_of_thumb.needed, found.rule_of_thumb.gpus) == (168 * 10**9, 2)


def test_a_certain_misfit_is_denied_with_what_is_missing_and_ways_out() -> None:
    found = verdict(on(H100, tensor=1))
    assert (found.decision, found.reason) == (Decision.DENY, Reason.NOT_ENOUGH_MEMORY)
    assert found.estimate is not None
    assert found.short_by == found.estimate.required - found.estimate.usable
    assert found.placement is None
    assert found.alternatives


def test_a_need_within_the_error_is_a_warning_with_a_placement_and_ways_out() -> None:
    found = verdict(on(A100, tensor=2))
    assert (found.decision, found.reason) == (Decision.WARN, Reason.WITHIN_ERROR)
    assert found.placement is not None
    assert found.alternatives


def test_an_unknown_model_is_a_warning_that_says_what_to_add() -> None:
    found = verdict(request(UNKNOWN))
    assert (found.decision, found.reason) == (Decision.WARN, Reason.UNKNOWN_MODEL)
    (text,) = warnings_in(found)
    assert "acme/who" in text
    assert "did you mean acme/Who-7B?" in text
    assert "model.baseModel, model.configMapRef or model.parameters" in text


def test_flags_that_are_not_read_turn_a_denial_into_a_warning_that_names_them() -> None:
    flags = ("--cpu-offload-gb",)
    found = verdict(on(H100, tensor=1, unread=flags, shrinking=flags))
    assert (found.decision, found.reason) == (Decision.WARN, Reason.UNREAD_FLAGS)
    assert any("--cpu-offload-gb" in text for text in warnings_in(found))
    assert found.short_by > 0


def test_weights_beyond_the_gpu_are_refused_whatever_flag_cannot_make_them_smaller() -> None:
    beyond = verdict(on(H100, tensor=1, unread=("--attention-backend=x",)))
    assert (beyond.decision, beyond.reason) == (Decision.DENY, Reason.NOT_ENOUGH_MEMORY)
    assert any("--attention-backend=x" in text for text in warnings_in(beyond))
    within = verdict(on(H100, tensor=2, concurrent=64, unread=("--attention-backend=x",)))
    assert (within.decision, within.reason) == (Decision.WARN, Reason.UNREAD_FLAGS)


def test_a_misfit_on_memory_that_is_not_certain_is_only_a_warning() -> None:
    assert said(on(VAGUE, tensor=1)) == (Decision.WARN, Reason.UNKNOWN_ACCELERATOR)
    assert said(on(VAGUE, H100, tensor=1)) == (Decision.WARN, Reason.UNKNOWN_ACCELERATOR)
    fits = verdict(on(VAGUE))
    assert fits.decision is Decision.ALLOW
    assert any("nominal" in text for text in warnings_in(fits))


def test_one_accelerator_that_holds_it_is_enough_among_those_allowed() -> None:
    of = on(L4, H200, tensor=2)
    found = verdict(of)
    assert found.decision is Decision.ALLOW
    assert found.accelerator == "nvidia-h200"


def test_the_cluster_never_makes_a_refusal_of_what_the_request_allows() -> None:
    for inventory in (cluster(), cluster(pool(L4)), cluster(pool(SLICE, gpus=7))):
        assert verdict(on(A100), inventory).decision is Decision.ALLOW
        assert verdict(request(max_model_len=32768, tensor=2), inventory).decision == "allow"


def test_without_an_inventory_the_capacity_is_said_to_be_unknown() -> None:
    assert verdict(on(A100)).capacity is Capacity.UNKNOWN
    assert verdict(on(A100), cluster(pool(A100))).capacity is Capacity.AVAILABLE


# -- the rule of thumb ---------------------------------------------------------------------------


def test_a_size_alone_is_decided_by_the_rule_of_thumb_and_says_so() -> None:
    found = verdict(on(A100, model=sized(70 * 10**9)))
    assert (found.decision, found.reason) == (Decision.WARN, Reason.RULE_OF_THUMB)
    assert found.placement is not None
    assert found.placement.gpus_per_replica == 2
    assert any("rule of thumb alone" in text for text in warnings_in(found))


def test_a_size_alone_is_denied_only_if_the_weights_exceed_all_memory_asked_for() -> None:
    denied = verdict(on(A100, model=sized(70 * 10**9), gpus_per_replica=1))
    assert (denied.decision, denied.reason) == (Decision.DENY, Reason.NOT_ENOUGH_MEMORY)
    assert denied.short_by == 140 * 10**9 - A100.memory
    over = verdict(on(A100, model=sized(72 * 10**9), gpus_per_replica=2))
    assert (over.decision, over.reason) == (Decision.WARN, Reason.RULE_OF_THUMB)
    assert over.placement is None
    assert verdict(on(VAGUE, model=sized(10**12), gpus_per_replica=1)).decision is Decision.WARN


def test_bits_that_nobody_gives_are_sixteen() -> None:
    found = verdict(on(A100, model=sized(70 * 10**9, None))).rule_of_thumb
    assert found is not None
    assert (found.bits, found.needed) == (16, 168 * 10**9)


# -- problems ------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once() -> None:
    of = on("nvidia-a100-80", tensor=3, gpus_per_replica=4)
    of = replace(of, problems=(Problem("spec.model.uri", '"x"', "is no uri"),))
    found = verdict(of)
    assert (found.decision, found.reason) == (Decision.DENY, Reason.INVALID_SPEC)
    assert paths(found) == [
        "spec.model.uri",
        "spec.accelerator.gpusPerReplica",
        "spec.engine.parallelism.tensor",
    ]
    assert "did you mean nvidia-a100-80gb" in " ".join(warnings_in(found))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tensor": 0}, "spec.engine.parallelism.tensor"),
        ({"tensor": 10**18}, "spec.engine.parallelism.tensor"),
        ({"data": -1}, "spec.engine.parallelism.data"),
        ({"gpus_per_replica": 0}, "spec.accelerator.gpusPerReplica"),
        ({"max_model_len": -5}, "spec.engine.maxModelLen"),
        ({"max_num_seqs": 10**12}, "spec.engine.maxNumSeqs"),
        ({"concurrent": 0}, "spec.workload.concurrentSequences"),
        ({"utilization": Decimal("1.5")}, "spec.engine.gpuMemoryUtilization"),
        ({"utilization": Decimal("NaN")}, "spec.engine.gpuMemoryUtilization"),
        ({"replicas": -1}, "spec.replicas"),
        ({"model": sized(10**18)}, "spec.model.parameters"),
        ({"model": sized(10**9, -4.0)}, "spec.model.bits"),
        ({"min_memory": 1 << 50}, "spec.accelerator.minMemory"),
        ({"gpus_per_replica": 6, "tensor": 4}, "spec.accelerator.gpusPerReplica"),
        ({"gpus_per_replica": 8, "tensor": 2, "pipeline": 2}, "spec.accelerator.gpusPerReplica"),
        ({"input_tokens": 32768, "output_tokens": 1}, "spec.workload.inputTokens"),
        ({"concurrent": 9, "max_num_seqs": 8}, "spec.engine.maxNumSeqs"),
        ({"name": "sglang"}, "spec.engine.name"),
    ],
)
def test_absurd_sizes_and_contradictions_are_problems(fields: dict[str, Any], path: str) -> None:
    if "name" in fields:
        of = replace(on(A100), engine=EngineSettings(**fields))
    else:
        of = on(A100, **fields)
    found = verdict(of)
    assert found.decision is Decision.DENY
    assert paths(found) == [path]
    assert problems_in(found)[0].wanted


def test_a_tensor_larger_than_a_node_is_a_warning_with_its_cost_and_never_a_problem() -> None:
    of = on(A100, tensor=16)
    unseen = verdict(of)
    assert unseen.decision is Decision.ALLOW
    assert any(
        "a node usually has 8 x nvidia-a100-80gb" in text and "waits for the network" in text
        for text in warnings_in(unseen)
    )
    seen = verdict(of, cluster(pool(A100, 4)))
    assert seen.decision is Decision.ALLOW
    assert seen.placement is not None
    assert (seen.placement.gpus_per_node, seen.placement.nodes_per_replica) == (8, 2)
    assert any("these nodes have 8 x nvidia-a100-80gb" in text for text in warnings_in(seen))
    wide = verdict(of, cluster(pool(A100, gpus=16)))
    assert wide.decision is Decision.ALLOW
    assert not any("network" in text for text in warnings_in(wide))


def test_an_engine_without_stages_is_planned_on_one_node_and_never_in_stages() -> None:
    engine = PlainEngine(stages=False)
    few = gpu("nvidia-few", 24576, gpus_per_node=4)
    knowledge = world(engine, (*TABLE, few))
    assert decide(on(few), knowledge=knowledge).denied
    for asked in ({"tensor": 8}, {"gpus_per_replica": 8}):
        found = decide(on(few, **asked), knowledge=knowledge)
        assert found.placement is not None, asked
        split = found.placement.parallelism
        assert (split.tensor, split.pipeline) == (8, 1)
        assert found.placement.nodes_per_replica == 1
        assert any("runs on one node" in text for text in warnings_in(found))
    there = decide(on(few, tensor=8), cluster(pool(few, 4, 4)), knowledge=knowledge)
    assert there.decision is Decision.ALLOW
    assert there.capacity is Capacity.NO_NODES
    assert "spreads a model over no more" in nodes_message(there)


def test_nothing_is_planned_that_nobody_would_build_and_it_says_up_to_where() -> None:
    huge = model("acme/Huge-4T", layers=128, parameters=4 * 10**12)
    found = verdict(on(L4, model=huge))
    assert found.decision is Decision.DENY
    assert "nothing sensible holds it: up to 64 GPUs a replica were planned" in denial(
        on(L4, model=huge), found
    )
    for of in (on(A100, model=huge), on(H200, model=huge)):
        placed = verdict(of).placement
        assert placed is None or placed.gpus_per_replica <= 64
        assert placed is None or placed.parallelism.pipeline <= 8
    asked = verdict(on(A100, model=huge, tensor=8, pipeline=16))
    assert asked.decision is Decision.ALLOW


def test_what_nothing_holds_is_reported_on_a_node_whose_cache_has_room() -> None:
    long = model("acme/Long-8B", layers=32, parameters=8 * 10**9, max_model_len=10**9)
    found = verdict(on(H100, model=long, max_model_len=10**9))
    assert found.estimate is not None
    assert found.estimate.parallelism.gpus == 8
    assert found.estimate.kv_capacity > 0
    assert any(c.field is Field.MAX_MODEL_LEN for a in found.alternatives for c in a.changes)


def test_the_model_need_not_be_known_for_a_spec_to_be_wrong() -> None:
    found = verdict(on(model=UNKNOWN, gpus_per_replica=0))
    assert paths(found) == ["spec.accelerator.gpusPerReplica"]


def test_no_replica_is_planned_on_more_gpus_than_a_spec_may_ask_for() -> None:
    for most, parameters in ((64, 10**12), (0, 10**14), (0, 10**15)):
        found = verdict(on(A100, model=sized(parameters)))
        assert found.reason is Reason.RULE_OF_THUMB
        assert (found.placement.gpus_per_replica if found.placement else 0) <= most
    layers = architecture(layers=1000, parameters=10**15)
    huge = replace(BIG, architecture=layers, parameters=layers.parameters)
    assert verdict(on(L4, model=huge)).placement is None


# -- what becomes of a denial --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "then"),
    [
        (Mode.ENFORCE, Outcome.DENIED),
        (Mode.WARN, Outcome.WARNED),
        (Mode.AUDIT, Outcome.AUDITED),
    ],
)
def test_a_mode_says_what_becomes_of_a_denial_and_of_nothing_else(
    mode: Mode, then: Outcome
) -> None:
    denied, fits = verdict(on(H100, tensor=1)), verdict(on(H100))
    doubted = verdict(on(H100, model=UNKNOWN))
    policy = Policy(mode)
    assert outcome(replace(denied, policy=policy)) is then
    assert outcome(replace(fits, policy=policy)) is Outcome.ALLOWED
    assert outcome(replace(doubted, policy=policy)) is Outcome.DOUBTED


def test_an_override_lets_in_what_would_be_denied_and_changes_nothing_else() -> None:
    denied = verdict(on(H100, tensor=1))
    assert outcome(denied, overridden=True) is Outcome.OVERRIDDEN
    assert outcome(replace(denied, policy=Policy(Mode.WARN)), overridden=True) is Outcome.WARNED
    assert outcome(verdict(on(H100)), overridden=True) is Outcome.ALLOWED


def test_only_a_denial_is_kept_out() -> None:
    assert [one for one in Outcome if not one.let_in] == [Outcome.DENIED]


# -- updates -------------------------------------------------------------------------------------


def test_an_update_may_fix_or_keep_a_failure_but_not_make_it_worse() -> None:
    good, bad = verdict(on(H100)), verdict(on(H100, tensor=1))
    worse = verdict(on(H100, tensor=1, concurrent=4))
    better = verdict(on(H100, tensor=1, max_model_len=4096))
    assert worse.short_by > bad.short_by > better.short_by > 0
    assert no_worse(bad, good)
    assert no_worse(bad, bad)
    assert no_worse(bad, better)
    assert not no_worse(bad, worse)
    assert not no_worse(good, bad)
    assert outcome(better, before=bad) is Outcome.NO_WORSE
    assert outcome(worse, before=bad) is Outcome.DENIED


def test_an_update_may_not_add_an_error_at_another_path() -> None:
    wrong = verdict(on(A100, gpus_per_replica=0))
    assert no_worse(wrong, verdict(on(A100, gpus_per_replica=-1)))
    assert not no_worse(wrong, verdict(on(A100, gpus_per_replica=3, tensor=3)))
    assert not no_worse(wrong, verdict(on(H100, tensor=1)))


# -- any request ---------------------------------------------------------------------------------

ANY = st.none() | st.integers(-(10**19), 10**19) | st.integers(-1, 64)
TEXT = st.text(max_size=40) | st.sampled_from(["nvidia-a100-80gb", "nvidia-l4", "amd-vague"])
MODELS = (
    st.sampled_from([BIG, SMALL, UNKNOWN, model(layers=1, heads=1, kv_heads=1, parameters=1)])
    | st.builds(
        lambda p, b: Model("n", ModelSource.PARAMETERS, parameters=p, bits=b),
        ANY,
        st.none() | st.floats(allow_nan=True),
    )
    | st.builds(lambda name: Model(name, ModelSource.UNKNOWN), st.text(max_size=300))
)
ANY_REQUEST = st.builds(
    Request,
    model=MODELS,
    engine=st.builds(
        EngineSettings,
        name=st.just("vllm") | st.text(max_size=8),
        max_model_len=ANY,
        max_num_seqs=ANY,
        max_num_batched_tokens=ANY,
        kv_cache_dtype=st.sampled_from(["", "fp8", "auto"]),
        kv_cache_memory=ANY,
        utilization=st.none() | st.decimals(),
        unread=st.just(()) | st.just(("--speculative-config",)),
    ),
    workload=st.builds(Workload, ANY, ANY, ANY),
    wanted=st.builds(
        Wanted,
        allowed=st.lists(TEXT, max_size=4).map(tuple),
        gpus_per_replica=ANY,
        split=st.builds(AskedSplit, ANY, ANY, ANY, st.none() | st.booleans()),
        min_memory=ANY,
        node_selector=st.just(()) | st.just((("zone", "east"),)),
    ),
    replicas=st.integers(-2, 10**12),
    name=st.text(max_size=10),
)
SANE = st.none() | st.integers(1, 64)
SANE_REQUEST = st.builds(
    lambda m, length, names, wanted, work: Request(
        m, EngineSettings(max_model_len=length), work, replace(wanted, allowed=names)
    ),
    MODELS,
    st.none() | st.integers(1, 10**6),
    st.sampled_from([(), (A100.name,), (L4.name, SLICE.name), (VAGUE.name,)]),
    st.builds(
        Wanted,
        gpus_per_replica=SANE,
        split=st.builds(AskedSplit, tensor=SANE, pipeline=SANE, data=SANE),
    ),
    st.builds(Workload, SANE, st.none() | st.integers(1, 10**5), st.none() | st.integers(1, 999)),
)
INVENTORIES = st.sampled_from(
    [NO_INVENTORY, cluster(), cluster(pool(A100, 2), pool(L4)), cluster(pool(SLICE, gpus=7))]
)


@pytest.mark.sweep
@settings(max_examples=400)
@given(ANY_REQUEST | SANE_REQUEST, INVENTORIES)
def test_no_request_makes_it_raise_and_every_denial_has_a_cause(
    of: Request, inventory: Inventory
) -> None:
    found = verdict(of, inventory)
    if found.decision is Decision.DENY:
        assert problems_in(found) or found.short_by > 0
    if found.reason is Reason.ENOUGH_MEMORY:
        assert found.decision is Decision.ALLOW
        assert found.placement is not None
    if of.model.architecture is None:
        assert found.decision is not Decision.ALLOW
    assert found == verdict(of, inventory)


@given(SANE_REQUEST)
def test_what_is_denied_without_a_cluster_says_the_same_with_one(of: Request) -> None:
    alone, empty = verdict(of), verdict(of, cluster())
    assert (alone.decision, alone.reason) == (empty.decision, empty.reason)
    assert alone.problems == empty.problems
    assert alone.estimate == empty.estimate


def test_a_model_of_no_layers_and_a_world_of_no_accelerators_are_answered() -> None:
    assert verdict(on(A100, model=BIG), knowledge=world(table=())).decision is Decision.WARN
    nothing = verdict(request(), knowledge=world(table=()))
    assert (nothing.decision, nothing.reason) == (Decision.WARN, Reason.UNKNOWN_ACCELERATOR)


def test_deciding_twice_estimates_twice_since_nothing_is_kept_of_a_request() -> None:
    engine = PlainEngine()
    decide(on(A100), knowledge=world(engine))
    once = engine.calls
    decide(on(A100), knowledge=world(engine))
    assert engine.calls == 2 * once


def test_a_workload_beyond_the_models_own_context_is_refused_though_no_length_is_said() -> None:
    asked = on(A100, max_model_len=None, input_tokens=2**20, output_tokens=1)
    refused = verdict(asked)
    assert refused.decision is Decision.DENY
    (problem,) = problems_in(refused)
    assert problem.path == "spec.workload.inputTokens"
    assert "131072, the longest context of the model's config, not 1048577" in str(problem)
    longer = replace(asked, engine=replace(asked.engine, unread=("--hf-overrides={}",)))
    assert problems_in(verdict(longer)) == ()
