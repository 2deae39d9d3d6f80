"""The figures of TensorRT-LLM that change from release to release, each with where it was seen.

It must not hold a figure of its own: all of them are in data/constants.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from plimsoll.engines.tables import VersionTable

TABLE: Final = VersionTable("TensorRT-LLM", Path(__file__).parent / "data/constants.json")
