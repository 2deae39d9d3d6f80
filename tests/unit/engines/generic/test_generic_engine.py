"""An engine that is not known: never certain of anything but the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from architectures import (
    A100,
    H100,
    L4,
    LLAMA_8B,
    LLAMA_70B,
    MODELS,
    T4,
)
from plimsoll.engines.base import (
    AskedSplit,
    EngineSettings,
    Estimate,
    Known,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.engines.generic.engine import Generic
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.findings import Rule
from worded import notes_in, worded

if TYPE_CHECKING:
    from decimal import Decimal

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

ENGINE = Generic()


def run(
    model: Architecture = LLAMA_8B,
    accelerator: Accelerator = H100,
    workload: Workload | None = None,
    split: Parallelism | None = None,
    **settings: object,
) -> Estimate:
    """An estimate with little said."""
    said = EngineSettings(name="generic", **settings)  # type: ignore[arg-type]
    return ENGINE.estimate(model, said, workload or Workload(), split or Parallelism(), accelerator)


def test_only_weights_beyond_all_of_the_memory_are_a_certain_misfit() -> None:
    assert run(LLAMA_70B, H100).required_low > run(LLAMA_70B, H100).usable
    nearly = run(LLAMA_8B, T4)  # 15.0 GiB of weights on 14.6 GiB that a process sees
    assert nearly.required > nearly.usable


@given(
    st.sampled_from(sorted(MODELS)),
    st.sampled_from([H100, A100, L4, T4]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2]),
    st.one_of(st.none(), st.integers(1, 10**7)),
    st.one_of(st.none(), st.decimals("0.01", 1, places=2)),
    st.one_of(st.none(), st.integers(1, 10**5)),
)
def test_it_never_denies_if_the_weights_alone_would_go_in(
    model: str,
    accelerator: Accelerator,
    tensor: int,
    pipeline: int,
    length: int | None,
    share: Decimal | None,
    concurrent: int | None,
) -> None:
    e = run(
        MODELS[model],
        accelerator,
        Workload(concurrent),
        Parallelism(tensor, pipeline),
        max_model_len=length,
        utilization=share,
    )
    assert e.required_low <= e.required <= e.required_high
    assert all(0 <= t.low <= t.bytes <= t.high for t in e.terms)
    if e.terms[TermName.WEIGHTS].bytes <= e.physical:
        assert e.required_low <= e.usable


def test_every_term_but_the_weights_is_assumed() -> None:
    e = run()
    assert {t.known for t in e.terms if t.name is not TermName.WEIGHTS} == {Known.ASSUMED}
    assert e.terms[TermName.WEIGHTS].known is Known.MODELLED
    assert any("not known here" in note for note in notes_in(e))


def test_weights_are_those_that_vllm_would_hold() -> None:
    split = Parallelism(tensor=4)
    theirs = VLLM().estimate(LLAMA_70B, EngineSettings(), Workload(), split, H100)
    assert (
        run(LLAMA_70B, split=split).terms[TermName.WEIGHTS].bytes
        == theirs.terms[TermName.WEIGHTS].bytes
    )


def test_flags_that_sound_of_memory_are_named_and_all_are_passed_on() -> None:
    args = ("--model", "x", "--kv-cache-type=q8", "--name", "a b", "--list", "1", "2", "-v")
    found = ENGINE.read_arguments(args, EngineSettings(name="generic"), AskedSplit(tensor=2))
    assert found.settings.unread == ("--kv-cache-type=q8",)
    assert found.split.tensor == 2
    e = run()
    written = ENGINE.arguments(e, found.settings)
    assert sorted(written) == sorted(args)


def test_mig_slices_do_not_work_together() -> None:
    from dataclasses import replace

    slice_ = replace(A100, mig_of="nvidia-a100-80gb", mig_profile="1g.10gb")
    found = worded(ENGINE.problems(LLAMA_8B, EngineSettings(), Parallelism(tensor=2), slice_))
    assert "MIG slices cannot work together" in str(found[0])


def test_more_stages_than_layers_are_refused() -> None:
    found = worded(ENGINE.problems(LLAMA_8B, EngineSettings(), Parallelism(pipeline=33), None))
    assert "at most 32" in str(found[0])


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("nonsense", False),
        ("fp9x", True),
        ("q4_k_m", True),
        ("AWQ", True),
        ("int8", True),
        ("", True),
    ],
)
def test_a_quantization_that_no_engine_has_makes_a_start_doubtful(
    word: str, *, known: bool
) -> None:
    settings = EngineSettings(name="generic", quantization=word)
    found = Generic().estimate(LLAMA_8B, settings, Workload(), Parallelism(), H100)
    said = {one.rule for one in found.notes}
    assert (Rule.QUANTIZATION_NOBODY_KNOWS in said) is not known
