"""Claims about what Flux, Helm and Argo CD read in the status of an LLMDeployment.

Asked are kstatus itself and the Lua interpreter of Argo CD, in a Go program that is built once.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controlplane.build import GITOPS, ensure_built
from gitops.files import FOLDER, KIND, SCRIPT, files, message
from gitops.states import State, states

if TYPE_CHECKING:
    from pathlib import Path

STATES = states()


@pytest.fixture(scope="module")
def program() -> Path:
    return ensure_built(GITOPS)["gitops"]


def judged(program: Path, script: Path, *objects: dict[str, Any]) -> list[dict[str, Any]]:
    """What the tools make of each object."""
    given = "".join(f"{json.dumps(each)}\n" for each in objects)
    done = subprocess.run(
        [program, script], input=given, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def answers(program: Path) -> dict[str, dict[str, Any]]:
    found = judged(program, SCRIPT, *(state.object for state in STATES))
    return {state.name: answer for state, answer in zip(STATES, found, strict=True)}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_flux_and_helm_read_the_status_as_it_is_meant(
    state: State, answers: dict[str, dict[str, Any]]
) -> None:
    assert answers[state.name]["kstatus"] == state.kstatus


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_argo_cd_shows_the_health_and_the_sentence_that_decided_it(
    state: State, answers: dict[str, dict[str, Any]]
) -> None:
    health = answers[state.name]["argo"]
    assert health == {"status": state.argo, "message": message(state.object)}


def test_what_nobody_can_be_sure_of_is_healthy_for_argo_cd_and_says_so(program: Path) -> None:
    fits = next(state for state in STATES if state.name == "fits").object
    for condition in fits["status"]["conditions"]:
        if condition["type"] == "Fits":
            condition |= {"status": "Unknown", "message": "may fit: closer than the error"}
    (answer,) = judged(program, SCRIPT, fits)
    assert answer["argo"] == {"status": "Healthy", "message": "may fit: closer than the error"}


def test_without_a_status_argo_cd_waits(program: Path) -> None:
    (answer,) = judged(program, SCRIPT, State("none", "", "", None).object)
    assert answer["argo"]["status"] == "Progressing"


def test_the_text_for_argocd_cm_is_the_script_that_was_tested(
    program: Path, tmp_path: Path
) -> None:
    patch = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text(encoding="utf-8"))
    pasted = tmp_path / "pasted.lua"
    pasted.write_text(patch["data"]["resource.customizations.health.plimsoll.dev_LLMDeployment"])
    objects = [state.object for state in STATES]
    assert judged(program, pasted, *objects) == judged(program, SCRIPT, *objects)


def test_the_files_for_argo_cd_are_up_to_date() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: `make generate`"
    kept = {path.name for path in (KIND / "testdata").iterdir()}
    assert kept == {f"{state.name}.yaml" for state in STATES}
