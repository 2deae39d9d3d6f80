"""TGI's command line (``text-generation-launcher``), read and written.

``--num-shard`` is tensor parallelism, ``--max-total-tokens`` the context,
``--max-batch-prefill-tokens`` the batched tokens, ``--cuda-memory-fraction`` the utilization,
``--cuda-graphs 0`` eager mode.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Reading
from plimsoll.engines.tgi.defaults import TGIOptions
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate

GRAMMAR: Final = flags.grammar("TGI", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    command = flags.read(GRAMMAR, args, settings, asked)
    options, split, problems = command.options, command.split, command.problems
    settings = command.settings
    if options.get("cuda_graphs") == "0":
        del options["cuda_graphs"]
        settings = replace(settings, enforce_eager=True)
    sharded = str(options.pop("sharded", "true")).lower()
    if sharded == "false":
        if split.tensor not in (None, 1):
            problems.append(finding(Rule.NOT_SHARDED, Field.EXTRA_ARGS, gpus=split.tensor or 1))
        split = replace(split, tensor=split.tensor or 1)
    elif sharded != "true":
        problems.append(finding(Rule.SHARDED_VALUE, Field.EXTRA_ARGS, f"--sharded={sharded}"))
    settings = replace(settings, options=TGIOptions(**options).or_none())
    return Reading(settings, split, tuple(problems), tuple(command.warnings))


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``text-generation-launcher`` that make it run as estimated, the user's last."""
    values = flags.values_to_write(estimate, settings)
    values["max_model_len"] = settings.max_model_len
    options = asdict(TGIOptions.of(settings))
    if settings.enforce_eager:
        options["cuda_graphs"] = "0"
    return (*GRAMMAR.write(values, options), *GRAMMAR.passed_on(settings))
