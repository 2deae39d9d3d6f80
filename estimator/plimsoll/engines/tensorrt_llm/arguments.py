"""TensorRT-LLM's command line, read and written: extraArgs into settings, an estimate into flags.

The options file (``--config``, ``--extra_llm_api_options``) is not read: it may set anything, so
that a denial becomes a warning that names it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Reading
from plimsoll.engines.tensorrt_llm.defaults import TABLE, TensorRTLLMOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate

GRAMMAR: Final = flags.grammar("TensorRT-LLM", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and the typed split; never raises.

    ``--ep_size`` above 1 keeps experts whole; how many ranks share one is the tensor size's rest.
    """
    command = flags.read(GRAMMAR, args, settings, asked)
    options, split = TensorRTLLMOptions(**command.options), command.split
    if options.ep_size is not None and split.expert is None:
        split = replace(split, expert=options.ep_size > 1)
    settings = replace(command.settings, options=options.or_none())
    return Reading(settings, split, tuple(command.problems), tuple(command.warnings))


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``trtllm-serve`` that make it run as estimated, the user's own last."""
    values = flags.values_to_write(estimate, settings)
    if not TABLE.or_newest(settings.version).flag("cache_dtype_flag"):
        values["kv_cache_dtype"] = None
    options = asdict(TensorRTLLMOptions.of(settings))
    split = estimate.parallelism
    options["ep_size"] = options["ep_size"] or split.tensor if split.expert else None
    return (*GRAMMAR.write(values, options), *GRAMMAR.passed_on(settings))
