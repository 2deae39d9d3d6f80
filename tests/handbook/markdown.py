"""What pages of reference are written with: words that Markdown leaves alone, and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEAD: Final = "<!-- Made by `make reference` from {source}; a test holds the two equal. -->\n"


def plain(text: str) -> str:
    """A text in one line that Markdown shows as it is, code between backquotes apart."""
    parts = " ".join(text.split()).split("`")
    for index in range(0, len(parts), 2):
        for mark in ("\\", "*", "_", "<", "|", "["):
            parts[index] = parts[index].replace(mark, f"\\{mark}")
    for index in range(1, len(parts), 2):
        parts[index] = parts[index].replace("|", "\\|")
    return "`".join(parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
