"""Claims about the command line of the operator: every setting is a flag and a variable."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from click.testing import CliRunner

from plimsoll_operator.__main__ import main
from plimsoll_operator.settings import ADMISSION, BOTH, CONTROLLER, Settings


@pytest.mark.parametrize(
    ("command", "used_by"),
    [("controller", {CONTROLLER}), ("admission", {ADMISSION}), ("dev", {CONTROLLER, ADMISSION})],
)
def test_help_names_every_setting_of_a_process_and_its_variable(
    command: str, used_by: set[str]
) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    said = "".join(result.output.split())
    for field in dataclasses.fields(Settings):
        expected = field.metadata["used_by"] in used_by | {BOTH}
        assert (f"PLIMSOLL_{field.name.upper()}" in said) == expected, field.name
        assert field.metadata["effect"].endswith((".", "json per line."))


def test_without_a_cluster_it_says_what_to_do_and_fails() -> None:
    result = CliRunner().invoke(main, ["controller", "--kubeconfig", "/nowhere/at-all"])
    assert result.exit_code == 1
    assert "set KUBECONFIG" in result.output


def test_a_number_that_is_none_is_named() -> None:
    result = CliRunner().invoke(main, ["controller"], env={"PLIMSOLL_WORKERS": "many"})
    assert result.exit_code == 2
    assert "PLIMSOLL_WORKERS" in result.output or "--workers" in result.output


def test_asking_for_help_loads_neither_kopf_nor_a_client() -> None:
    code = (
        "import sys, plimsoll_operator.__main__; "
        "print([m for m in ('kopf', 'kubernetes', 'aiohttp') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
