"""Which pages of reference are made from code, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from handbook import commands, kinds, series

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"


def pages() -> dict[Path, str]:
    """Path and text of each page; rules and gates are printed by `plimsoll explain`."""
    return {
        DOCS / "cli.md": commands.page(),
        DOCS / "crd.md": kinds.page(),
        DOCS / "metrics.md": series.page(),
    }
