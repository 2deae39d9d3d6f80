"""The facts' files: a line a fact, with the case that it answers; gzip without a date."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import ROOT
from drystart.cases import Case
from plimsoll_drystart import REVISION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER: Final = ROOT / "tests" / "data" / "drystart"
_LEFT_OUT: Final = ("id", "seconds", "engine")


@dataclass(frozen=True)
class Fact:
    """What a release said to a case. said: as the harness wrote it."""

    case: Case
    said: dict[str, Any]

    @property
    def release(self) -> str:
        """The engine's version, as it says it itself."""
        return str(self.said["version"])

    @property
    def refused(self) -> dict[str, Any] | None:
        """Why the engine said no; None where it did not."""
        found = self.said.get("refused")
        return dict(found) if found else None

    @property
    def known(self) -> bool:
        """Whether the dry start ended in an answer of the engine."""
        return "unknown" not in self.said


def path_of(release: str) -> Path:
    """The file of a release: one for each minor version."""
    return FOLDER / f"vllm-{'.'.join(release.split('.')[:2])}.jsonl.gz"


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """What a release's file has that is known and of this harness, by the case's id."""
    rows: dict[str, dict[str, Any]] = {}
    if path.exists():
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            row = json.loads(line)
            if "unknown" not in row and row["harness"] == REVISION:
                rows[Case(**row["case"]).id] = row
    return rows


def pack(cases: Iterable[Case], lines: Iterable[str], path: Path) -> int:
    """Add the facts of those cases to what the file has; of two of one case the later counts.

    Returns how many there are.
    """
    by_id = {case.id: case for case in cases}
    rows = {name: row for name, row in kept(path).items() if name in by_id}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # cut off when the run was ended
            continue
        if row.get("id") in by_id and "version" in row:
            said = {key: value for key, value in row.items() if key not in _LEFT_OUT}
            rows[row["id"]] = {"case": by_id[row["id"]].data(), **_smaller(said)}
    out = [rows[name] for name in by_id if name in rows]
    text = "".join(json.dumps(row, separators=(",", ":"), sort_keys=True) + "\n" for row in out)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return len(out)


_KEPT_PLACES: Final = 2
_MADE: Final = re.compile(r"\S*/model-\w{8}\b/?")
_HERE: Final = re.compile(r"^/\S*/(?=plimsoll_drystart/|lib/python)")


def _smaller(said: dict[str, Any]) -> dict[str, Any]:
    """Without what every fact repeats, and without paths of the machine that it was made on."""
    for key in ("refused", "unknown"):
        if key in said:
            ended = said[key]
            places = [_HERE.sub("", place) for place in ended["places"][-_KEPT_PLACES:]]
            text = _MADE.sub("MODEL", ended["message"])[:300]
            said = said | {key: ended | {"places": places, "message": text}}
    if "profile" in said:
        said = said | {"profile": {k: v for k, v in said["profile"].items() if k != "unseen"}}
    return {key: value for key, value in said.items() if value not in ({}, [], None)}


@lru_cache(maxsize=1)
def facts() -> tuple[Fact, ...]:
    """Every fact that is kept, by release and in the order of its cases."""
    out = []
    for path in sorted(FOLDER.glob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            row = json.loads(line)
            out.append(Fact(Case(**row.pop("case")), row))
    return tuple(out)
