"""llama.cpp's command line, read and written: extraArgs into settings, an estimate into flags.

It must not estimate. ``--flag=value`` is refused: the engine's own parser does not know it.

    --split-mode row, tensor    not modelled: the estimate is of a split by layers, and a denial
                                becomes a warning that names the flag
    --fit on                    the engine lowers what nobody said until it fits: the same
    --model, --hf-file          a name such as model-Q4_K_M.gguf says the file type
    --hf-repo                   owner/model-GGUF:Q8_0; without a type the engine takes Q4_K_M
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plimsoll.engines.llama_cpp.constants import or_newest
from plimsoll.engines.llama_cpp.mixture import FILE_TYPES, file_type
from plimsoll.engines.plain_flags import Grammar, passed_on, read
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate, Reading

ALL = "999"
"""More layers than any model has, on every build."""

_SWITCHES = {
    "swa-full": ("--swa-full", ""),
    "kv-unified": ("--kv-unified", "--no-kv-unified"),
    "kv-offload": ("", "--no-kv-offload"),
    "cpu-moe": ("--cpu-moe", ""),
}
_FILE = re.compile(
    rf"(?:^|[-._:/])({'|'.join(sorted(FILE_TYPES, key=len, reverse=True))})(?:[-.]|$)", re.I
)
_LONGEST_NAME = 512
_WRITTEN = ("ctx-size", "gpu-layers", "kv-unified", "fit")


@lru_cache(maxsize=1)
def grammar() -> Grammar:
    """The flags of ``llama-server``."""
    text = Path(__file__).parent.joinpath("data/flags.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    typed = {name: (target, kind) for name, (target, kind) in data["typed"].items()}
    return Grammar(
        "llama.cpp",
        typed,
        {name: bool(valued) for name, valued in data["memory"].items()},
        {name: bool(valued) for name, valued in data["harmless"].items()},
        data["aliases"],
        equals=False,
        normal=_dashes,
    )


def _dashes(name: str) -> str:
    """Underscores in long flags count as dashes."""
    return name.replace("_", "-") if name.startswith("--") else name


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and the typed split; never raises."""
    reading = read(grammar(), args, settings, asked)
    own = dict(reading.settings.own)
    unread = list(reading.settings.unread)
    if own.get("split-mode") in ("row", "tensor"):
        unread.append(f"--split-mode {own['split-mode']}")
    if own.get("fit") == "on":
        unread.append("--fit on")
    if own.get("ctx-size") == "0":
        del own["ctx-size"]
    made = replace(reading.settings, own=tuple(own.items()), unread=tuple(dict.fromkeys(unread)))
    problems = list(reading.problems)
    flag, file = named_file(made.flags)
    if file and not made.quantization:
        made = replace(made, quantization=file)
    elif file and file_type(made.quantization) not in (None, file):
        stated = made.quantization
        problems.append(
            finding(Rule.FILE_OF_OTHER_TYPE, Field.EXTRA_ARGS, flag, quantization=stated)
        )
    return replace(reading, settings=made, problems=tuple(problems))


def named_file(flags: Sequence[str]) -> tuple[str, str]:
    """The flag that names the model's file, and the file type in that name; empty for none."""
    default = "", ""
    for flag in flags:
        name, _, value = flag.partition(" ")
        kind = grammar().find(name)
        if kind not in ("--model", "--hf-file", "--hf-repo", "--model-url"):
            continue
        found = _FILE.findall(value[-_LONGEST_NAME:])
        if found:
            return flag, file_type(found[-1]) or ""
        if kind == "--hf-repo" and value:
            default = flag, "q4_k_m"
    return default


def arguments(
    estimate: Estimate, settings: EngineSettings, context: int, unified: bool
) -> tuple[str, ...]:
    """The flags of ``llama-server`` that make it run as estimated, the user's own last."""
    own = dict(settings.own)
    figures = or_newest(settings.version)
    out = ["--n-gpu-layers", _layers(own), "--ctx-size", own.get("ctx-size", str(context))]
    slots = estimate.max_num_seqs
    if settings.max_num_seqs is not None or slots != int(figures.number("default_slots")):
        out += ["--parallel", str(slots)]
    if slots > 1 and figures.flag("unified_by_flag"):
        out.append("--kv-unified" if unified else "--no-kv-unified")
    if estimate.parallelism.pipeline > 1 and "split-mode" not in own:
        out += ["--split-mode", "layer"]
    if figures.flag("fits_itself"):
        out += ["--fit", own.get("fit", "off")]
    if settings.max_num_batched_tokens is not None:
        out += ["--batch-size", str(settings.max_num_batched_tokens)]
    if settings.kv_cache_dtype and settings.kv_cache_dtype != "auto":
        for side in ("cache-type-k", "cache-type-v"):
            if side not in own:
                out += [f"--{side}", estimate.kv_cache_dtype.split("/")[side.endswith("v")]
                        if "/" in estimate.kv_cache_dtype else estimate.kv_cache_dtype]  # fmt: skip
    for name, value in own.items():
        out += _own(name, value)
    said = {"--split-mode row", "--split-mode tensor", "--fit on"}
    kept = replace(settings, unread=tuple(f for f in settings.unread if f not in said))
    return (*out, *passed_on(kept))


def _layers(own: Mapping[str, str]) -> str:
    said = own.get("gpu-layers", "")
    return said if said.isdecimal() else ALL


def _own(name: str, value: str) -> list[str]:
    if name in _WRITTEN:
        return []
    if name in _SWITCHES:
        flag = _SWITCHES[name][0 if value == "True" else 1]
        return [flag] if flag else []
    if name == "mmproj" and value == "False":
        return ["--no-mmproj"]
    return [f"--{name}", value]
