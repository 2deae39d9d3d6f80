"""Claims about `--policy FILE`: a pipeline holds manifests to the policies of a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from commands import as_json, run
from sizing import deployment, llmd, policy_object

if TYPE_CHECKING:
    from pathlib import Path

L40S = {"allowed": ["nvidia-l40s"], "gpusPerReplica": 2}


def written(folder: Path, name: str, *objects: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    return path


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    one_gpu = policy_object(
        "one-gpu",
        namespaceSelector={"matchLabels": {"tier": "small"}},
        mode="warn",
        maxGPUsPerReplica=1,
    )
    return written(tmp_path, "policy.yaml", one_gpu)


def test_a_policy_in_a_file_decides_with_its_mode_and_its_bounds(
    tmp_path: Path, policy: Path
) -> None:
    manifest = written(tmp_path, "m.yaml", llmd(accelerator=L40S), namespace("team", tier="small"))
    result = run("check", manifest, "--policy", policy)
    assert result.exit_code == 0, result.output
    assert "does not fit (warn)" in result.stdout
    assert "SizingPolicy one-gpu allows at most 1 GPU a replica, and this is 2" in result.stdout
    (found,) = as_json("check", manifest, "--policy", policy)["results"]
    assert found["rules"] == ["PL563"]


def test_a_namespace_that_it_does_not_select_is_left_alone(tmp_path: Path, policy: Path) -> None:
    manifest = written(tmp_path, "m.yaml", llmd(accelerator=L40S), namespace("team", tier="large"))
    assert "fits" in run("check", manifest, "--policy", policy).stdout.splitlines()[1]


def test_a_namespace_that_is_not_at_hand_is_taken_to_be_selected(
    tmp_path: Path, policy: Path
) -> None:
    manifest = written(tmp_path, "m.yaml", llmd(accelerator=L40S))
    assert "one-gpu" in run("check", manifest, "--policy", policy).stdout


def test_the_label_of_a_namespace_says_the_mode_and_the_policy_bounds(
    tmp_path: Path, policy: Path
) -> None:
    labelled = namespace("team", tier="small", **{"plimsoll.dev/policy": "enforce"})
    manifest = written(tmp_path, "m.yaml", llmd(accelerator=L40S), labelled)
    assert run("check", manifest, "--policy", policy).exit_code == 1


def test_other_kinds_are_held_to_it_and_fix_report_audit_and_diff_too(
    tmp_path: Path, policy: Path
) -> None:
    manifest = written(tmp_path, "m.yaml", deployment(gpus=2))
    said = "SizingPolicy one-gpu allows at most 1 GPU a replica, and this is 2"
    assert said in run("check", manifest, "--policy", policy).stdout
    page = tmp_path / "page.html"
    assert run("report", manifest, "--policy", policy, "--to", page).exit_code == 0
    assert said in page.read_text(encoding="utf-8")
    listing = tmp_path / "listing.json"
    listing.write_text(json.dumps({"kind": "List", "items": [deployment(gpus=2)]}), "utf-8")
    assert said in run("audit", "--from", listing, "--policy", policy).stdout
    one_gpu = written(tmp_path, "before.yaml", deployment(gpus=1))
    changed = run("diff", one_gpu, manifest, "--policy", policy)
    assert changed.exit_code == 1
    assert said in changed.stdout


def test_a_mode_and_files_may_be_given_together(tmp_path: Path) -> None:
    bound = written(tmp_path, "policy.yaml", policy_object(maxGPUsPerReplica=1))
    manifest = written(tmp_path, "m.yaml", llmd(accelerator=L40S))
    assert run("check", manifest, "--policy", bound).exit_code == 1
    assert run("check", manifest, "--policy", bound, "--policy", "audit").exit_code == 0
    twice = run("check", manifest, "--policy", "warn", "--policy", "audit")
    assert twice.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Pod\n", "a file with a SizingPolicy in it"),
        ("kind: SizingPolicy\nmetadata: {name: p}\nspec: {mode: hard}\n", "p: spec.mode"),
        ("a: [", "policy.yaml:2"),
    ],
)
def test_a_file_that_holds_no_policy_ends_the_check_with_2(
    tmp_path: Path, text: str, said: str
) -> None:
    bad = tmp_path / "policy.yaml"
    bad.write_text(text, encoding="utf-8")
    manifest = written(tmp_path, "m.yaml", llmd())
    result = run("check", manifest, "--policy", bad)
    assert result.exit_code == 2
    assert said in result.output


def test_a_policy_and_a_pool_among_the_manifests_are_no_error(tmp_path: Path) -> None:
    pool = {**policy_object("pool"), "kind": "AcceleratorPool"}
    tree = written(tmp_path, "m.yaml", llmd(accelerator=L40S), policy_object("one"), pool)
    result = run("check", tree)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    other = {**policy_object("one"), "kind": "SizingPolicies"}
    assert run("check", written(tmp_path, "o.yaml", other)).exit_code == 2
