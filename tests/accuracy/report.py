"""Estimates beside measured start-ups: reads tests/data/measured.json, writes docs/accuracy.md.

It must not fill in what a source does not say: a row whose needed inputs are unknown or were
guessed is left out of that comparison, and listed with the reason.

    weights     estimated bytes of one rank against ``Model loading took ... GiB``
    tokens      tokens that the measured cache holds by our arithmetic against those logged
    cache       bytes that the estimate leaves for the cache against ``Available KV cache memory``
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from plimsoll.accelerators.types import Accelerator
from plimsoll.engines.base import EngineSettings, Estimate, Parallelism, Workload
from plimsoll.engines.vllm.constants import constants, parse_version
from plimsoll.engines.vllm.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.vllm.engine import VLLM
from plimsoll.engines.vllm.kv import cache
from plimsoll.engines.vllm.sharding import stage_weights
from plimsoll.errors import Unreadable
from plimsoll.models.quantization import Quantization, Scheme
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from plimsoll.models.architecture import Architecture

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = ROOT / "tests" / "data" / "measured.json"
PAGE: Final = ROOT / "docs" / "accuracy.md"
GOLDEN: Final = ROOT / "tests" / "golden" / "estimates.json"
UNIFIED: Final = ("GB10", "Jetson", "Orin", "Thor")
STORED: Final = {
    "fp8": Quantization("compressed-tensors", Scheme("fp8", 8, 0, 1), ("lm_head",)),
    "w8a8-int8": Quantization("compressed-tensors", Scheme("int8", 8, 0, 1), ("lm_head",)),
    "w4a16": Quantization("gptq", Scheme("w4a16", 4, 128, 1, 2), ("lm_head",)),
    "bitsandbytes": Quantization("bitsandbytes", Scheme("nf4", 4, 64, 1, 1), ("lm_head",)),
}
"""How checkpoints are stored whose own config is not in the catalogue."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One comparison. error: estimated over measured, less 1."""

    row: Row
    estimated: float
    measured: float

    @property
    def error(self) -> float:
        return self.estimated / self.measured - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """All points of one kind, and why each other row is not among them."""

    name: str
    unit: str
    points: tuple[Point, ...]
    left_out: tuple[tuple[Row, str], ...]

    def errors(self) -> list[float]:
        """Absolute relative errors, smallest first."""
        return sorted(abs(point.error) for point in self.points)

    @property
    def median(self) -> float:
        return median(self.errors())


@lru_cache(maxsize=1)
def rows() -> tuple[Row, ...]:
    """Every measured start-up of vLLM."""
    return tuple(json.loads(DATA.read_text("utf-8")))


@lru_cache(maxsize=256)
def architecture(name: str, stored: str) -> Architecture | None:
    """The structure of a row's model, stored as the row says; None where it is not known."""
    from plimsoll.models.catalogue import load

    entry = load().find(name)
    if entry is None:
        return None
    own = entry.architecture
    if stored == "none" or own.quantization is not None:
        return own
    return replace(own, quantization=STORED[stored], memo={}) if stored in STORED else None


def weights() -> Comparison:
    """Weights of one rank, in GiB."""
    return _compare("Weights per GPU", "GiB", _weights, ("weights_gib",), ())


def tokens() -> Comparison:
    """Tokens in the measured cache."""
    return _compare(
        "Tokens that the measured KV cache holds",
        "tokens",
        _tokens,
        ("kv_gib", "kv_tokens"),
        ("version", "max_model_len", "kv_cache_dtype"),
    )


def left_for_cache() -> Comparison:
    """Bytes that everything else leaves for the cache, in GiB."""
    return _compare(
        "Memory left for the KV cache",
        "GiB",
        _left,
        ("kv_gib",),
        ("version", "max_model_len", "utilization", "physical_gib", "seqs", "batched_tokens",
         "eager"),
    )  # fmt: skip


def _compare(
    name: str,
    unit: str,
    make: Callable[[Row, Architecture], Point | str],
    measured: tuple[str, ...],
    needed: tuple[str, ...],
) -> Comparison:
    points: list[Point] = []
    left: list[tuple[Row, str]] = []
    for row in rows():
        why = _why_not(row, measured, ("tensor", "pipeline", *needed))
        own = None if why else architecture(row["architecture"], row["stored"])
        if own is None:
            left.append((row, why or f"no structure for {row['stored']} weights"))
            continue
        made = make(row, own)
        if isinstance(made, str):
            left.append((row, made))
        else:
            points.append(made)
    return Comparison(name, unit, tuple(points), tuple(left))


def _why_not(row: Row, measured: tuple[str, ...], needed: tuple[str, ...]) -> str:
    """Why a row cannot be compared; empty where it can."""
    if row["trust"] == "secondary":
        return "second-hand or a test fixture"
    if row["outcome"] == "contention":
        return "another process held the GPU"
    if any(word in row["gpu"] for word in UNIFIED):
        return "unified memory"
    if row["unmodelled"]:
        return f"not modelled: {row['unmodelled']}"
    missing = [name for name in measured if row["measured"].get(name) is None]
    if missing:
        return "not measured: " + ", ".join(missing)
    if row["architecture"] is None:
        return "model not in the catalogue"
    guessed = [n for n in ("model", *needed, *measured) if n in row["guessed"]]
    if guessed:
        return "guessed by the collector: " + ", ".join(guessed)
    unknown = [name for name in needed if row[name] is None]
    if unknown:
        return "not stated: " + ", ".join(unknown)
    if "version" in needed:
        try:
            parse_version(row["version"])
        except Unreadable:
            return f"version not readable: {row['version']}"
    return ""


def _settings(row: Row) -> EngineSettings:
    return EngineSettings(
        version=row["version"],
        dtype=row["dtype"] or "",
        quantization=row["quantization"] or "",
        max_model_len=row["max_model_len"],
        max_num_seqs=row["seqs"],
        max_num_batched_tokens=row["batched_tokens"],
        kv_cache_dtype=row["kv_cache_dtype"] or "",
        utilization=Decimal(row["utilization"]) if row["utilization"] else None,
        enforce_eager=row["eager"],
        block_size=row["block_size"],
    )


def _split(row: Row) -> Parallelism:
    return Parallelism(row["tensor"], row["pipeline"], row["data"] or 1, bool(row["expert"]))


def _weights(row: Row, own: Architecture) -> Point | str:
    dtype = weight_dtype(own, row["dtype"] or "")
    stages = stage_weights(own, dtype, row["quantization"] or "", _split(row))
    measured = float(row["measured"]["weights_gib"])
    nearest = min(stages, key=lambda size: abs(size / GIB - measured))
    return Point(row, nearest / GIB, measured)


def _tokens(row: Row, own: Architecture) -> Point | str:
    figures = constants(row["version"])
    element = WEIGHT_BYTES[weight_dtype(own, row["dtype"] or "")]
    kv = cache(
        own,
        _split(row),
        figures,
        dtype=kv_dtype(own, row["kv_cache_dtype"]),
        model_bytes=element,
        block_size=row["block_size"],
        batched_tokens=row["batched_tokens"] or 0,
    )
    if kv.by_concurrency and len(kv.pool.groups) > 1 and row["batched_tokens"] is None:
        return "not stated: batched_tokens"
    room = [round(row["measured"]["kv_gib"] * GIB)] * row["pipeline"]
    held = kv.tokens(kv.holds(room), row["max_model_len"])
    return Point(row, held, float(row["measured"]["kv_tokens"]))


def estimate(row: Row, own: Architecture) -> Estimate:
    """The whole estimate of a row, on a GPU of the memory that the row reports."""
    hopper = any(name in row["gpu"] for name in ("H100", "H200"))
    gpu = Accelerator(
        row["gpu"],
        row["gpu"],
        round(row["physical_gib"] * GIB),
        "as the engine sees it",
        "hopper" if hopper else "",
        (9, 0) if hopper else (8, 0),
        8,
    )
    return VLLM().estimate(own, _settings(row), Workload(), _split(row), gpu)


def _left(row: Row, own: Architecture) -> Point | str:
    return Point(row, estimate(row, own).kv_capacity / GIB, float(row["measured"]["kv_gib"]))


def golden() -> str:
    """Estimates of the rows whose every input is known, beside what was measured, as JSON."""
    cases = []
    for point in left_for_cache().points:
        row = point.row
        own = architecture(row["architecture"], row["stored"])
        assert own is not None
        result = estimate(row, own)
        cases.append(
            {
                "row": row["id"],
                "model": row["model"],
                "vllm": row["version"],
                "split": [row["tensor"], row["pipeline"], row["data"] or 1],
                "estimate": {
                    **{term.name.value: term.bytes for term in result.terms},
                    "stage": result.stage,
                    "usable": result.usable,
                    "left_for_cache": result.kv_capacity,
                    "tokens": result.kv_tokens,
                    "largest_max_model_len": result.largest_max_model_len,
                },
                "measured": row["measured"],
                "source": row["source"],
            }
        )
    return "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n"


def page() -> str:
    """The page, in Markdown; the same rows always give the same page."""
    parts = [weights(), tokens(), left_for_cache()]
    lines = [
        "# Estimates beside measured start-ups",
        "",
        "Made by `make accuracy` from tests/data/measured.json; every row there names its source. "
        "A row is compared where everything that the comparison needs was stated by the source; "
        "the others are listed at the end with the reason. Nothing was tuned to a single row.",
        "",
        "| comparison | rows | median error | 90th percentile | worst |",
        "|---|---|---|---|---|",
    ]
    for part in parts:
        errors = part.errors()
        high = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
        lines.append(
            f"| {part.name} | {len(errors)} | {part.median:.2%} | {high:.2%} | {errors[-1]:.2%} |"
        )
    for part in parts:
        lines += ["", f"## {part.name}", "", *_table(part)]
    lines += ["", "## Left out", ""]
    for part in parts:
        lines += [f"### {part.name}", "", "| row | model | reason |", "|---|---|---|"]
        lines += [f"| {row['id']} | {_cell(row['model'])} | {why} |" for row, why in part.left_out]
        lines.append("")
    lines += ["## Sources", "", *_sources(rows())]
    return "\n".join(lines) + "\n"


def _table(part: Comparison) -> list[str]:
    digits = 0 if part.unit == "tokens" else 2
    lines = [
        f"| row | model | stored | vLLM | TP x PP | estimated {part.unit} | measured | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for p in part.points:
        row = p.row
        lines.append(
            f"| {row['id']} | {_cell(row['model'])} | {row['stored']} | {_cell(row['version'])} "
            f"| {row['tensor']} x {row['pipeline']} | {p.estimated:,.{digits}f} "
            f"| {p.measured:,.{digits}f} | {p.error:+.2%} |"
        )
    return lines


def _sources(all_rows: Iterable[Row]) -> list[str]:
    by_source: dict[str, list[str]] = {}
    for row in all_rows:
        by_source.setdefault(row["source"], []).append(row["id"])
    return [f"- {', '.join(ids)}: {source}" for source, ids in by_source.items()]


def _cell(text: str) -> str:
    return text.replace("|", "/")
