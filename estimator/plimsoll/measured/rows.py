"""One line of ROWS.jsonl with every field of the right type, or unknown; and what rows measure.

It must not fill in a default, and no JSON value makes it raise. A field that the collector inferred
is unknown: ``inferred_fields`` names it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from errno import EFBIG
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from plimsoll.errors import shown
from plimsoll.measured import printed, versions
from plimsoll.measured.printed import number, share, whole, words, yes_or_no
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    from plimsoll.measured.printed import StatedArguments
    from plimsoll.measured.versions import Versions


class TermId(StrEnum):
    """What is compared, by the name that rows and results have for it."""

    WEIGHTS = "weights_gib_per_gpu"
    ACTIVATION = "activation_peak_gib"
    NON_TORCH = "non_torch_gib"
    GRAPHS = "cuda_graph_gib"
    GRAPHS_CHARGED = "cuda_graph_estimate_gib"
    KV_GIB = "kv_cache_gib_per_gpu"
    KV_TOKENS = "kv_cache_tokens"
    TOKENS_GIVEN_GIB = "kv_cache_tokens_given_gib"
    CONCURRENCY = "max_concurrency"

    @property
    def in_gib(self) -> bool:
        """Whether it is memory, in GiB."""
        return self not in (self.KV_TOKENS, self.TOKENS_GIVEN_GIB, self.CONCURRENCY)

    @property
    def measured_as(self) -> str:
        """The field of a row that holds what was measured."""
        return str(self.KV_TOKENS if self is self.TOKENS_GIVEN_GIB else self)


OUTCOME: Final = "outcome"
"""The word for the verdict among the reasons for leaving out."""


MOST_LINE: Final = 1 << 20
"""Characters of the longest line that is read."""
MOST_FILE: Final = 256 << 20
"""Bytes of a file of rows or models that are read at most."""
MOST_LINES: Final = 200_000
"""Its lines."""
_MEASURED: Final = tuple(dict.fromkeys(term.measured_as for term in TermId))
_INPUTS: Final = frozenset(
    {"model", "config_id", "gpu", "engine_version", "tensor_parallel", "pipeline_parallel",
     "data_parallel", "expert_parallel", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
     "gpu_memory_utilization", "gpu_total_gib", "dtype", "kv_cache_dtype", "enforce_eager",
     "block_size", "quantization", "weights_format", "other_args", "num_gpus", "engine"}
)  # fmt: skip
FAILED: Final = frozenset({"oom", "kv-too-small"})
"""Outcomes of a start-up that failed for lack of memory."""
STARTED: Final = "ok"
CONTENTION: Final = "contention"


@dataclass(frozen=True, slots=True)
class Row:
    """One start-up. None, "" and empty mean unknown.

    id: as the row calls itself, else its line. wrong: why it cannot be read at all.
    version_text: as written, inferred or not. gpu_said: the text of ``gpu``, inferred or not;
    gpu: only if it was stated. total: bytes that the machine reported. measured: what the log
    said. inferred: names of fields that were inferred.
    """

    id: str
    wrong: str = ""
    config_id: str = ""
    model: str = ""
    family: str = ""
    group: str = ""
    engine: str = "vllm"
    version_text: str = ""
    version: Versions = versions.ANY
    gpu_said: str = ""
    gpu: str = ""
    total: int | None = None
    gpus: int | None = None
    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: bool | None = None
    max_model_len: int | None = None
    seqs: int | None = None
    batched_tokens: int | None = None
    utilization: Decimal | None = None
    dtype: str = ""
    kv_dtype: str = ""
    eager: bool | None = None
    block_size: int | None = None
    quantization: str = ""
    weights_format: str | None = None
    arguments: StatedArguments = field(default_factory=printed.StatedArguments)
    trust: str = ""
    outcome: str = ""
    measured: dict[str, float] = field(default_factory=dict)
    inferred: frozenset[str] = frozenset()


def read(path: Path) -> Iterator[Row]:
    """Every line of a file as a row. Raises `OSError` if the file cannot be read."""
    for index, line in lines_of(path):
        yield row_of_line(line, index)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, from 1 on; of a long one the beginning.

    Raises `OSError` for a file that cannot be read, or that holds more than `MOST_FILE` bytes
    or `MOST_LINES` lines: what a device or a pipe holds, no size says.
    """
    with path.open("rb") as file:
        stream = Bounded(file, MOST_FILE, str(path))
        index = 0
        while raw := stream.line(4 * MOST_LINE + 4):
            index += 1
            if index > MOST_LINES:
                raise OSError(EFBIG, f"more than {MOST_LINES:,} lines", str(path))
            line = raw.decode("utf-8", "replace").removeprefix("\ufeff")
            if line.strip():
                yield index, line


class Bounded:
    """Lines of a stream, until it has given more bytes than it may: then `OSError`."""

    def __init__(self, stream: BinaryIO, most: int, name: str = "") -> None:
        """most: bytes. name: of the file, for the error."""
        self._stream, self._most, self._left, self._name = stream, most, most, name

    def line(self, size: int) -> bytes:
        """The next line, of a longer one so many bytes: the rest is skipped; nothing at the end."""
        rest = raw = self._read(size)
        while rest and not rest.endswith(b"\n"):
            rest = self._read(size)
        return raw

    def _read(self, size: int) -> bytes:
        raw = self._stream.readline(size)
        self._left -= len(raw)
        if self._left < 0:
            raise OSError(EFBIG, f"more than {self._most >> 20} MiB", self._name)
        return raw


def row_of_line(line: str, index: int) -> Row:
    """The row of one line; a line that is none has its reason in `Row.wrong`."""
    name = f"line {index}"
    if len(line) > MOST_LINE:
        return Row(name, f"the line is longer than {MOST_LINE} characters")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Row(name, "the line is not JSON")
    return row_of(value, name)


def row_of(value: object, name: str) -> Row:
    """The row that a JSON value is. name: what to call it if it has no id."""
    if not isinstance(value, dict):
        return Row(name, "the line is not a JSON object")
    row: dict[str, Any] = value
    inferred = _inferred(row.get("inferred_fields"))
    known = {key: item for key, item in row.items() if key not in inferred}
    engine = words(row.get("engine"))
    total = number(known.get("gpu_total_gib"))
    version = words(row.get("engine_version"))
    meant = versions.read(version)
    if "engine_version" in inferred:
        meant = versions.Versions(fork=meant.fork)
    gpu = words(row.get("gpu"))
    return Row(
        id=_name(row.get("id")) or name,
        wrong="" if engine else "the engine is not stated",
        config_id=_text(known.get("config_id")),
        model=_text(row.get("model")),
        family=_text(row.get("architecture_family")),
        group=_text(row.get("family_group")),
        engine=engine,
        version_text=version,
        version=meant,
        gpu_said=gpu,
        gpu=gpu if "gpu" in known else "",
        total=round(total * GIB) if total is not None and 0 < total < 1e5 else None,
        gpus=whole(known.get("num_gpus"), 10**5),
        tensor=whole(known.get("tensor_parallel"), 4096),
        pipeline=whole(known.get("pipeline_parallel"), 4096),
        data=whole(known.get("data_parallel"), 4096),
        expert=yes_or_no(known.get("expert_parallel")),
        max_model_len=whole(known.get("max_model_len")),
        seqs=whole(known.get("max_num_seqs")),
        batched_tokens=whole(known.get("max_num_batched_tokens")),
        utilization=share(known.get("gpu_memory_utilization")),
        dtype=words(known.get("dtype")).removeprefix("torch."),
        kv_dtype=words(known.get("kv_cache_dtype")).removeprefix("torch."),
        eager=yes_or_no(known.get("enforce_eager")),
        block_size=whole(known.get("block_size"), 10**6),
        quantization=words(known.get("quantization")),
        weights_format=_format(known.get("weights_format")),
        arguments=printed.stated_arguments(known.get("other_args")),
        trust=_text(row.get("trust"))[:1].upper(),
        outcome=words(row.get("outcome")),
        measured=_measured(row),
        inferred=inferred,
    )


def _inferred(value: object) -> frozenset[str]:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, (list, tuple)):
        return frozenset()
    return frozenset(item.strip() for item in value if isinstance(item, str))


def derived(row: Row, term: TermId) -> bool:
    """Whether what the row gives as measured was inferred by whoever collected it."""
    return term.measured_as in row.inferred or bool(row.inferred - _INPUTS - set(_MEASURED))


def _measured(row: dict[str, Any]) -> dict[str, float]:
    found = ((name, number(row.get(name))) for name in _MEASURED)
    return {name: value for name, value in found if value is not None}


def _format(value: object) -> str | None:
    """How weights are stored; ``none``: as the config says; None: unknown."""
    if not isinstance(value, str) or not value.strip():
        return None
    return value.strip().lower()[:64]


def _name(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return shown(value).strip('"').strip() if isinstance(value, str) else str(value)[:80]


def _text(value: object) -> str:
    return value.strip()[:512] if isinstance(value, str) else ""
