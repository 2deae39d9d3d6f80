"""vLLM's command line, read and written: extraArgs into settings, an estimate into flags.

It must not estimate. A flag that contradicts a typed field is a problem; a feature's flag is read
by `plimsoll.engines.vllm.features`; one that touches memory and is not read goes to
`EngineSettings.unread`; an unknown one is a warning.

    length, integer   32768, 32k (32,000), 32K (32,768); max_model_len also auto and -1
    share             above 0, at most 1
"""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import AskedSplit, Reading
from plimsoll.engines.vllm.constants import parse_version
from plimsoll.engines.vllm.features import Features, at, without_unmodelled
from plimsoll.engines.vllm.features import flags as feature_flags
from plimsoll.engines.vllm.flags import Role, Shape, Use, takes_many, uses
from plimsoll.errors import Unreadable
from plimsoll.findings import Finding, Rule, finding
from plimsoll.paths import Field
from plimsoll.units import parse_fraction, parse_human_integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import EngineSettings, Estimate

_TWO_IN_ONE: Final = re.compile(r"--?[A-Za-z][\w.-]*\s")
AUTO_LENGTH: Final = "--max-model-len=auto"
"""The engine shortens the context until it fits, so that no length is certain to be refused."""

_PARALLEL: Final = ("tensor", "pipeline", "data", "expert")
_HARMLESS_FORMATS: Final = frozenset(
    {"auto", "safetensors", "fastsafetensors", "pt", "npcache", "runai_streamer", "tensorizer",
     "instanttensor", "mistral", "dummy"}
)  # fmt: skip


def read_arguments(
    args: Sequence[str],
    settings: EngineSettings,
    asked: AskedSplit,
) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    if not args:
        return Reading(without_unmodelled(settings), asked)
    typed: dict[str, Any] = {f.name: getattr(settings, f.name) for f in fields(settings)}
    typed |= asdict(asked)
    said: dict[str, Any] = {}
    problems: list[Finding] = []
    warnings: list[Finding] = []
    unread: list[str] = list(settings.unread)
    flags: list[str] = list(settings.flags)
    features = Features(parse_human_integer)
    found, stray = uses(args)
    for index, token in stray:
        warnings.append(finding(Rule.STRAY_ARGUMENT, Field.EXTRA_ARGS, token, index))
    for use in found:
        if _TWO_IN_ONE.match(use.written[0]):
            problems.append(at(use, Rule.TWO_ARGUMENTS_IN_ONE, use.written[0]))
        elif use.flag.role is Role.TYPED:
            _take_typed(use, typed, said, problems, warnings, unread)
        elif use.flag.role is Role.OWN:
            wrong = features.take(use)
            problems += [wrong] if wrong else []
        elif use.flag.shape in (Shape.VALUE, Shape.MANY) and use.on and not use.values:
            problems.append(at(use, Rule.FLAG_WITHOUT_VALUE, use.written[0]))
        else:
            if use.flag.role is Role.UNKNOWN:
                warnings.append(at(use, Rule.UNKNOWN_FLAG, use.written[0], engine="vLLM"))
            (unread if _touches_memory(use) else flags).append(_joined(use))
    settings = features.into(settings, problems, warnings)
    split = AskedSplit(**{name: said.pop(name, typed[name]) for name in _PARALLEL})
    settings = replace(settings, **said, unread=tuple(unread), flags=tuple(flags))
    return Reading(without_unmodelled(settings), split, tuple(problems), tuple(warnings))


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``vllm serve`` that make it run as estimated, the user's own last."""
    split = estimate.parallelism
    out = [f"--tensor-parallel-size={split.tensor}"]
    if split.pipeline > 1:
        out.append(f"--pipeline-parallel-size={split.pipeline}")
    if split.data > 1:
        out.append(f"--data-parallel-size={split.data}")
    if split.expert:
        out.append("--enable-expert-parallel")
    if AUTO_LENGTH not in settings.unread:
        out.append(f"--max-model-len={estimate.max_model_len}")
    if settings.utilization is not None:
        out.append(f"--gpu-memory-utilization={settings.utilization}")
    if settings.max_num_seqs is not None:
        out.append(f"--max-num-seqs={settings.max_num_seqs}")
    if settings.max_num_batched_tokens is not None:
        out.append(f"--max-num-batched-tokens={settings.max_num_batched_tokens}")
    if settings.kv_cache_dtype:
        out.append(f"--kv-cache-dtype={settings.kv_cache_dtype}")
    if settings.kv_cache_memory is not None:
        out.append(f"--kv-cache-memory-bytes={settings.kv_cache_memory}")
    if settings.dtype:
        out.append(f"--dtype={settings.dtype}")
    if settings.quantization:
        out.append(f"--quantization={settings.quantization}")
    if settings.block_size is not None:
        out.append(f"--block-size={settings.block_size}")
    if settings.enforce_eager is not None:
        out.append("--enforce-eager" if settings.enforce_eager else "--no-enforce-eager")
    out += feature_flags(settings, parse_version(estimate.version))
    for flag in (*settings.unread, *settings.flags):
        out.extend(flag.split(" ") if takes_many(flag.split(" ", 1)[0]) else [flag])
    return tuple(out)


def _take_typed(
    use: Use,
    typed: dict[str, Any],
    said: dict[str, Any],
    problems: list[Finding],
    warnings: list[Finding],
    unread: list[str],
) -> None:
    """One flag that has a field: its value is taken, or what is wrong with it is noted."""
    field = use.flag.field
    if field == "max_model_len" and use.values and use.values[0].lower() in ("auto", "-1"):
        unread.append(AUTO_LENGTH)
        return
    try:
        value = _value(use)
    except Unreadable as error:
        written, flag = " ".join(use.written), use.flag.name
        problems.append(at(use, Rule.FLAG_UNREADABLE, written, flag=flag, wanted=error.wanted))
        return
    own = typed[field]
    if own not in (None, "") and own != value:
        written, rule = " ".join(use.written), Rule.FLAG_CONTRADICTS_FIELD
        problems.append(at(use, rule, written, typed=Field(field), value=_plain(own)))
        return
    if field in said and said[field] != value:
        warnings.append(at(use, Rule.FLAG_GIVEN_TWICE, flag=use.flag.name))
    said[field] = value


def _value(use: Use) -> Any:
    """The value of a typed flag. Raises `Unreadable`."""
    kind = use.flag.kind
    if kind == "switch":
        if use.values:
            raise Unreadable(use.values[0], "a switch without a value")
        return use.on
    if not use.values or not use.on:
        raise Unreadable("", "a flag with a value")
    text = use.values[0].strip()
    if kind == "share":
        return parse_fraction(text)
    if kind == "word":
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
            raise Unreadable(text, "a word")
        return text
    return parse_human_integer(text)


def _touches_memory(use: Use) -> bool:
    if use.flag.name == "--load-format":
        return use.values[0] not in _HARMLESS_FORMATS
    return use.flag.role is Role.MEMORY


def _joined(use: Use) -> str:
    """A use as one text: as an argument, or a list flag with its values after spaces."""
    if use.flag.shape is Shape.SWITCH and not use.values:
        return use.flag.name if use.on else "--no-" + use.flag.name.removeprefix("--")
    return ("=" if len(use.written) == 2 else " ").join(use.written)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
