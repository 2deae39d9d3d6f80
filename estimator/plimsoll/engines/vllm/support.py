"""What the engine's class of a model cannot do: pipeline stages, LoRA adapters; what is reported.

    stages      --pipeline-parallel-size above 1 is refused for a class without SupportsPP
    adapters    --enable-lora ends while loading a class without SupportsLoRA ("does not support
                LoRA yet")

    everywhere  a class that makes its lm_head, or its embedding, without asking on which stage it
                is has it on each

Each class stands in the table with the releases in which it cannot: from the first that was read
without it (from its beginning, where that is empty) until the minor release of the first that was
read with it. Nothing is refused where no version is said, except what no release can; nothing for
a release that is newer than those read, or runs the model by transformers' code, which can both.

Doubtful, but not refused:

    builds      from 0.20 on wheels and images are built with CUDA 13, which has no compute
                capability below 7.5; the source still knows 7.0
    reports     releases that several people report not to start with a model, cause unknown

Source: data/support.json; VLLM_MAIN_CUDA_VERSION of vllm/envs.py; vllm/config/model.py
(verify_with_parallel_config), vllm/v1/worker/lora_model_runner_mixin.py and before it
vllm/worker/model_runner.py. Everywhere: vllm/model_executor/models of 0.14.1, 0.17.1, 0.22.1,
0.24.0, 0.27.1 and 0.32.0, taken to be so before and after; 0.22.1, 0.24.0 and 0.32.0, run without a
GPU, have both on both of two stages of Qwen3-30B-A3B and gpt-oss-20b.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.vllm.options import TABLE
from plimsoll.engines.vllm.releases import missing, other_code
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import Part, Stage
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_STAGES: Final = "without stages"
_ADAPTERS: Final = "without adapters"
_HEADS: Final = "head on every stage"
_EMBEDDINGS: Final = "embedding on every stage"
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


def on_stages(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism
) -> Architecture:
    """The model as its weights lie: with its head and its embedding on every pipeline stage, where
    its class makes them there."""
    if parallelism.pipeline == 1 or other_code(settings):
        return architecture
    parts = tuple(
        part
        for part, what in ((Part.HEAD, _HEADS), (Part.EMBEDDING, _EMBEDDINGS))
        if _everywhere(what, architecture, settings)
    )
    if not parts:
        return architecture
    return architecture.remembered(
        ("vllm.on stages", parts), lambda: _on_every_stage(architecture, parts)
    )


def _everywhere(what: str, architecture: Architecture, settings: EngineSettings) -> bool:
    spans = _spans(what).get(architecture.class_name, ())
    version = TABLE.or_newest(settings.version).version
    return any(_within(version, span) for span in spans)


def _on_every_stage(architecture: Architecture, parts: tuple[Part, ...]) -> Architecture:
    outside = (
        replace(tensor, stage=Stage.EVERY) if tensor.part in parts else tensor
        for tensor in architecture.outside
    )
    tied = architecture.tied and Part.EMBEDDING not in parts  # else the head is where it is
    return replace(architecture, outside=tuple(outside), tied=tied)


def notes(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Finding]:
    """What makes a start doubtful though nothing that is computed here speaks against it."""
    figures = TABLE.or_newest(settings.version)
    version, engine = figures.version, TABLE.title
    oldest = _compute(figures["built_for"].names[0])
    if (0, 0) != accelerator.compute < oldest:
        yield finding(
            Rule.BUILDS_WITHOUT_KERNELS,
            Field.ALLOWED,
            gpu=accelerator.title,
            compute=".".join(map(str, accelerator.compute)),
            engine=engine,
            version=version,
        )
    for row in _data()["reported"]:
        span = (row["since"], row["until"])
        if architecture.class_name in row["classes"] and _within(settings.version, span):
            yield finding(
                Rule.REPORTED_NOT_TO_START,
                Field.VERSION,
                name=architecture.class_name,
                engine=engine,
                version=version,
                sources=", ".join(row["sources"]),
            )


def _compute(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


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
    found: dict[str, Spans] = {}
    for releases, names in _data()[what].items():
        since, _, until = releases.partition("-")
        for name in names:
            found[name] = (*found.get(name, ()), (since, until))
    return found


@cache
def _data() -> dict[str, Any]:
    text = (Path(__file__).parent / "data/support.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data
