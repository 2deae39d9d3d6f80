"""Claims about the house itself: what no linter looks at and every module keeps."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "estimator", ROOT / "operator")
MODULES = sorted(path for folder in (*SOURCES, ROOT / "tests") for path in folder.rglob("*.py"))
SHIPPED = [path for path in MODULES if path.is_relative_to(SOURCES[0])] + [
    path for path in MODULES if path.is_relative_to(SOURCES[1])
]
MOST_LINES = 500


def named(path: Path) -> str:
    """A module's path from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring(path: Path) -> str:
    """The docstring that a module opens with; empty if it opens with something else."""
    return ast.get_docstring(parsed(path)) or ""


def test_the_source_roots_are_no_packages() -> None:
    assert [named(root) for root in SOURCES if (root / "__init__.py").exists()] == []


def test_in_the_root_operator_is_the_one_of_the_standard_library() -> None:
    code = "import operator; print(operator.__file__); operator.itemgetter"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == operator.__file__
    assert not Path(run.stdout.strip()).is_relative_to(ROOT)


def test_every_module_says_what_it_is_for() -> None:
    assert len(SHIPPED) > 80
    opening = {named(path): docstring(path).partition("\n\n")[0] for path in SHIPPED}
    assert {name: said for name, said in opening.items() if not said.endswith((".", ":"))} == {}


def test_every_shipped_module_is_named_by_a_contract() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    ordered = {name for contract in contracts for name in entries(contract, "modules", "layers")}
    forbidden = {name for contract in contracts for name in entries(contract, "source_modules")}
    uncovered = []
    for module in map(dotted, SHIPPED):
        parts = module.split(".")
        holders = {".".join(parts[:size]) for size in range(2, len(parts) + 1)}
        # That a room stands below another says nothing on the order of the modules inside it.
        inside = {holder for holder in holders if holder.count(".") > 1 or holder == module}
        if not (holders & forbidden or inside & ordered):
            uncovered.append(module)
    assert uncovered == ["plimsoll", "plimsoll_drystart", "plimsoll_operator"]


def entries(contract: dict[str, Any], *keys: str) -> Iterator[str]:
    """The modules that a contract of import-linter lists under these keys."""
    for key in keys:
        for entry in contract.get(key, []):
            for name in re.split(r"[|:]", entry):
                for container in contract.get("containers", [""]):
                    yield f"{container}.{name.strip(' ()')}".lstrip(".")


def dotted(path: Path) -> str:
    """The name under which a shipped module is imported."""
    root = next(root for root in SOURCES if path.is_relative_to(root))
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def test_no_module_is_longer_than_a_reader_bears() -> None:
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


SPEAK_OF_MANIFESTS = ("workloads", "render", "cli", "engines")
"""Rooms of the estimator that may name a field by its place in a manifest."""


def test_only_readers_of_manifests_know_where_a_manifest_keeps_a_field() -> None:
    core = SOURCES[0] / "plimsoll"
    places = [
        f"{named(path)}:{node.lineno}"
        for path in core.rglob("*.py")
        if path.relative_to(core).parts[0] not in SPEAK_OF_MANIFESTS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "spec." in node.value
    ]
    assert places == []


def test_every_module_of_a_package_lies_in_one() -> None:
    bare = {path.parent for path in SHIPPED if not (path.parent / "__init__.py").exists()}
    assert {named(folder) for folder in bare} == set()


@pytest.mark.parametrize("module", ["plimsoll", "plimsoll.cli", "plimsoll.workloads.files"])
def test_the_estimator_starts_without_the_network_or_a_terminal_library(module: str) -> None:
    heavy = ("kopf", "kubernetes", "aiohttp", "rich", "ssl", "urllib3", "requests")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
