"""``make counts``: hold the counts that transformers' classes gave against those classes again.

``make counts WRITE=1`` writes the classes' figures if they differ. ``make counts CONFIG=path``
prints the yardstick of a config.json instead: a row for tests/data/family_configs.json, in which
somebody has still to say what serving leaves behind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from counts.meta import VERSION, counted
from counts.yardsticks import rewrite, source, yardsticks


def one(path: Path) -> None:
    """Print the row of a config."""
    config = json.loads(path.read_text("utf-8"))
    class_name, parameters = counted(config)
    row = {
        "like": config.get("_name_or_path") or path.stem,
        "known": "instantiated",
        "parameters": parameters,
        "beside": 0,
        "source": source(class_name, VERSION),
        "config": config,
    }
    print(json.dumps(row, separators=(",", ":")))


def every(*, write: bool) -> int:
    """Print what differs or cannot be made; how many those are. write: the figures that differ."""
    checked = wrong = 0
    for known in yardsticks():
        checked += 1
        try:
            class_name, parameters = counted(known.config, known.class_name, pooler=known.pooler)
        except Exception as error:  # a class raises whatever it likes
            wrong += 1
            print(f"{known.name}: cannot be made: {type(error).__name__}: {str(error)[:160]}")
            continue
        if parameters != known.whole:
            wrong += 1
            print(f"{known.name}: {known.whole} kept, {class_name} has {parameters}")
            if write:
                rewrite(known, parameters)
    print(f"transformers {VERSION}: {checked} yardsticks, {wrong} differ or cannot be made")
    return wrong


if __name__ == "__main__":
    words = sys.argv[1:]
    if words and words != ["--write"]:
        one(Path(words[0]))
    else:
        sys.exit(1 if every(write=bool(words)) else 0)
