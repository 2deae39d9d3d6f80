"""Rows of any shape: none raises, and nothing measured moves a prediction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_values import JSON
from made_rows import CONFIGS, KNOWN, MEASURED, scored
from plimsoll.measured import rows, score
from plimsoll.measured.gpus import named, possible
from plimsoll.measured.rows import TermId
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.measured.predict import Prediction


def ranges(one: score.Scored) -> dict[TermId, Prediction]:
    """What was predicted, without what was measured."""
    return {term: point.prediction for term, point in one.points.items()}


def test_a_row_with_every_input_has_every_term_and_a_verdict() -> None:
    one = scored()
    assert set(one.points) == set(TermId)
    assert one.left_out == {}
    assert one.verdict == "allow"


@pytest.mark.sweep
@given(st.data())
@settings(max_examples=60)
def test_nothing_measured_moves_a_prediction(data: st.DataObject) -> None:
    unknown = data.draw(st.sets(st.sampled_from(["max_num_seqs", "enforce_eager", "block_size"])))
    positive = st.floats(0.01, 500)
    other = {name: data.draw(positive) for name in MEASURED}
    start = dict.fromkeys(unknown)
    before, after = scored(**start), scored(**start, **other)
    given_gib = TermId.TOKENS_GIVEN_GIB
    assert {t: p for t, p in ranges(before).items() if t is not given_gib} == {
        t: p for t, p in ranges(after).items() if t is not given_gib
    }
    assert before.verdict == after.verdict


def test_the_page_arithmetic_alone_takes_the_measured_cache_as_its_one_input() -> None:
    term = TermId.TOKENS_GIVEN_GIB
    half, whole = scored(kv_cache_gib_per_gpu=29.05), scored()
    assert ranges(half)[term].low == pytest.approx(ranges(whole)[term].low / 2, rel=1e-4)


@pytest.mark.sweep
@given(st.dictionaries(st.sampled_from([*KNOWN, "other_args", "quantization"]), JSON))
@settings(max_examples=100)
def test_no_field_of_any_type_raises(changes: dict[str, object]) -> None:
    one = scored(**changes)
    json.dumps(score.as_dict([one]))


@pytest.mark.sweep
@given(JSON)
def test_no_json_value_as_a_row_raises(value: object) -> None:
    row = rows.row_of(value, "line 7")
    one = score.score_row(row, CONFIGS)
    assert one.verdict is None
    assert one.left_out


@given(st.text(max_size=200))
def test_no_line_raises(line: str) -> None:
    assert rows.row_of_line(line, 3).id


def test_a_line_that_is_not_json_is_left_out_by_its_number() -> None:
    row = rows.row_of_line('{"id": "x", ', 12)
    assert row.id == "line 12"
    assert score.score_row(row, CONFIGS).left_out == {"outcome": "the line is not JSON"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trust": "C-secondary-or-fixture"}, "trust C: second-hand or a fixture"),
        ({"trust": None}, "trust not stated"),
        ({"outcome": "contention"}, "contention: another process held the GPU"),
        ({"gpu": "NVIDIA GB10 (DGX Spark)"}, "unified memory"),
        ({"gpu": "Ascend 910B 64GB"}, "hardware without a memory model"),
        ({"engine": "mystery"}, "not modelled: engine mystery"),
        ({"engine_version": "Windows fork"}, "not the engine as released: fork"),
        ({"engine_version": "0.5.4"}, "version older than the engine's model"),
        ({"config_id": None}, "model: no config_id"),
        ({"config_id": "test/absent"}, "model: config_id is in no file of models"),
        ({"inferred_fields": ["model"]}, "model inferred"),
    ],
)
def test_a_row_that_cannot_be_compared_says_why(changes: dict[str, Any], reason: str) -> None:
    one = scored(**changes)
    assert one.points == {}
    assert set(one.left_out.values()) == {reason}


def test_an_engine_is_known_however_it_is_spelled() -> None:
    assert set(scored(engine="vLLM").points) == set(TermId)


def test_an_inferred_version_may_be_any() -> None:
    one = scored(inferred_fields=["engine_version"])
    known = scored()
    for term in one.points:
        found, exact = one.points[term].prediction, known.points[term].prediction
        assert found.low <= exact.low <= exact.high <= found.high
    assert TermId.WEIGHTS in one.points


def test_an_inferred_field_is_unknown() -> None:
    one = scored(inferred_fields=["gpu_memory_utilization"])
    assert one.left_out[TermId.KV_GIB] == "unknown: gpu_memory_utilization"
    assert TermId.WEIGHTS in one.points


def test_a_measured_value_that_was_inferred_is_not_scored() -> None:
    one = scored(inferred_fields=["non_torch_gib"])
    assert one.left_out == {TermId.NON_TORCH: "measured value inferred by the collector"}


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ("--attention-backend FLASHINFER", {TermId.WEIGHTS, TermId.TOKENS_GIVEN_GIB}),
        ("--moe-backend triton", {TermId.NON_TORCH, TermId.TOKENS_GIVEN_GIB}),
        (
            "--max-cudagraph-capture-size 64",
            {TermId.WEIGHTS, TermId.ACTIVATION, TermId.NON_TORCH, TermId.TOKENS_GIVEN_GIB},
        ),
    ],
)
def test_a_backend_that_is_not_read_drops_only_the_terms_that_it_touches(
    flags: str, kept: set[TermId]
) -> None:
    one = scored(other_args=flags)
    assert set(one.points) == kept
    assert {one.left_out[term] for term in set(TermId) - kept} == {
        f"not modelled: {flags.split()[0]}"
    }


def test_an_unknown_utilization_leaves_out_what_hangs_on_it_and_nothing_else() -> None:
    one = scored(gpu_memory_utilization=None)
    left = {TermId.KV_GIB, TermId.KV_TOKENS, TermId.CONCURRENCY}
    assert set(TermId) - set(one.points) == left
    assert {one.left_out[term] for term in left} == {"unknown: gpu_memory_utilization"}


def test_unknown_sequences_make_a_range_from_one_to_the_default() -> None:
    one = scored(max_num_seqs=None)
    found = one.points[TermId.ACTIVATION].prediction
    assert found.low == ranges(scored(max_num_seqs=1))[TermId.ACTIVATION].low
    assert found.high == ranges(scored())[TermId.ACTIVATION].high


def test_a_range_that_says_too_little_is_not_scored() -> None:
    one = scored(max_num_seqs=None, max_num_batched_tokens=None, engine_version="0.11.0")
    why = "range too wide: max_num_batched_tokens, max_num_seqs unknown"
    assert one.left_out[TermId.ACTIVATION] == why


def test_the_engines_own_line_of_arguments_makes_the_rest_defaults() -> None:
    changes: dict[str, Any] = dict.fromkeys(
        (
            "max_num_seqs",
            "max_num_batched_tokens",
            "enforce_eager",
            "block_size",
            "gpu_memory_utilization",
            "kv_cache_dtype",
            "data_parallel",
            "pipeline_parallel",
        )
    )
    said = "{'model': 'test/llama-8b', 'max_model_len': 8192, 'gpu_memory_utilization': 0.95}"
    assert ranges(scored(**changes, other_args=said)) == ranges(scored())


def test_a_feature_that_is_not_modelled_is_named() -> None:
    one = scored(other_args="MTP 3 tokens")
    assert set(one.left_out.values()) == {"not modelled: --speculative-config"}
    assert one.had(TermId.KV_GIB)


def test_weights_of_a_format_that_says_too_little_are_left_out_but_the_pages_are_not() -> None:
    one = scored(weights_format="gguf")
    assert "gguf" in one.left_out[TermId.WEIGHTS]
    assert TermId.TOKENS_GIVEN_GIB in one.points


def test_four_bit_weights_of_an_unnamed_kind_are_a_range_over_the_kinds() -> None:
    one = scored(weights_format="w4a16", quantization=None)
    found = one.points[TermId.WEIGHTS].prediction
    assert found.low < found.high < found.low * 1.02


def test_more_gpus_than_tensor_parallel_may_be_stages_or_copies() -> None:
    open_ = scored(num_gpus=2, pipeline_parallel=None, data_parallel=None)
    assert open_.left_out[TermId.WEIGHTS] == "range too wide: parallelism unknown"


def test_expert_parallel_is_open_only_if_there_are_experts() -> None:
    split = {"num_gpus": 2, "tensor_parallel": 2, "config_id": "test/mixtral"}
    one = scored(**split, expert_parallel=None)
    found = one.points[TermId.WEIGHTS].prediction
    both = [scored(**split, expert_parallel=e).points[TermId.WEIGHTS] for e in (False, True)]
    assert found.low == min(p.prediction.low for p in both)
    assert found.high == max(p.prediction.high for p in both)


def test_a_start_up_that_cannot_fit_is_refused_by_decide() -> None:
    assert scored(outcome="oom", gpu="NVIDIA L4", gpu_total_gib=15.0).verdict == "deny"


def test_a_verdict_that_hangs_on_an_unknown_length_is_not_given() -> None:
    one = scored(gpu="NVIDIA L4", gpu_total_gib=22.06, max_model_len=None)
    assert one.verdict is None
    assert one.left_out["outcome"] == "unknown: max_model_len"


def test_a_share_that_the_engine_would_not_take_is_not_held_against_a_row() -> None:
    known = {"gpu": "NVIDIA L4", "gpu_total_gib": 22.06, "max_num_seqs": 1}
    assert scored(**known).verdict == "allow"
    one = scored(**known, gpu_memory_utilization=None)
    assert one.verdict is None
    assert one.left_out["outcome"] == "unknown: gpu_memory_utilization"


def test_a_verdict_that_hangs_on_unknown_sequences_is_a_warning() -> None:
    known = {"gpu": "NVIDIA A10", "engine_version": "0.19.0", "max_num_batched_tokens": 2048}
    seen = set()
    for tenths in range(165, 236, 2):
        here = known | {"gpu_total_gib": tenths / 10, "gpu_memory_utilization": 0.9}
        verdicts = tuple(scored(**here, max_num_seqs=n).verdict for n in (1, 256))
        open_ = scored(**here, max_num_seqs=None).verdict
        assert open_ == (verdicts[0] if len(set(verdicts)) == 1 else "warn")
        seen.add(open_)
    assert seen == {"allow", "warn", "deny"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb"),
        ("NVIDIA H100 NVL 94GB", "nvidia-h100-nvl"),
        ("Tesla V100 16GB (15.77 GiB)", "nvidia-v100-16gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "nvidia-rtx-pro-6000"),
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100-80gb"),
        ("AMD Instinct MI300X", "amd-mi300x"),
    ],
)
def test_a_gpu_is_found_by_the_names_people_write(text: str, name: str) -> None:
    found = named(text)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("text", ["24GB class", "NVIDIA A10/L4 class", "NVIDIA H200 (inferred)"])
def test_a_size_class_names_no_gpu(text: str) -> None:
    assert named(text) is None


def test_of_a_gpu_that_is_not_named_every_kind_of_that_memory_is_tried() -> None:
    kinds = {a.family for a in possible("", round(79.2 * GIB))}
    assert kinds == {"ampere", "hopper"}
    assert {a.memory for a in possible("", round(79.2 * GIB))} == {round(79.2 * GIB)}
