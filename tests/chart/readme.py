"""The table of values in the chart's README, made from the comments in values.yaml.

It must not know a value; comments follow helm-docs: `# -- text` above a key, and on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from chart.helm import CHART

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

README: Final = CHART / "README.md"
VALUES: Final = CHART / "values.yaml"
BEGIN: Final = "<!-- values: made from values.yaml by `make generate` -->\n"
END: Final = "<!-- end of values -->\n"


@dataclass(frozen=True, slots=True)
class Value:
    """One documented value. default: of values.yaml."""

    path: str
    default: Any
    text: str


class Undocumented(AssertionError):
    """A value has no description; the message names it."""


def values() -> list[Value]:
    """Every value with its description, in the order of the file. Raises `Undocumented`."""
    text = VALUES.read_text(encoding="utf-8")
    root = yaml.compose(text)
    return list(_walk(root, yaml.safe_load(text), "", text.splitlines()))


def _walk(node: Any, loaded: Any, prefix: str, lines: Sequence[str]) -> Iterator[Value]:
    for name, inner in node.value:
        path = f"{prefix}{name.value}"
        default = loaded[name.value]
        described = _comment(lines, name.start_mark.line)
        if described:
            yield Value(path, default, described)
        elif isinstance(default, dict) and default:
            yield from _walk(inner, default, f"{path}.", lines)
        else:
            raise Undocumented(f"{path}: write a comment that begins with `# --` above it")


def _comment(lines: Sequence[str], line: int) -> str:
    """The comment right above a line, from its `# --` on; empty if there is none."""
    found: list[str] = []
    while line and (above := lines[line - 1].strip()).startswith("#"):
        found.insert(0, above.removeprefix("#").strip())
        if found[0].startswith("-- "):
            return " ".join(found).removeprefix("-- ")
        line -= 1
    return ""


def table() -> str:
    """The values as a Markdown table."""
    rows = ["| Value | Default | What it is |", "|---|---|---|"]
    for value in values():
        default = json.dumps(value.default, ensure_ascii=False)
        text = value.text.replace("|", "\\|")
        rows.append(f"| `{value.path}` | `{default}` | {text} |")
    return "\n".join(rows) + "\n"


def readme() -> tuple[Path, str]:
    """Path and text of the README: the table between the marks, the rest as it is."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return README, f"{before}{BEGIN}\n{table()}\n{END}{after}"
