"""What a dry start says: facts as JSON, and whose failure an exception was.

refused   the engine said no: the exception was raised by a `raise` or an `assert` with words in
          the engine's own code, or by its reader of arguments
unknown   everything else: the harness met something that it cannot do
"""

from __future__ import annotations

import ast
import json
import linecache
import re
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

ENGINES = ("vllm", "transformers", "sglang", "pydantic")
"""Packages whose own "no" is the engine's."""
_FOLDER = re.compile(r"\S*/model-\w{8}\b/?")
"""Where a case's files were put: says nothing to anybody else."""
MOST = 900
"""Letters of a message."""
BRIEF = 3500
"""Bytes of brief facts: what a container ends with holds 4,096."""
_SAID = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization")
_COUNTED = ("blocks", "bytes", "concurrency", "tokens", "max_model_len", "allocated")


def message(error: BaseException) -> str:
    """An exception's words on one line, with those of its cause."""
    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):
        text = "; ".join(str(one["msg"]) for one in error.errors())
    else:
        text = str(error) or type(error).__name__
        if error.__cause__ is not None and str(error.__cause__) not in text:
            text += f" <- {type(error.__cause__).__name__}: {error.__cause__}"
    return _FOLDER.sub("MODEL", " ".join(text.split()))[:MOST]


def places(trace: TracebackType | None) -> list[str]:
    """The last places of a traceback, below site-packages."""
    frames = traceback.extract_tb(trace)
    return [f"{_short(one.filename)}:{one.lineno} {one.name}" for one in frames][-8:]


def _short(path: str) -> str:
    """A path below site-packages, or below the folder that the harness is in."""
    return re.split(r"(?:site|dist)-packages/|/(?=plimsoll_drystart/)", path)[-1]


def verdict(error: BaseException) -> dict[str, Any]:
    """{"refused": ...} or {"unknown": ...}: what is said of an exception that ended a dry start."""
    said = {
        "class": type(error).__name__,
        "message": message(error),
        "places": places(error.__traceback__),
    }
    return {"refused" if is_refusal(error) else "unknown": said}


def is_refusal(error: BaseException) -> bool:
    """Whether the engine itself said no."""
    if isinstance(error, SystemExit):
        return error.code not in (0, None)
    if type(error).__name__ == "ValidationError":
        return _in_engine(error.__traceback__)
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not _in_engine(error.__traceback__):
        return False
    last = frames[-1]
    if _short(last.filename).split("/")[0] not in ENGINES:
        return False
    line = _statement(last.filename, last.lineno or 0)
    return line.startswith("raise") or (line.startswith("assert") and bool(str(error)))


def _in_engine(trace: TracebackType | None) -> bool:
    return any(_short(f.filename).split("/")[0] in ENGINES for f in traceback.extract_tb(trace))


def _statement(path: str, line: int) -> str:
    """The statement that a line belongs to: it may begin further up."""
    source = "".join(linecache.getlines(path))
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return linecache.getline(path, line).strip()
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise | ast.Assert)
        and node.lineno <= line <= (node.end_lineno or 0)
    ]
    if not found:
        return ""
    return "assert" if isinstance(found[-1], ast.Assert) else "raise"


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, int | float | str | bool | type(None)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value).removeprefix("torch.")


def brief(row: dict[str, Any]) -> str:
    """The facts that matter most, as JSON of at most `BRIEF` bytes: a container's last words."""
    made: dict[str, Any] = {
        key: row[key] for key in ("id", "engine", "version", "harness", "reached") if key in row
    }
    made["id"] = str(made.get("id", ""))[:128]
    for end in ("refused", "unknown"):
        if end in row:
            made[end] = dict(row[end], places=row[end]["places"][-1:])
    for part, names in (("resolved", _SAID), ("cache", _COUNTED)):
        if part in row:
            made[part] = {name: row[part][name] for name in names if name in row[part]}
    for part in ("weights", "profile"):
        if part in row:
            made[part] = {k: v for k, v in row[part].items() if isinstance(v, int)}
    if "moved" in row:
        made["moved"] = len(row["moved"])
    text = json.dumps(made, separators=(",", ":"))
    while len(text) > BRIEF:  # words are all that may be long
        ended = made.get("refused") or made.get("unknown") or {}
        longest = max(ended, key=lambda key: len(str(ended[key])), default="")
        if not longest:
            return json.dumps({"reached": row.get("reached", ""), "unknown": {"message": "long"}})
        cut = ended[longest]
        ended[longest] = (
            [cut[0][: len(cut[0]) // 2]] if isinstance(cut, list) else cut[: len(cut) // 2]
        )
        text = json.dumps(made, separators=(",", ":"))
    return text
