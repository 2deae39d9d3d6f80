"""Rows of start-up logs, for tests that write such logs.

It must not know an engine's lines.
"""

from __future__ import annotations

import io
from typing import Any

from plimsoll.measured import logs
from plimsoll.measured.log_row import KEYS, row_of


def row(text: str) -> dict[str, Any]:
    """The row of the last start-up in a log."""
    found = logs.read(io.BytesIO(text.encode())).last
    assert found is not None
    made = row_of(found, "log")
    assert tuple(made) == KEYS
    return made


def has(found: dict[str, Any], **wanted: Any) -> None:
    """The row says these; None: it must not say it."""
    assert {key: found[key] for key in wanted} == wanted
