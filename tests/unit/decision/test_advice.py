"""Claims about the ways out of a misfit: each verified, the cheapest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decision_builders import (
    A100,
    H100,
    H200,
    L4,
    SLICE,
    TABLE,
    PlainEngine,
    cluster,
    gpu,
    model,
    on,
    pool,
    request,
    world,
)
from plimsoll.decision import advice
from plimsoll.decision.advice import MOST, advise
from plimsoll.decision.changes import apply
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Alternative, Decision
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.models.quantization_config import stored
from plimsoll.paths import Field
from worded import changes_in

if TYPE_CHECKING:
    from plimsoll.decision.request import Request

MEDIUM = model("acme/Medium-32B", layers=64, hidden=5120, parameters=32_000_000_000)


def advised(of: Request, inventory: Inventory = NO_INVENTORY) -> tuple[Alternative, ...]:
    return decide(of, inventory, knowledge=world()).alternatives


def said(of: Request) -> list[str]:
    return [changes_in(a) for a in advised(of)]


def test_a_context_that_is_too_long_is_shortened_to_the_longest_that_fits() -> None:
    def at(length: int) -> Request:
        return on(A100, model=MEDIUM, tensor=1, max_model_len=length)

    (found,) = [s for s in said(at(65536)) if s.startswith("spec.engine.maxModelLen")]
    length = int(found.split(": ")[1])
    assert length % 1024 == 0
    assert decide(at(length), knowledge=world()).decision is Decision.ALLOW
    assert decide(at(length + 1024), knowledge=world()).decision is not Decision.ALLOW


def test_what_needs_no_more_gpus_comes_first() -> None:
    gpus = [a.gpus_per_replica for a in advised(on(H100, tensor=1))]
    assert gpus == sorted(gpus)
    assert gpus[0] == 1
    assert gpus[-1] > 1


def test_more_gpus_are_advised_by_the_field_that_the_user_wrote() -> None:
    assert "spec.engine.parallelism.tensor: 4" in said(on(H100, tensor=1))
    assert "spec.accelerator.gpusPerReplica: 4" in said(on(H100, gpus_per_replica=1))
    both = said(on(H100, tensor=1, gpus_per_replica=1))
    assert "spec.engine.parallelism.tensor: 4 + spec.accelerator.gpusPerReplica: 4" in both


def test_beyond_a_node_the_pipeline_is_advised_with_the_tensor() -> None:
    found = said(on(L4, model=model(parameters=180_000_000_000), tensor=4))
    assert "spec.engine.parallelism.tensor: 8 + spec.engine.parallelism.pipeline: 3" in found


def test_another_accelerator_is_advised_only_if_the_request_names_its_kinds() -> None:
    assert "spec.accelerator.allowed: [nvidia-h200]" in said(
        on(H100, gpus_per_replica=2, concurrent=8)
    )
    assert not any("allowed" in s for s in said(request(max_model_len=32768, tensor=1)))


def test_accelerators_whose_memory_is_not_certain_are_not_advised() -> None:
    vague = gpu("nvidia-vague", 999_999, certain=False)
    found = decide(on(L4, tensor=1), knowledge=world(table=(L4, vague)))
    assert not any("vague" in a.accelerator for a in found.alternatives)


def test_an_alternative_says_whether_its_nodes_are_there_today() -> None:
    of = on(H100, gpus_per_replica=2, concurrent=8)
    assert not any(a.available for a in advised(of))
    there = {a.accelerator: a.available for a in advised(of, cluster(pool(H200)))}
    assert there["nvidia-h200"]
    assert not there["nvidia-h100-80gb"]


def test_fp8_cache_is_advised_only_if_the_gpu_computes_in_fp8() -> None:
    wide = model("acme/wide", parameters=16_000_000_000, kv_heads=32, layers=40)
    assert any(
        "kvCacheDtype: fp8" in s for s in said(on(H100, model=wide, tensor=1, max_model_len=81920))
    )
    assert not any(
        "kvCacheDtype" in s for s in said(on(A100, model=wide, tensor=1, max_model_len=81920))
    )


def test_fewer_sequences_at_once_are_advised_but_never_fewer_than_the_workload_asks() -> None:
    of = on(
        L4,
        model=model("acme/10b", parameters=9_500_000_000, layers=20, kv_heads=1),
        tensor=1,
        max_model_len=2048,
        max_num_seqs=1024,
    )
    assert any(s.startswith("spec.engine.maxNumSeqs") for s in said(of))
    asked = on(L4, model=of.model, tensor=1, max_model_len=2048, max_num_seqs=1024, concurrent=1024)
    assert not any("maxNumSeqs" in s for s in said(asked))


def test_concurrency_is_lowered_to_as_many_as_fit() -> None:
    of = on(A100, model=MEDIUM, tensor=2, concurrent=200, input_tokens=3000, output_tokens=1000)
    (found,) = [s for s in said(of) if s.startswith("spec.workload.concurrentSequences")]
    most = int(found.split(": ")[1])
    fits = on(A100, model=MEDIUM, tensor=2, concurrent=most, input_tokens=3000, output_tokens=1000)
    assert decide(fits, knowledge=world()).decision is Decision.ALLOW
    more = on(
        A100, model=MEDIUM, tensor=2, concurrent=most + 1, input_tokens=3000, output_tokens=1000
    )
    assert decide(more, knowledge=world()).decision is not Decision.ALLOW


def test_the_context_is_never_advised_below_one_sequence_of_the_workload() -> None:
    of = on(A100, model=MEDIUM, tensor=1, input_tokens=30000, output_tokens=2000)
    for text in said(of):
        if text.startswith("spec.engine.maxModelLen: "):
            assert int(text.split(": ")[1]) >= 32000


def test_utilization_is_raised_only_to_what_engines_start_with() -> None:
    close = [
        a
        for t in range(60, 76)
        for a in advised(on(A100, model=model(parameters=t * 10**9), tensor=2))
    ]
    shares = [c.value for a in close for c in a.changes if c.field is Field.UTILIZATION]
    assert shares
    assert all(0.92 < float(share) <= 0.95 for share in shares)


def test_pairs_are_advised_if_single_changes_are_not_enough() -> None:
    pairs = [a for a in advised(on(H100, tensor=1)) if len(a.changes) == 2]
    assert pairs
    assert all(a.gpus_per_replica == 1 for a in pairs)


def test_a_slice_is_replaced_by_a_whole_gpu() -> None:
    assert said(on(SLICE)) == ["spec.accelerator.allowed: [nvidia-h200]"]


def test_a_model_that_is_already_quantized_is_not_advised_to_be() -> None:
    small = model("acme/awq", parameters=200_000_000_000, quantization=stored("awq"))
    assert not any("spec.model.quantization" in s for s in said(on(H100, model=small, tensor=1)))


REQUESTS = st.builds(
    lambda b, kv, length, seqs, most, counts, names: request(
        model(parameters=b * 10**9, kv_heads=kv),
        max_model_len=length,
        concurrent=min(seqs, most) if seqs else None,
        max_num_seqs=most,
        allowed=names,
        **counts,
    ),
    st.integers(1, 500),
    st.sampled_from([1, 8, 64]),
    st.integers(1, 200_000),
    st.none() | st.integers(1, 500),
    st.integers(1, 1024),
    st.sampled_from(
        [{"tensor": 1}, {"tensor": 4}, {"gpus_per_replica": 2}, {"tensor": 2, "pipeline": 2}, {}]
    ),
    st.sampled_from([(), (A100.name,), (L4.name, H200.name), (SLICE.name,)]),
)


@given(REQUESTS)
def test_every_alternative_makes_it_fit_and_none_is_said_twice(of: Request) -> None:
    found = decide(of, knowledge=world())
    assert len(found.alternatives) <= MOST
    assert len({frozenset(a.changes) for a in found.alternatives}) == len(found.alternatives)
    for alternative in found.alternatives:
        after = decide(apply(of, alternative.changes), knowledge=world())
        assert after.decision is Decision.ALLOW, alternative.changes
        assert alternative.required <= alternative.usable


WIDE = request(
    model(parameters=10**9, kv_heads=64), max_model_len=153354, concurrent=106, max_num_seqs=1014
)
"""One that takes whole nodes for its cache, so that planning tries many splits."""


@given(REQUESTS)
@example(WIDE)
def test_advice_takes_no_more_than_some_thirty_estimates(of: Request) -> None:
    engine, spent = PlainEngine(), [0]

    def counted(*arguments: Any) -> tuple[Alternative, ...]:
        before = engine.calls
        found = advise(*arguments)
        spent.append(engine.calls - before)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advice, "advise", counted)
        decide(of, knowledge=world(engine))
    assert max(spent) <= 40
    assert engine.calls <= 100


@pytest.mark.parametrize("error", [0.0, 0.2])
def test_advice_keeps_clear_of_the_error_however_large(error: float) -> None:
    tables = world(PlainEngine(error=error), TABLE)
    of = on(H100, tensor=1)
    for alternative in decide(of, knowledge=tables).alternatives:
        after = decide(apply(of, alternative.changes), knowledge=tables)
        assert after.decision is Decision.ALLOW
