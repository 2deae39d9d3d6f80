"""The measured start-ups of tests/data/measured.jsonl, scored by `plimsoll.measured`.

It must not compute a prediction or choose an input: the package does, and this hands it our own
rows and, as models, our own catalogue.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Final

from plimsoll.measured import models, rows, score
from plimsoll.measured.score import sweep_of
from plimsoll.models import pooling
from plimsoll.models.catalogue import load

ROOT: Final = Path(__file__).resolve().parents[2]
MEASURED: Final = ROOT / "tests" / "data" / "measured.jsonl"
MODELS: Final = ROOT / "tests" / "data" / "row_models.jsonl"
REASONS: Final = ROOT / "tests" / "data" / "known_errors.json"


@lru_cache(maxsize=1)
def measured() -> tuple[rows.Row, ...]:
    """Every row, in order."""
    return tuple(rows.read(MEASURED))


@lru_cache(maxsize=1)
def sources() -> dict[str, str]:
    """Where each row was seen, by its id."""
    lines = MEASURED.read_text("utf-8").splitlines()
    return {row["id"]: row["source"] for row in map(json.loads, lines)}


@lru_cache(maxsize=1)
def configs() -> models.Configs:
    """The models by the ids that the rows use: the catalogue's, else of tests/data/row_models."""
    catalogue = load()
    found = models.read((MODELS,))
    for row in measured():
        entry = catalogue.find(row.config_id) if row.config_id else None
        if entry is not None:
            found.made[row.config_id] = pooling.named(entry.architecture, row.config_id)
    return found


@lru_cache(maxsize=1)
def scored() -> tuple[score.Scored, ...]:
    """Every row beside its predictions."""
    return tuple(score.score(measured(), configs()))


@lru_cache(maxsize=1)
def sweep() -> frozenset[str]:
    """Ids of the rows of the one big sweep."""
    return sweep_of(measured())


@lru_cache(maxsize=1)
def reasons() -> dict[tuple[str, str], str]:
    """What is known about rows that stay wrong, by row and term, or row and ``outcome``."""
    return {
        (row, term): entry["why"]
        for entry in json.loads(REASONS.read_text("utf-8"))
        for row in entry["rows"]
        for term in entry["terms"]
    }
