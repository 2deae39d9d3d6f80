"""What the engine's class of a model cannot do: pipeline stages, LoRA adapters.

    stages      --pipeline-parallel-size above 1 is refused for a class without SupportsPP
    adapters    --enable-lora ends while loading a class without SupportsLoRA ("does not support
                LoRA yet")

Each class stands in the table with the releases in which it cannot: from the first that was read
without it (from its beginning, where that is empty) until the minor release of the first that was
read with it. Nothing is refused where no version is said, except what no release can; nothing for
a release that is newer than those read, or runs the model by transformers' code, which can both.

Source: data/support.json; vllm/config/model.py (verify_with_parallel_config),
vllm/v1/worker/lora_model_runner_mixin.py and before it vllm/worker/model_runner.py.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.vllm.options import TABLE
from plimsoll.engines.vllm.releases import missing, other_code
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_STAGES: Final = "without stages"
_ADAPTERS: Final = "without adapters"
Spans = tuple[tuple[str, str], ...]
"""Releases: from the first on, until before the second; "" for no end."""


def has_stages(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether a model can be cut into pipeline stages."""
    return not _lacks(_STAGES, architecture, settings)


def model_faults(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism | None
) -> Iterator[Finding]:
    """Stages or adapters that are asked of a class without them."""
    name, version = architecture.class_name, TABLE.or_newest(settings.version).version
    stages = parallelism.pipeline if parallelism is not None else 1
    if stages > 1 and not has_stages(architecture, settings):
        yield finding(Rule.MODEL_WITHOUT_STAGES, Field.PIPELINE, stages, name=name, version=version)
    if settings.lora is not None and _lacks(_ADAPTERS, architecture, settings):
        yield finding(Rule.MODEL_WITHOUT_ADAPTERS, Field.LORA, name=name, version=version)


def _lacks(what: str, architecture: Architecture, settings: EngineSettings) -> bool:
    spans = _spans(what).get(architecture.class_name, ())
    if not spans or other_code(settings):
        return False
    version = settings.version
    if not version.strip():
        return ("", "") in spans
    if TABLE.or_newest(version).newer or missing(architecture, version):
        return False
    return any(_within(version, span) for span in spans)


def _within(version: str, span: tuple[str, str]) -> bool:
    own, (since, until) = TABLE.number(version), span
    begun = not since or TABLE.parse(since) <= own
    return begun and (not until or own < TABLE.parse(until))


@cache
def _spans(what: str) -> dict[str, Spans]:
    """The releases in which each class lacks it."""
    text = (Path(__file__).parent / "data/support.json").read_text("utf-8")
    data: dict[str, dict[str, Any]] = json.loads(text)
    found: dict[str, Spans] = {}
    for releases, names in data[what].items():
        since, _, until = releases.partition("-")
        for name in names:
            found[name] = (*found.get(name, ()), (since, until))
    return found
