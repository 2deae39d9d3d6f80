"""Claims about `calibrate`: what is kept of measured start-ups, and what it makes of ranges."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import made_rows
from commands import as_json, run
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision
from plimsoll.engines.assemble import Engine
from plimsoll.engines.base import EngineSettings, Known, Parallelism, TermName, Workload
from plimsoll.engines.calibrated import Calibrated, likeness
from plimsoll.errors import Unreadable
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.measured import rows
from plimsoll.measured.calibration import kept_of
from plimsoll.measured.models import Configs
from plimsoll.models import catalogue
from plimsoll.start_ups import TERMS, Calibration, Kept, read, read_what_can_be, written
from plimsoll.units import GIB
from plimsoll.workloads import llmdeployment
from plimsoll.workloads.roles import NothingBeside
from plimsoll_operator.cluster import own

if TYPE_CHECKING:
    from pathlib import Path

    from plimsoll.engines.base import Estimate

from plimsoll.accelerators import catalogue as accelerators
from plimsoll.engines import registry

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def kept(**changes: Any) -> Kept | str:
    entry = catalogue.load().find(MODEL)
    assert entry is not None
    configs = Configs(made={MODEL: entry.architecture})
    row = {**made_rows.KNOWN, "config_id": MODEL, "model": MODEL, **changes}
    return kept_of(rows.row_of(row, "r"), configs)


def calibrated(
    *found: Kept | str, version: str = "0.19.0", gpu: str = "nvidia-h100-80gb"
) -> Estimate:
    entry, accelerator = catalogue.load().find(MODEL), accelerators.find(gpu)
    assert entry is not None
    assert accelerator is not None
    calibration = Calibration(tuple(one for one in found if isinstance(one, Kept)))
    engine = Calibrated(registry.engine("vllm"), calibration)
    return engine.estimate(
        entry.architecture,
        EngineSettings(version=version, max_model_len=8192),
        Workload(),
        Parallelism(),
        accelerator,
    )


def test_a_start_up_like_one_that_is_kept_has_narrower_ranges_and_the_same_estimate() -> None:
    one = kept(activation_peak_gib=1.95)
    assert isinstance(one, Kept)
    plain, narrow = calibrated(), calibrated(one)
    before, after = plain.terms[TermName.ACTIVATION], narrow.terms[TermName.ACTIVATION]
    assert after.bytes == before.bytes
    assert after.high - after.low < before.high - before.low
    assert after.low <= 1.95 * GIB <= after.high
    assert narrow.kv_tokens == plain.kv_tokens


def test_more_start_ups_narrow_more_and_the_note_says_how_many() -> None:
    new = {"engine_version": "0.33.0", "gpu_memory_utilization": 0.9}
    some = [kept(id=f"r{i}", activation_peak_gib=1.8, **new) for i in range(5)]
    one, five = calibrated(*some[:1], version="0.33"), calibrated(*some, version="0.33")
    first, last = one.terms[TermName.ACTIVATION], five.terms[TermName.ACTIVATION]
    assert last.high - last.low < first.high - first.low
    facts = [dict(note.facts) for note in five.notes]
    assert any(fact.get("count") == 5 and "activation" in str(fact["terms"]) for fact in facts)


def test_a_start_up_that_measured_more_than_we_say_widens_the_range() -> None:
    found = calibrated(kept(activation_peak_gib=4.0)).terms[TermName.ACTIVATION]
    assert found.low <= found.bytes < 4.0 * GIB <= found.high


@pytest.mark.parametrize(
    "other", [{"version": "0.20.0"}, {"gpu": "nvidia-l4"}], ids=["release", "GPU"]
)
def test_another_release_or_gpu_is_not_alike(other: dict[str, str]) -> None:
    assert calibrated(kept(), **other).terms == calibrated(**other).terms


def test_what_is_assumed_is_modelled_once_it_was_measured() -> None:
    found = calibrated(kept(cuda_graph_estimate_gib=0.9))
    assert found.terms[TermName.ACTIVATION].known is not Known.ASSUMED


def test_what_cannot_be_kept_says_why() -> None:
    assert kept(engine_version="") == "unknown: version"
    assert kept(config_id=None) == "model: no config_id"
    nothing = dict.fromkeys(made_rows.MEASURED)
    assert "nothing" in str(kept(**nothing))


def test_a_file_reads_back_as_it_was_written() -> None:
    one = kept()
    assert isinstance(one, Kept)
    calibration = Calibration((one,))
    assert read(written(calibration)) == calibration
    again = calibration.with_more([one])
    assert again.kept == (one,)
    assert again.digest == calibration.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"calibration": 2, "start_ups": []}',
        '{"calibration": 1, "start_ups": [1]}',
        '{"calibration": 1, "start_ups": [{"id": "a"}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_file_of_ours_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="calibrate"):
        read(text)


def test_of_a_text_with_bad_start_ups_the_good_ones_are_believed_and_the_others_said() -> None:
    good = kept()
    assert isinstance(good, Kept)
    data = json.loads(written(Calibration((good,))))
    (entry,) = data["start_ups"]
    bad: list[dict[str, Any]] = [
        {"off_gib": {"activation": 65.0}},
        {"off_gib": {"activation": float("nan")}},
        {"off_gib": {"activation": "1"}},
        {"off_gib": {"kvCache": -10.0}},
        {"off_gib": [1]},
        {"split": [1, 1, 1]},
        {"split": [1, 1, 1, 10**30]},
        {"gpu": "x" * 10_000},
        {"structure": None},
    ]
    data["start_ups"] = [entry, *({**entry, "id": str(n), **one} for n, one in enumerate(bad))]
    found, problems = read_what_can_be(json.dumps(data))
    assert found.kept == (good,)
    assert problems[0].startswith("start-up 2: ValueError: no figure between -64 and 64 GiB")
    assert problems[-1] == "and 4 more"
    assert all(len(problem) < 200 for problem in problems)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"calibration": 1, "start_ups": {}}', "[" * 9999]
)
def test_of_what_is_no_such_text_nothing_is_believed(text: str) -> None:
    found, problems = read_what_can_be(text)
    assert found.kept == ()
    assert "it is not a file that `plimsoll calibrate` writes" in problems[0]


def test_what_an_older_release_kept_of_weights_is_passed_over() -> None:
    one = kept()
    assert isinstance(one, Kept)
    data = json.loads(written(Calibration((one,))))
    data["start_ups"][0]["off_gib"]["weights"] = -10.0
    assert read(json.dumps(data)).kept == (one,)


def test_the_terms_that_may_be_touched_are_those_that_only_a_gpu_tells() -> None:
    only_a_gpu = {TermName.ACTIVATION, TermName.NON_TORCH, TermName.CUDA_GRAPHS}
    assert {TermName(name) for name in TERMS} == only_a_gpu


def lies(model: str, gpu: str, off: float) -> Calibration:
    """Start-ups of a model on one GPU of which somebody says that every term was so far off."""
    entry, accelerator = catalogue.load().find(model), accelerators.find(gpu)
    assert entry is not None
    assert accelerator is not None
    settings = EngineSettings(version="0.19.0")
    like = likeness("vllm", "0.19.0", entry.architecture, settings, Parallelism(), accelerator)
    everything = tuple((name, off) for name in (*TERMS, "weights", "kvCache"))
    return Calibration(tuple(Kept(str(n), like, everything) for n in range(9)))


@pytest.mark.parametrize("off", [-63.9, -2.0, 0.0, 63.9])
@pytest.mark.parametrize(
    ("model", "gpu", "by_weights"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "nvidia-h100-80gb", True),
        ("Qwen/Qwen2.5-14B-Instruct", "nvidia-l4", True),
        ("Qwen/Qwen2.5-7B-Instruct", "nvidia-l4", False),
        ("meta-llama/Llama-3.1-8B-Instruct", "nvidia-l4", False),
    ],
)
def test_no_lie_that_is_kept_makes_what_certainly_does_not_fit_fit(
    model: str, gpu: str, by_weights: bool, off: float
) -> None:
    manifest = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "a"},
        "spec": {
            "model": {"uri": f"hf://{model}"},
            "engine": {"version": "0.19.0", "maxModelLen": 32768},
            "accelerator": {"allowed": [gpu], "gpusPerReplica": 1},
            "workload": {"concurrentSequences": 1 if by_weights else 8},
        },
    }
    asked = llmdeployment.request(manifest, NothingBeside())
    plain = decide(asked)
    told = decide(asked, replace(NO_INVENTORY, calibration=lies(model, gpu, off)))
    assert plain.decision is Decision.DENY
    assert told.decision in ({Decision.DENY} if by_weights else {Decision.DENY, Decision.WARN})
    assert told.request_hash != plain.request_hash
    assert plain.estimate is not None
    assert told.estimate is not None
    for before, after in zip(plain.estimate.terms, told.estimate.terms, strict=True):
        assert after.bytes == before.bytes
        if before.name not in TERMS:
            assert (after.low, after.high) == (before.low, before.high)


def test_the_command_prints_the_config_map_that_the_operator_reads(tmp_path: Path) -> None:
    file, to = tmp_path / "rows.jsonl", tmp_path / "calibration.json"
    row = {**made_rows.KNOWN, "config_id": MODEL, "model": MODEL, "activation_peak_gib": 1.95}
    file.write_text(json.dumps(row))
    said = run("calibrate", file, "--to", to, "-o", "configmap")
    config_map = yaml.safe_load(said.stdout)
    named = (config_map["kind"], config_map["metadata"]["name"])
    assert named == ("ConfigMap", "plimsoll-calibration")
    assert config_map["data"] == {"calibration.json": to.read_text()}
    again = run("calibrate", "--to", to, "-o", "configmap", "--name", "ours")
    assert yaml.safe_load(again.stdout)["data"] == config_map["data"]
    assert own.calibration(config_map) == read(to.read_text())
    assert run("calibrate").exit_code == 2


def test_another_calibration_is_another_decision() -> None:
    engine = registry.engine("vllm")
    one = kept()
    assert isinstance(one, Kept)
    with_one = Calibrated(engine, Calibration((one,))).constants_digest("")
    assert with_one != Calibrated(engine, Calibration()).constants_digest("")
    assert len(with_one) == 12


def test_the_command_keeps_rows_and_estimate_and_check_narrow_by_them(tmp_path: Path) -> None:
    file, to = tmp_path / "rows.jsonl", tmp_path / "calibration.json"
    row = {**made_rows.KNOWN, "config_id": MODEL, "model": MODEL, "activation_peak_gib": 1.95}
    file.write_text(json.dumps(row) + "\nnot a row\n")
    result = run("calibrate", file, "--to", to)
    assert result.exit_code == 0
    assert "1 of 2 start-ups kept, 1 in all" in result.stderr
    assert "line 2: not kept: the line is not JSON" in result.stderr
    said = ("estimate", MODEL, "--gpu", "h100-80gb", "--engine-version", "0.19.0")
    plain, narrow = run(*said), run(*said, "--calibration", to)
    assert "note: the ranges of activation" not in plain.stdout
    assert "note: the ranges of activation" in narrow.stdout
    assert "are narrowed by what start-ups of yours like this one measured (1)" in narrow.stdout
    manifest = tmp_path / "it.yaml"
    manifest.write_text(
        "apiVersion: plimsoll.dev/v1alpha1\nkind: LLMDeployment\nmetadata: {name: a}\n"
        f"spec: {{model: {{uri: 'hf://{MODEL}'}}, engine: {{version: 0.19.0}}, "
        "accelerator: {allowed: [nvidia-h100-80gb]}}\n"
    )
    hashes = [
        json.loads(run("check", manifest, *more, "-o", "json").stdout)["results"][0]["requestHash"]
        for more in ((), ("--calibration", to))
    ]
    assert hashes[0] != hashes[1]


def test_a_calibration_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    result = run("estimate", MODEL, "--calibration", tmp_path / "none.json")
    assert result.exit_code == 2
    assert "none.json" in result.stderr


@pytest.mark.parametrize("name", registry.NAMES)
def test_a_calibrated_engine_does_all_that_the_engine_does_in_its_own_way(name: str) -> None:
    own = {
        method
        for kind in type(registry.engine(name)).__mro__
        if kind is not Engine and issubclass(kind, Engine)
        for method in vars(kind)
        if callable(getattr(Engine, method, None)) and not method.startswith("_")
    }
    assert "estimate" in own
    assert own <= set(vars(Calibrated))


def test_an_engine_that_shortens_a_context_still_does_so_when_it_is_calibrated(
    tmp_path: Path,
) -> None:
    model = ("Qwen/Qwen3-8B", "--engine", "sglang", "--gpu", "nvidia-rtx-4090", "--gpus", "1")
    plain = as_json("estimate", *model)
    file = tmp_path / "kept.json"
    file.write_text(written(Calibration()), encoding="utf-8")
    assert plain["reason"] == "ShorterContext"
    assert as_json("estimate", *model, "--calibration", str(file))["reason"] == "ShorterContext"
