"""What the tests of vLLM's features share: flags in, an estimate out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.accelerators.catalogue import everything
from plimsoll.engines.base import (
    NOTHING_ASKED,
    EngineSettings,
    Estimate,
    Parallelism,
    Reading,
    TermName,
    Workload,
)
from plimsoll.engines.registry import engine
from plimsoll.engines.vllm.lora import RANKS
from plimsoll.models.catalogue import load

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

__all__ = ["RANKS", "estimate", "extra", "model", "read"]

_GPUS = {accelerator.name: accelerator for accelerator in everything()}


def model(name: str) -> Architecture:
    """A model of the catalogue."""
    entry = load().find(name)
    assert entry is not None
    return entry.architecture


def read(*flags: str, settings: EngineSettings | None = None) -> Reading:
    """The flags beside typed settings."""
    return engine("vllm").read_arguments(flags, settings or EngineSettings(), NOTHING_ASKED)


def estimate(
    name: str | Architecture,
    *flags: str,
    version: str = "",
    tensor: int = 1,
    pipeline: int = 1,
    expert: bool = False,
    gpu: str = "nvidia-h200-141gb",
    settings: EngineSettings | None = None,
) -> Estimate:
    """The estimate of a model of the catalogue with these flags."""
    typed = settings or EngineSettings(version=version)
    reading = read(*flags, settings=typed)
    assert not reading.problems
    architecture = model(name) if isinstance(name, str) else name
    split = Parallelism(tensor, pipeline, 1, expert)
    return engine("vllm").estimate(architecture, reading.settings, Workload(), split, _GPUS[gpu])


def extra(found: Estimate, name: TermName) -> int:
    """Bytes of a term that only some estimates have."""
    return sum(term.bytes for term in found.terms if term.name is name)
