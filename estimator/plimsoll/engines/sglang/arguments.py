"""SGLang's command line, read and written: extraArgs into settings, an estimate into flags.

It must not estimate. How flags and the split of a replica go together:

    --tp-size --pp-size --dp-size        tensor, pipeline, data; dp replicas have GPUs of their own
    the same with --enable-dp-attention  dp lies inside tp: tensor = tp / dp, data = dp
    --ep-size, --enable-ep-moe           experts whole on ranks
    --chunked-prefill-size               maxNumBatchedTokens; -1: off, then --max-prefill-tokens
    --mem-fraction-static                gpuMemoryUtilization
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Reading
from plimsoll.engines.list_flags import list_grammar, passed_on, read_list
from plimsoll.engines.sglang.defaults import has_attention_ranks, whole
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate
    from plimsoll.engines.list_flags import ListGrammar
    from plimsoll.findings import Finding

_CHUNK: Final = "chunked-prefill-size"
_DIGITS: Final = 15
"""More digits than these no batch has."""
_EXPERTS: Final = ("expert-parallel-size", "enable-ep-moe", "enable-deepep-moe")
_ON: Final = "True"
"""The value of a switch of the engine's own that is given."""
_LOADS: Final = frozenset(
    {"auto", "safetensors", "pt", "npcache", "dummy", "mistral", "runai_streamer",
     "fastsafetensors", "flash_rl", "remote", "remote_instance", "sharded_state", "layered"}
)  # fmt: skip


def sglang_grammar() -> ListGrammar:
    """The flags of ``sglang.launch_server``."""
    return list_grammar("SGLang", Path(__file__).parent / "data/flags.json", prefixes=True)


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    if not args:
        return Reading(settings, asked)
    ranks = has_attention_ranks(settings) or any(
        a.partition("=")[0] == "--enable-dp-attention" for a in args
    )
    # Data-parallel attention changes what --tp-size means: it is compared once dp is known.
    plain = replace(asked, expert=None, tensor=None if ranks else asked.tensor)
    reading = read_list(sglang_grammar(), args, settings, plain)
    problems = list(reading.problems)
    settings, chunk_problem = _chunk(reading.settings)
    problems.extend(chunk_problem)
    split = reading.split
    if ranks:
        split = replace(split, tensor=_attention_tensor(split, asked, problems))
    expert, settings = _expert(settings, asked, problems)
    settings = _loads(settings)
    return Reading(settings, replace(split, expert=expert), tuple(problems), reading.warnings)


def _chunk(settings: EngineSettings) -> tuple[EngineSettings, tuple[Finding, ...]]:
    """``--chunked-prefill-size`` is maxNumBatchedTokens, unless it switches chunking off."""
    own = dict(settings.own)
    text = own.get(_CHUNK, "")
    if not text.isdecimal() or len(text) > _DIGITS or int(text) == 0:
        if text and settings.max_num_batched_tokens is not None:
            return settings, (_contradiction(text, settings),)
        return settings, ()
    del own[_CHUNK]
    if settings.max_num_batched_tokens not in (None, int(text)):
        return settings, (_contradiction(text, settings),)
    said = replace(settings, max_num_batched_tokens=int(text), own=tuple(sorted(own.items())))
    return said, ()


def _contradiction(text: str, settings: EngineSettings) -> Finding:
    return finding(
        Rule.FLAG_CONTRADICTS_FIELD,
        Field.EXTRA_ARGS,
        f"--{_CHUNK}={text}",
        typed=Field.MAX_NUM_BATCHED_TOKENS,
        value=str(settings.max_num_batched_tokens),
    )


def _attention_tensor(split: AskedSplit, asked: AskedSplit, problems: list[Finding]) -> int | None:
    """Tensor-parallel size of attention: --tp-size / --dp-size, or the typed one."""
    said, own, data = split.tensor, asked.tensor, split.data
    if said is None:
        return own
    if not data or said % data:
        given, rule = f"--tp-size={said}", Rule.ATTENTION_RANKS_DO_NOT_DIVIDE
        problems.append(finding(rule, Field.EXTRA_ARGS, given, data=str(data or "unsaid")))
        return own
    if own is not None and own != said // data:
        problems.append(
            finding(
                Rule.ATTENTION_RANKS_CONTRADICT,
                Field.EXTRA_ARGS,
                f"--tp-size={said}",
                tensor=own,
                data=data,
            )
        )
    return said // data


def _expert(
    settings: EngineSettings,
    asked: AskedSplit,
    problems: list[Finding],
) -> tuple[bool | None, EngineSettings]:
    """Whether experts lie whole on ranks, by the flags or the typed field."""
    own, field = dict(settings.own), asked.expert
    said = whole(own, _EXPERTS[0], 0) > 1 or any(name in own for name in _EXPERTS[1:])
    given = any(name in own for name in _EXPERTS)
    for name in _EXPERTS:
        own.pop(name, None)
    settings = replace(settings, own=tuple(sorted(own.items())))
    if not given:
        return field, settings
    if field is not None and field != said:
        problems.append(
            finding(
                Rule.FEATURE_CONTRADICTS_FIELD,
                Field.EXTRA_ARGS,
                written="--ep-size",
                typed=Field.EXPERT,
                value=str(field).lower(),
            )
        )
    return said, settings


def _loads(settings: EngineSettings) -> EngineSettings:
    """``--load-format`` touches memory only where it changes how weights are held."""
    moved = tuple(
        flag
        for flag in settings.unread
        if flag.startswith("--load-format") and flag.split("=")[-1].split(" ")[-1] in _LOADS
    )
    if not moved:
        return settings
    unread = tuple(flag for flag in settings.unread if flag not in moved)
    return replace(settings, unread=unread, flags=(*settings.flags, *moved))


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``sglang.launch_server`` that make it run as estimated, the user's own last."""
    split, attention = estimate.parallelism, has_attention_ranks(settings)
    tensor = split.tensor * (split.data if attention else 1)
    out = [f"--tp-size={tensor}"]
    if split.pipeline > 1:
        out.append(f"--pp-size={split.pipeline}")
    if split.data > 1:
        out.append(f"--dp-size={split.data}")
    if split.expert:
        out.append(f"--ep-size={tensor}")
    out.append(f"--context-length={estimate.max_model_len}")
    if settings.utilization is not None:
        out.append(f"--mem-fraction-static={settings.utilization}")
    if settings.max_num_seqs is not None:
        out.append(f"--max-running-requests={settings.max_num_seqs}")
    if settings.max_num_batched_tokens is not None:
        out.append(f"--{_CHUNK}={settings.max_num_batched_tokens}")
    if settings.kv_cache_dtype:
        out.append(f"--kv-cache-dtype={settings.kv_cache_dtype}")
    if settings.dtype:
        out.append(f"--dtype={settings.dtype}")
    if settings.quantization:
        out.append(f"--quantization={settings.quantization}")
    if settings.block_size is not None:
        out.append(f"--page-size={settings.block_size}")
    if settings.enforce_eager:
        out.append("--disable-cuda-graph")
    out.extend(f"--{name}" if value == _ON else f"--{name}={value}" for name, value in settings.own)
    out.extend(passed_on(sglang_grammar(), settings))
    return tuple(out)
