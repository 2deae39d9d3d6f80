"""The files of parameter counts, and which of their figures come from a class of transformers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.models import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DATA: Final = Path(__file__).parents[1] / "data"
CATALOGUE: Final = _DATA / "parameter_counts.json"
"""Counts of models of the catalogue, by id."""
FAMILIES: Final = _DATA / "family_configs.json"
"""Configs of families with their counts."""
_CLASS: Final = re.compile(r"parameters of (\w+) in transformers ([\d.]+)")
_WITHOUT_POOLER: Final = "less its pooler"


@dataclass(frozen=True)
class Yardstick:
    """One figure that a class of transformers gave.

    file, line: where it stands. name: of the model. config: its config.json.
    class_name: the class that was counted; empty: the one that transformers has for the type.
    pooler: whether the class was made with its pooler.
    parameters: the figure. beside: what the class has and serving does not load.
    """

    file: Path
    line: int
    name: str
    config: Mapping[str, Any]
    class_name: str
    pooler: bool
    parameters: int
    beside: int = 0

    @property
    def whole(self) -> int:
        """Parameters of the class."""
        return self.parameters + self.beside


def yardsticks() -> Iterator[Yardstick]:
    """Every figure of both files that a class of transformers gave. A line holds one row."""
    rows = json.loads(CATALOGUE.read_text("utf-8")).items()
    for line, (name, row) in enumerate(rows, start=1):
        if row["known"] != "instantiated":
            continue
        entry = catalogue.load().find(name)
        assert entry is not None, f"{name} is not in the catalogue"
        pooler = _WITHOUT_POOLER not in row["source"]
        yield Yardstick(CATALOGUE, line, name, entry.config, _class(row), pooler, row["parameters"])
    for line, row in enumerate(json.loads(FAMILIES.read_text("utf-8")), start=1):
        if row["known"] == "instantiated":
            yield Yardstick(
                FAMILIES,
                line,
                row["like"],
                row["config"],
                _class(row),
                True,
                row["parameters"],
                row["beside"],
            )


def rewrite(known: Yardstick, parameters: int) -> None:
    """Put another figure in the place of a yardstick's. parameters: of the class."""
    lines = known.file.read_text("utf-8").splitlines(keepends=True)
    old, new = str(known.parameters), str(parameters - known.beside)
    assert old in lines[known.line], f"{known.file.name}, line {known.line + 1}: no {old}"
    lines[known.line] = lines[known.line].replace(old, new, 1)
    known.file.write_text("".join(lines), "utf-8")


def _class(row: Mapping[str, Any]) -> str:
    named = _CLASS.search(row["source"])
    return named[1] if named is not None and named[1] != "the" else ""


def source(class_name: str, version: str) -> str:
    """How a figure says where it comes from."""
    return f"parameters of {class_name} in transformers {version}, made on the meta device"
