"""llama.cpp's command line, read and written: extraArgs into settings, an estimate into flags.

``--flag=value`` is refused: the engine's own parser does not know it.

    --split-mode row, tensor    not modelled: the estimate is of a split by layers, and a denial
                                becomes a warning that names the flag
    --fit on                    the engine lowers what nobody said until it fits: the same
    --model, --hf-file          a name such as model-Q4_K_M.gguf says the file type
    --hf-repo                   owner/model-GGUF:Q8_0; without a type the engine takes Q4_K_M
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Reading
from plimsoll.engines.llama_cpp.constants import or_newest
from plimsoll.engines.llama_cpp.defaults import LlamaCppOptions
from plimsoll.engines.llama_cpp.mixture import FILE_TYPES, file_type
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate

ALL = "999"
"""More layers than any model has, on every build."""

_FILE = re.compile(
    rf"(?:^|[-._:/])({'|'.join(sorted(FILE_TYPES, key=len, reverse=True))})(?:[-.]|$)", re.I
)
_LONGEST_NAME = 512
GRAMMAR: Final = flags.grammar("llama.cpp", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and the typed split; never raises."""
    command = flags.read(GRAMMAR, args, settings, asked)
    options, problems = LlamaCppOptions(**command.options), command.problems
    spread = []
    if options.split_mode in ("row", "tensor"):
        spread.append(f"--split-mode {options.split_mode}")
    if options.fit == "on":
        spread.append("--fit on")
    if options.ctx_size == 0:
        options = replace(options, ctx_size=None)
    made = replace(
        command.settings,
        options=options.or_none(),
        unread=tuple(dict.fromkeys((*command.settings.unread, *spread))),
        shrinking=tuple(dict.fromkeys((*command.settings.shrinking, *spread))),
    )
    flag, file = named_file(made.flags)
    if file and not made.quantization:
        made = replace(made, quantization=file)
    elif file and file_type(made.quantization) not in (None, file):
        stated = made.quantization
        problems.append(
            finding(Rule.FILE_OF_OTHER_TYPE, Field.EXTRA_ARGS, flag, quantization=stated)
        )
    return Reading(made, command.split, tuple(problems), tuple(command.warnings))


def named_file(texts: Sequence[str]) -> tuple[str, str]:
    """The flag that names the model's file, and the file type in that name; empty for none."""
    default = "", ""
    for flag in texts:
        name, _, value = flag.partition(" ")
        kind = GRAMMAR.find(name)[0].name
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
    options, figures = LlamaCppOptions.of(settings), or_newest(settings.version)
    slots, several = estimate.max_num_seqs, estimate.parallelism.pipeline > 1
    values: dict[str, object] = {"max_num_batched_tokens": settings.max_num_batched_tokens}
    if settings.max_num_seqs is not None or slots != int(figures.number("default_slots")):
        values["max_num_seqs"] = slots
    layers = options.gpu_layers or ""
    types = (options.cache_type_k, options.cache_type_v)
    if settings.kv_cache_dtype and settings.kv_cache_dtype != "auto":
        both = estimate.kv_cache_dtype.split("/")
        types = (types[0] or both[0], types[1] or both[-1])
    written = asdict(options) | {
        "gpu_layers": layers if layers.isdecimal() else ALL,
        "ctx_size": options.ctx_size or context,
        "kv_unified": unified if slots > 1 and figures.flag("unified_by_flag") else None,
        "split_mode": options.split_mode or ("layer" if several else None),
        "fit": options.fit or "off" if figures.flag("fits_itself") else None,
        "cache_type_k": types[0],
        "cache_type_v": types[1],
        "kv_offload": False if options.kv_offload is False else None,
    }
    said = {"--split-mode row", "--split-mode tensor", "--fit on"}
    kept = replace(settings, unread=tuple(f for f in settings.unread if f not in said))
    return (*GRAMMAR.write(values, written), *GRAMMAR.passed_on(kept))
