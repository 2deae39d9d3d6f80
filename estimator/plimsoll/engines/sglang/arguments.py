"""SGLang's command line, read and written: extraArgs into settings, an estimate into flags.

How flags and the split of a replica go together:

    --tp-size --pp-size --dp-size        tensor, pipeline, data; dp replicas have GPUs of their own
    the same with --enable-dp-attention  dp lies inside tp: tensor = tp / dp, data = dp
    --ep-size, --enable-ep-moe           experts whole on ranks
    --chunked-prefill-size               maxNumBatchedTokens; -1: off, then --max-prefill-tokens
    --mem-fraction-static                gpuMemoryUtilization
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Reading
from plimsoll.engines.sglang.defaults import SGLangOptions, has_attention_ranks
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate
    from plimsoll.findings import Finding

GRAMMAR: Final = flags.grammar("SGLang", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    if not args:
        return Reading(settings, asked)
    ranks = has_attention_ranks(settings) or any(
        a.partition("=")[0] == "--enable-dp-attention" for a in args
    )
    # Data-parallel attention changes what --tp-size means: it is compared once dp is known.
    plain = replace(asked, expert=None, tensor=None if ranks else asked.tensor)
    command = flags.read(GRAMMAR, args, settings, plain)
    options, split, problems = command.options, command.split, command.problems
    settings = _chunk(command.settings, options, problems)
    if ranks:
        split = replace(split, tensor=_attention_tensor(split, asked, problems))
    split = replace(split, expert=_expert(options, asked, problems))
    settings = replace(settings, options=SGLangOptions(**options).or_none())
    return Reading(settings, split, tuple(problems), tuple(command.warnings))


def _chunk(
    settings: EngineSettings, options: dict[str, Any], problems: list[Finding]
) -> EngineSettings:
    """``--chunked-prefill-size`` is maxNumBatchedTokens, unless it switches chunking off."""
    chunk, typed = options.get("chunked_prefill_size"), settings.max_num_batched_tokens
    if chunk is not None and typed not in (None, chunk):
        problems.append(
            finding(
                Rule.FLAG_CONTRADICTS_FIELD,
                Field.EXTRA_ARGS,
                f"--chunked-prefill-size={chunk}",
                typed=Field.MAX_NUM_BATCHED_TOKENS,
                value=str(typed),
            )
        )
    if chunk is None or chunk <= 0:
        return settings
    del options["chunked_prefill_size"]
    return replace(settings, max_num_batched_tokens=chunk)


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


def _expert(options: dict[str, Any], asked: AskedSplit, problems: list[Finding]) -> bool | None:
    """Whether experts lie whole on ranks, by the flags or the typed field."""
    ranks = options.pop("expert_parallel_size", None)
    whole = [options.pop(name, None) for name in ("enable_ep_moe", "enable_deepep_moe")]
    if ranks is None and not any(whole):
        return asked.expert
    said = (ranks or 1) > 1 or any(whole)
    if asked.expert not in (None, said):
        problems.append(
            finding(
                Rule.FEATURE_CONTRADICTS_FIELD,
                Field.EXTRA_ARGS,
                written="--ep-size",
                typed=Field.EXPERT,
                value=str(asked.expert).lower(),
            )
        )
    return said


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``sglang.launch_server`` that make it run as estimated, the user's own last."""
    split = estimate.parallelism
    tensor = split.tensor * (split.data if has_attention_ranks(settings) else 1)
    values = flags.values_to_write(estimate, settings) | {"tensor": tensor}
    options = asdict(SGLangOptions.of(settings))
    options["expert_parallel_size"] = tensor if split.expert else None
    if settings.max_num_batched_tokens is not None:
        options["chunked_prefill_size"] = settings.max_num_batched_tokens
    return (*GRAMMAR.write(values, options), *GRAMMAR.passed_on(settings))
