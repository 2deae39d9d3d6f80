"""Claims about names of GPUs as people write them: taken through the table, told, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from commands import as_json, run

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

OBJECT = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {{name: chat}}
spec:
  model: {{uri: "hf://Qwen/Qwen2.5-7B-Instruct"}}
  engine: {{maxModelLen: 4096}}
  accelerator: {{allowed: ["{name}"]}}
"""


def check(folder: Path, name: str) -> Result:
    """What `plimsoll check` says of an object that allows this GPU."""
    (folder / "chat.yaml").write_text(OBJECT.format(name=name))
    return run("check", folder / "chat.yaml")


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("nvidia-tesla-a100", "nvidia-a100-40gb"),
        ("nvidia-h100-mega-80gb", "nvidia-h100-80gb"),
        ("NVIDIA A100 80GB PCIe", "nvidia-a100-80gb"),
        ("NVIDIA-H100-80GB-HBM3", "nvidia-h100-80gb"),
        ("NVIDIA L40S", "nvidia-l40s"),
        ("H100", "nvidia-h100-80gb"),
        ("A100-80GB", "nvidia-a100-80gb"),
        ("A100 40GB", "nvidia-a100-40gb"),
        ("l4", "nvidia-l4"),
        ("H200", "nvidia-h200-141gb"),
    ],
)
def test_a_name_of_a_maker_or_a_cloud_is_planned_on_its_card_with_a_note(
    tmp_path: Path, name: str, card: str
) -> None:
    result = check(tmp_path, name)
    assert result.exit_code == 0, result.output
    assert f'spec.accelerator.allowed[0]: "{name}" is taken for {card}' in result.stdout
    (told,) = as_json("check", tmp_path / "chat.yaml")["results"]
    assert told["placement"]["accelerator"] == card


def test_the_tables_own_name_needs_no_note(tmp_path: Path) -> None:
    result = check(tmp_path, "nvidia-a100-80gb")
    assert result.exit_code == 0
    assert "is taken for" not in result.output


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("A100", "nvidia-a100-40gb or nvidia-a100-80gb"),
        ("NVIDIA A100", "nvidia-a100-40gb or nvidia-a100-80gb"),
        ("Tesla V100", "nvidia-v100-16gb or nvidia-v100-32gb"),
        ("gh200", "nvidia-gh200-96gb or nvidia-gh200-144gb"),
    ],
)
def test_a_name_that_may_mean_cards_of_different_memory_is_refused_with_the_choices(
    tmp_path: Path, name: str, choices: str
) -> None:
    result = check(tmp_path, name)
    assert result.exit_code == 1
    assert "spec.accelerator.allowed[0]" in result.stdout
    assert f"write {choices}" in result.stdout
    assert "PL151" in result.stdout


def test_a_stated_memory_settles_which_card_is_meant(tmp_path: Path) -> None:
    text = OBJECT.format(name="A100").replace('["A100"]', '["A100"], memory: 40Gi')
    (tmp_path / "chat.yaml").write_text(text)
    result = run("check", tmp_path / "chat.yaml")
    assert result.exit_code == 0, result.output
    assert "clouds offer" not in result.output


def test_what_no_table_has_is_still_a_warning_that_names_what_is_near(tmp_path: Path) -> None:
    result = check(tmp_path, "nvidia-a100-81gb")
    assert result.exit_code == 0
    assert "is not in the table of accelerators" in result.stdout
    assert "nvidia-a100-80gb" in result.stdout
