"""vLLM's command line, read and written: extraArgs into settings, an estimate into flags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Reading
from plimsoll.engines.vllm import features
from plimsoll.engines.vllm.constants import parse_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate

GRAMMAR: Final = flags.grammar("vLLM", Path(__file__).parent / "data/flags.json")
AUTO_LENGTH: Final = "--max-model-len=auto"
"""The engine shortens the context until it fits, so that no length is certain to be refused."""


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    command = flags.read(GRAMMAR, args, settings, asked)
    settings = features.with_features(command) if args else settings
    return Reading(
        without_unmodelled(settings),
        command.split,
        tuple(command.problems),
        tuple(command.warnings),
    )


def without_unmodelled(settings: EngineSettings) -> EngineSettings:
    """The settings with what no model here covers moved to `EngineSettings.unread`."""
    settings, options = features.unmodelled(settings)
    if not options:
        return settings
    return replace(settings, unread=(*settings.unread, *GRAMMAR.write({}, options)))


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``vllm serve`` that make it run as estimated, the user's own last."""
    values = flags.values_to_write(estimate, settings)
    if AUTO_LENGTH in settings.unread:
        values["max_model_len"] = None
    options = features.options_to_write(settings, parse_version(estimate.version))
    return (*GRAMMAR.write(values, options), *GRAMMAR.passed_on(settings))
