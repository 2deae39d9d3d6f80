"""Properties of vLLM's memory model that hold for every model of the catalogue.

Asking for more never needs less, spreading over more GPUs never puts more weights on one, and no
byte is lost where bytes become MiB or GiB.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plimsoll.accelerators.types import Accelerator
from plimsoll.engines.base import EngineSettings, Estimate, Parallelism, TermName, Workload
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.engines.registry import engine
from plimsoll.models import catalogue
from plimsoll.units import GIB, MIB, ceil_mib, floor_mib, gib_down, gib_up, parse_memory

if TYPE_CHECKING:
    from plimsoll.models.catalogue import Entry

pytestmark = pytest.mark.sweep
VLLM = engine("vllm")
ENTRIES = tuple(catalogue.load())
H200 = Accelerator("h200", "H200", 143771 * MIB, "nvidia.com/gpu", "hopper", (9, 0), 8)

ONE_GPU = Parallelism()
ONE_REQUEST = Workload()
entries = st.sampled_from(ENTRIES)
versions = st.sampled_from(["0.8.5", "0.9.2", "0.11.0", "0.19.0", "0.21.0", "0.25.1", "0.33.0"])
lengths = st.integers(1, 131072)
sequences = st.sampled_from([None, 1, 7, 64, 256, 1024])
batches = st.sampled_from([None, 2048, 8192])
two = st.tuples


@st.composite
def settings(draw: st.DrawFn) -> EngineSettings:
    """A start-up with some things said and others not."""
    return EngineSettings(
        version=draw(versions),
        max_model_len=draw(lengths),
        max_num_seqs=draw(sequences),
        max_num_batched_tokens=draw(batches),
        kv_cache_dtype=draw(st.sampled_from(["", "auto", "fp8"])),
        enforce_eager=draw(st.sampled_from([None, True, False])),
        utilization=draw(st.sampled_from([None, Decimal("0.5"), Decimal("0.92")])),
    )


def fitted(entry: Entry, said: EngineSettings) -> EngineSettings:
    """The same within the longest context of a model."""
    length = min(said.max_model_len or 1, entry.architecture.max_model_len)
    return replace(said, max_model_len=length)


def estimate(
    entry: Entry,
    said: EngineSettings,
    split: Parallelism = ONE_GPU,
    workload: Workload = ONE_REQUEST,
    accelerator: Accelerator = H200,
) -> Estimate:
    """What one start-up needs; a start-up that the engine refuses is no example."""
    own = entry.architecture
    assume(not VLLM.problems(own, said, split, accelerator))
    return VLLM.estimate(own, said, workload, split, accelerator)


def sizes(entry: Entry) -> tuple[int, ...]:
    """The tensor-parallel sizes that a model can have."""
    return VLLM.tensor_parallel_sizes(entry.architecture, 64)


@given(entries, settings(), two(lengths, lengths))
def test_more_context_never_needs_less(
    entry: Entry, said: EngineSettings, both: tuple[int, int]
) -> None:
    short, long = sorted(both)
    one = estimate(entry, fitted(entry, replace(said, max_model_len=short)))
    other = estimate(entry, fitted(entry, replace(said, max_model_len=long)))
    # From 32,769 tokens on, the first engine cuts prompts, into smaller batches than it had before.
    assume(one.max_num_batched_tokens <= other.max_num_batched_tokens)
    assert one.required <= other.required
    assert one.terms[TermName.KV_CACHE].bytes <= other.terms[TermName.KV_CACHE].bytes
    assert one.kv_capacity >= other.kv_capacity


@given(entries, settings(), two(st.integers(1, 2048), st.integers(1, 2048)), lengths)
def test_more_sequences_to_be_held_never_need_less(
    entry: Entry, said: EngineSettings, both: tuple[int, int], tokens: int
) -> None:
    few, many = sorted(both)
    said = fitted(entry, said)
    needs = [
        estimate(entry, said, workload=Workload(n, tokens, tokens)).required for n in (few, many)
    ]
    assert needs[0] <= needs[1]


@given(entries, settings(), two(st.integers(1, 2048), st.integers(1, 2048)))
def test_more_sequences_in_a_batch_never_need_less(
    entry: Entry, said: EngineSettings, both: tuple[int, int]
) -> None:
    few, many = (
        estimate(entry, replace(fitted(entry, said), max_num_seqs=n)) for n in sorted(both)
    )
    assert few.required <= many.required
    assert few.kv_capacity >= many.kv_capacity


@given(entries, settings(), two(st.integers(256, 65536), st.integers(256, 65536)))
def test_more_tokens_in_a_batch_never_need_less(
    entry: Entry, said: EngineSettings, both: tuple[int, int]
) -> None:
    few, many = (
        estimate(entry, replace(fitted(entry, said), max_num_batched_tokens=n))
        for n in sorted(both)
    )
    assert few.required <= many.required


@given(entries, settings(), st.sampled_from(["fp8", "fp8_e4m3", "fp8_e5m2"]))
def test_a_wider_cache_never_needs_less(entry: Entry, said: EngineSettings, narrow: str) -> None:
    said = fitted(entry, said)
    one = estimate(entry, replace(said, kv_cache_dtype=narrow))
    other = estimate(entry, replace(said, kv_cache_dtype="bfloat16"))
    assert one.required <= other.required
    assert one.terms[TermName.KV_CACHE].bytes <= other.terms[TermName.KV_CACHE].bytes


@given(entries, settings())
def test_wider_weights_never_need_less(entry: Entry, said: EngineSettings) -> None:
    said = fitted(entry, said)
    one = estimate(entry, replace(said, dtype="bfloat16"))
    other = estimate(entry, replace(said, dtype="float32"))
    assert one.terms[TermName.WEIGHTS].bytes <= other.terms[TermName.WEIGHTS].bytes
    assert one.required <= other.required


@given(entries, settings(), st.sampled_from(["fp8", "bitsandbytes"]))
def test_weights_narrowed_at_load_never_take_more(
    entry: Entry, said: EngineSettings, narrow: str
) -> None:
    assume(entry.architecture.quantization is None)
    said = fitted(entry, said)
    one = estimate(entry, replace(said, quantization=narrow))
    other = estimate(entry, said)
    assert one.terms[TermName.WEIGHTS].bytes <= other.terms[TermName.WEIGHTS].bytes


@given(entries, settings(), st.data())
def test_more_tensor_parallelism_never_puts_more_weights_on_a_gpu(
    entry: Entry, said: EngineSettings, data: st.DataObject
) -> None:
    said = fitted(entry, said)
    few, many = sorted(data.draw(two(*[st.sampled_from(sizes(entry))] * 2)))
    one, other = (estimate(entry, said, Parallelism(n)) for n in (few, many))
    assert one.terms[TermName.WEIGHTS].bytes >= other.terms[TermName.WEIGHTS].bytes
    assert one.terms[TermName.KV_CACHE].bytes >= other.terms[TermName.KV_CACHE].bytes


@given(entries, settings(), two(st.integers(1, 500), st.integers(1, 500)))
def test_more_memory_never_holds_fewer_tokens(
    entry: Entry, said: EngineSettings, both: tuple[int, int]
) -> None:
    said = fitted(entry, said)
    said = replace(said, max_num_seqs=64, max_num_batched_tokens=2048)
    small, large = (
        estimate(entry, said, accelerator=replace(H200, name="made-up", memory=gib * GIB))
        for gib in sorted(both)
    )
    assert small.usable <= large.usable
    assert small.kv_tokens <= large.kv_tokens
    assert small.required == large.required


@given(entries, settings(), st.data())
def test_the_sums_are_of_their_terms_and_usable_is_rounded_down(
    entry: Entry, said: EngineSettings, data: st.DataObject
) -> None:
    split = Parallelism(data.draw(st.sampled_from(sizes(entry))))
    found = estimate(entry, fitted(entry, said), split)
    assert all(isinstance(t.bytes, int) and 0 <= t.low <= t.bytes <= t.high for t in found.terms)
    assert found.required == sum(t.bytes for t in found.terms)
    assert found.required_low <= found.required <= found.required_high
    assert found.spare + found.required == found.usable
    others = found.required - found.terms[TermName.KV_CACHE].bytes
    assert found.kv_capacity + others == found.usable
    share = Fraction(found.utilization) * found.physical
    assert found.physical == visible_memory(H200)
    assert found.usable <= share


@given(st.integers(0, 1 << 55))
def test_a_need_is_rounded_up_and_a_possession_down_by_less_than_one_unit(size: int) -> None:
    assert 0 <= parse_memory(ceil_mib(size)) - size < MIB
    assert 0 <= size - parse_memory(floor_mib(size)) < MIB
    tenth = GIB / 10
    up, down = (float(text(size).split()[0]) * GIB for text in (gib_up, gib_down))
    slack = 1e-9 * size + 1
    assert -slack <= up - size <= tenth + slack
    assert -slack <= size - down <= tenth + slack


@given(st.integers(0, 1 << 40))
def test_whole_mebibytes_lose_nothing(count: int) -> None:
    assert parse_memory(f"{count}Mi") == count * MIB
    assert ceil_mib(count * MIB) == floor_mib(count * MIB) == f"{count}Mi"
