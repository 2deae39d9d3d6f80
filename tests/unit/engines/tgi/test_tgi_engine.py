"""TGI: its warm-up rule, its defaults by version, and its command line."""

from __future__ import annotations

import shlex
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from architectures import A100, H100, L4, LLAMA_8B, LLAMA_70B, dense
from plimsoll.engines.base import (
    NOTHING_ASKED,
    AskedSplit,
    EngineSettings,
    Estimate,
    Known,
    Parallelism,
    TermName,
    Workload,
)
from plimsoll.engines.tgi.engine import TGI
from plimsoll.engines.tgi.settings import TGIOptions
from plimsoll.units import GIB
from worded import notes_in, problems_in, worded

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

ENGINE = TGI()


def run(
    model: Architecture = LLAMA_8B,
    accelerator: Accelerator = H100,
    workload: Workload | None = None,
    tensor: int = 1,
    **settings: object,
) -> Estimate:
    """An estimate with little said."""
    said = EngineSettings(name="tgi", **settings)  # type: ignore[arg-type]
    return ENGINE.estimate(model, said, workload or Workload(), Parallelism(tensor), accelerator)


@pytest.mark.parametrize(
    ("version", "share"),
    [("2.4.0", "1"), ("3.0.1", "0.95"), ("3.2.3", "0.93"), ("3.3.7", "0.9"), ("", "0.9")],
)
def test_the_share_of_the_gpu_is_the_wiggle_room_of_the_version(version: str, share: str) -> None:
    e = run(version=version)
    assert e.utilization == Decimal(share)
    assert e.usable == int(e.physical * e.utilization)


def test_the_memory_fraction_and_the_wiggle_room_multiply() -> None:
    assert run(utilization=Decimal("0.5")).utilization == Decimal("0.45")


def test_before_3_0_the_wiggle_room_is_of_what_is_left() -> None:
    old = run(version="2.4.0", max_model_len=8192)
    new = run(version="3.3.7", max_model_len=8192)
    size = 8192 * 131072
    assert new.terms[TermName.KV_CACHE].bytes == size
    batch = old.max_num_batched_tokens * 131072
    assert old.terms[TermName.KV_CACHE].bytes == batch + -(-(size - batch) * 10 // 9)


def test_two_a100_hold_the_batch_that_tgi_2_4_printed() -> None:
    # https://github.com/huggingface/text-generation-inference/issues/2744: Llama 3.1 70B on two
    # A100 80GB, max_batch_prefill_tokens 10,049, max batch total tokens 30,816
    e = run(
        LLAMA_70B,
        A100,
        tensor=2,
        version="2.4.0",
        options=TGIOptions(max_input_tokens=9999),
        max_model_len=16384,
    )
    assert e.max_num_batched_tokens == 10049
    assert e.kv_tokens == pytest.approx(30816, rel=0.1)


def test_an_unsaid_context_becomes_what_fits() -> None:
    e = run(LLAMA_8B, L4)
    assert e.max_model_len == e.largest_max_model_len < LLAMA_8B.max_model_len
    assert e.required <= e.usable


def test_a_context_that_is_said_must_fit() -> None:
    e = run(LLAMA_8B, L4, max_model_len=131072)
    assert e.required_low > e.usable


def test_weights_beyond_the_gpu_are_refused_for_certain() -> None:
    e = run(LLAMA_70B, H100)
    assert e.required_low > e.usable


def test_prefill_tokens_follow_from_the_speed_of_the_gpu() -> None:
    # launcher/src/main.rs: 900e12 operations a second over those of a token
    token = 32 * (2 * 128 * 4096 * (3 * 32 + 2 * 8) + 6 * 4096 * 14336)
    assert run(version="3.3.7").max_num_batched_tokens == 900 * 10**12 // token
    assert run(version="2.4.0").max_num_batched_tokens == 4096 - 1 + 50
    assert run(version="2.4.0").max_model_len == 4096
    assert run(max_num_batched_tokens=1000).max_num_batched_tokens == 1000


def test_nothing_but_the_cache_is_said_to_be_exact() -> None:
    e = run()
    assert e.terms[TermName.KV_CACHE].known is Known.MODELLED
    assert e.terms[TermName.ACTIVATION].known is Known.ASSUMED
    assert any("maintenance mode" in note for note in notes_in(e))


def test_the_batch_is_no_larger_than_said() -> None:
    assert (
        run(options=TGIOptions(max_batch_total_tokens=5000), max_model_len=4096).kv_tokens == 5000
    )


def test_a_narrower_cache_never_needs_more() -> None:
    wide, narrow = (run(kv_cache_dtype=kv, max_model_len=4096) for kv in ("", "fp8_e4m3fn"))
    assert narrow.terms[TermName.KV_CACHE].bytes * 2 == wide.terms[TermName.KV_CACHE].bytes


def test_flags_fill_the_settings_and_read_back() -> None:
    args = tuple(
        shlex.split(
            "--num-shard=4 --max-total-tokens 8192 --max-batch-prefill-tokens=4096"
            " --quantize eetq --cuda-memory-fraction=0.8 --cuda-graphs 0"
            " --max-batch-total-tokens 100000 --trust-remote-code --speculate 2 --sharded true"
        )
    )
    found = ENGINE.read_arguments(args, EngineSettings(name="tgi"), NOTHING_ASKED)
    said = found.settings
    assert problems_in(found) == ()
    assert (found.split.tensor, said.max_model_len, said.max_num_batched_tokens) == (4, 8192, 4096)
    assert (said.quantization, said.utilization, said.enforce_eager) == (
        "eetq",
        Decimal("0.8"),
        True,
    )
    assert said.unread == ("--speculate 2",)
    e = ENGINE.estimate(LLAMA_8B, said, Workload(), Parallelism(4), H100)
    again = ENGINE.read_arguments(
        ENGINE.arguments(e, said), EngineSettings(name="tgi"), NOTHING_ASKED
    )
    assert again.settings == said
    assert again.split.tensor == 4


def test_not_sharded_on_several_gpus_is_a_contradiction() -> None:
    found = ENGINE.read_arguments(
        ("--sharded=false",), EngineSettings(name="tgi"), AskedSplit(tensor=2)
    )
    assert "2 GPUs are asked for" in str(problems_in(found)[0])


@pytest.mark.parametrize(
    ("settings", "split", "path"),
    [
        ({"version": "1.0"}, Parallelism(), "spec.engine.version"),
        ({}, Parallelism(pipeline=2), "spec.engine.parallelism.pipeline"),
        ({}, Parallelism(data=2), "spec.engine.parallelism.data"),
        ({"block_size": 16}, Parallelism(), "spec.engine.blockSize"),
        ({"kv_cache_memory": GIB}, Parallelism(), "spec.engine.kvCacheMemory"),
        (
            {"max_model_len": 100, "options": TGIOptions(max_input_tokens=100)},
            Parallelism(),
            "spec.engine.extraArgs",
        ),
        (
            {"max_model_len": 100, "options": TGIOptions(max_batch_total_tokens=99)},
            Parallelism(),
            "spec.engine.extraArgs",
        ),
        ({}, Parallelism(tensor=3), "spec.engine.parallelism.tensor"),
    ],
)
def test_what_the_engine_would_refuse_is_said_with_its_field(
    settings: dict[str, object], split: Parallelism, path: str
) -> None:
    said = EngineSettings(name="tgi", **settings)  # type: ignore[arg-type]
    assert [p.path for p in worded(ENGINE.problems(dense(), said, split, H100))] == [path]


def test_versions_have_digests_of_their_own() -> None:
    assert ENGINE.constants_digest("3.0.0") != ENGINE.constants_digest("3.3.7")
