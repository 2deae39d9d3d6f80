"""Models that the catalogue lacks, on the command line: resolved once, then known by their id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import yaml

import checkpoint_files
from checkpoint_files import Maker, base
from commands import run
from hub_server import Hub, ask_it, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("huggingface_hub")

NAME: Final = "acme/tiny"
OBJECT: Final = f"""
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {{name: it}}
spec:
  model: {{uri: "hf://{NAME}"}}
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    config = base("llama")
    folder = checkpoint_files.write(
        tmp_path / "tiny", config, checkpoint_files.dense(config, Maker())
    )
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving(Hub({NAME: files})) as found:
        ask_it(found, tmp_path, monkeypatch)
        yield found


def test_a_check_reads_an_unknown_model_from_its_hub_only_if_it_is_told_to(
    hub: Hub, tmp_path: Path
) -> None:
    manifest = tmp_path / "it.yaml"
    manifest.write_text(OBJECT)
    alone = run("check", manifest)
    assert "is unknown" in alone.stdout + alone.stderr
    assert not hub.asked
    told = run("check", "--from-hub", manifest)
    assert "is unknown" not in told.stdout + told.stderr, told.stdout
    assert hub.asked


def test_what_was_resolved_lies_beside_and_needs_no_hub_any_more(hub: Hub, tmp_path: Path) -> None:
    made = run("models", "resolve", NAME)
    assert made.exit_code == 0, made.stderr
    config_map = yaml.safe_load(made.stdout)
    assert config_map["kind"] == "ConfigMap"
    assert config_map["metadata"]["namespace"] == "plimsoll-system"
    manifest = tmp_path / "it.yaml"
    manifest.write_text(f"{OBJECT}---\n{made.stdout}")
    hub.asked.clear()
    result = run("check", manifest)
    assert "is unknown" not in result.stdout + result.stderr
    assert not hub.asked


def test_several_are_one_list_and_what_is_no_id_is_said_before_anything_is_asked(hub: Hub) -> None:
    both = yaml.safe_load(run("models", "resolve", NAME, f"hf://{NAME}").stdout)
    assert [one["kind"] for one in both["items"]] == ["ConfigMap", "ConfigMap"]
    hub.asked.clear()
    wrong = run("models", "resolve", "tiny", NAME)
    assert wrong.exit_code == 2
    assert "owner/name" in wrong.stdout + wrong.stderr
    assert not hub.asked


def test_a_hub_that_does_not_answer_leaves_the_model_unknown_and_is_named(
    hub: Hub, tmp_path: Path
) -> None:
    hub.broken = True
    manifest = tmp_path / "it.yaml"
    manifest.write_text(OBJECT)
    result = run("check", "--from-hub", manifest)
    assert "is unknown" in result.stdout + result.stderr
    assert hub.url in result.stderr


def test_an_estimate_takes_a_model_from_its_hub_by_any_name_that_a_hub_knows(hub: Hub) -> None:
    hub.repositories["Acme/Tiny_Model-1.5"] = hub.repositories[NAME]
    for name in (NAME, "Acme/Tiny_Model-1.5"):
        found = run("estimate", "--from-hub", name, "--gpu", "nvidia-l4")
        assert found.exit_code == 0, found.stderr
        assert found.stdout.startswith(f"{name}: ")
