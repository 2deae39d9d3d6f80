"""Start-ups that people reported in public, each with its source: what failed is never allowed.

Only reports whose model, GPU and flags are all known, and the release where it matters
(tests/data/reports.jsonl). They must not be tuned to: what we say of one is right by the kind of
which it is, or it is a fault of ours.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from accuracy.data import ROOT
from accuracy.recipes import Said, said_of
from plimsoll.decision.verdict import Decision

if TYPE_CHECKING:
    from typing import Any

ROWS: Final = [
    json.loads(line) for line in (ROOT / "tests/data/reports.jsonl").read_text("utf-8").splitlines()
]
NO_ADDRESS: Final = "a public file without a lasting address"
REFUSED: Final = "refused: "
"""How the end of a start-up begins that the engine itself refused, memory aside or not."""
FAILED: Final = [row for row in ROWS if row["ended"] != "starts"]
STARTED: Final = [row for row in ROWS if row["ended"] == "starts"]


def judged(row: dict[str, Any]) -> Said:
    found = said_of(row)
    assert found.verdict is not None, found.unknown
    if not row["ended"].startswith((REFUSED, "stops")):
        assert not found.verdict.problems, "its flags are read and taken"
    return found


def test_each_report_is_there_once_and_names_its_source() -> None:
    assert len(FAILED) >= 30
    assert len(STARTED) >= 15
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    named = [row for row in ROWS if row["source"] != NO_ADDRESS]
    assert all(row["source"].startswith("https://github.com/") for row in named)
    assert len(named) >= 0.6 * len(ROWS)


@pytest.mark.parametrize("row", FAILED, ids=lambda row: row["id"])
def test_what_failed_is_never_allowed(row: dict[str, Any]) -> None:
    assert judged(row).decision is not Decision.ALLOW


@pytest.mark.parametrize("row", STARTED, ids=lambda row: row["id"])
def test_what_started_is_never_refused(row: dict[str, Any]) -> None:
    assert judged(row).decision is not Decision.DENY
