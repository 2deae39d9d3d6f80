"""The engines by name, each imported when it is first asked for; and an estimate by any of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from plimsoll.errors import Unreadable
from plimsoll.findings import Refused, Rule, finding
from plimsoll.models.architecture import Architecture
from plimsoll.paths import Field

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.assemble import Engine
    from plimsoll.engines.base import (
        EngineSettings,
        Estimate,
        Parallelism,
        Workload,
    )
    from plimsoll.engines.flags import Grammar
    from plimsoll.models.architecture import Model

_WHERE: Final = {
    "vllm": ("vllm", "VLLM"),
    "sglang": ("sglang", "SGLang"),
    "tensorrt-llm": ("tensorrt_llm", "TensorRTLLM"),
    "llama.cpp": ("llama_cpp", "LlamaCpp"),
    "tgi": ("tgi", "TGI"),
    "generic": ("generic", "Generic"),
}
_GRAMMARS: Final = {
    "vllm": "vllm.arguments",
    "sglang": "sglang.settings",
    "tensorrt-llm": "tensorrt_llm.settings",
    "llama.cpp": "llama_cpp.settings",
    "tgi": "tgi.settings",
}
NAMES: Final = tuple(_WHERE)
"""The engines whose memory model is there, as a request names them."""


@lru_cache(maxsize=len(NAMES))
def engine(name: str) -> Engine:
    """The engine of that name. Raises `Unreadable` for one that is not known."""
    if name not in _WHERE:
        raise Unreadable(name, f"an engine known here ({', '.join(NAMES)})")
    package, title = _WHERE[name]
    module = importlib.import_module(f"plimsoll.engines.{package}.engine")
    return cast("Engine", getattr(module, title)())


def grammar(name: str) -> Grammar | None:
    """The grammar of an engine's command line; None for one that has none here."""
    if name not in _GRAMMARS:
        return None
    module = importlib.import_module(f"plimsoll.engines.{_GRAMMARS[name]}")
    return cast("Grammar", module.GRAMMAR)


def estimate(
    model: Model | Architecture,
    settings: EngineSettings,
    workload: Workload,
    parallelism: Parallelism,
    accelerator: Accelerator,
) -> Estimate:
    """What the worst rank of one replica needs on one kind of GPU, term by term, in bytes.

    Raises `Refused` with every finding at once: a model whose structure is not known, a split or
    a setting with which the engine would not start; `Unreadable` for an unknown engine.
    """
    architecture = model if isinstance(model, Architecture) else model.architecture
    if architecture is None:
        name = "" if isinstance(model, Architecture) else model.name
        raise Refused(finding(Rule.UNKNOWN_STRUCTURE, Field.MODEL, name))
    asked = engine(settings.name)
    problems = asked.problems(architecture, settings, parallelism, accelerator)
    if problems:
        raise Refused(*problems)
    return asked.estimate(architecture, settings, workload, parallelism, accelerator)


class Engines(Mapping[str, "Engine"]):
    """All engines by name; each is imported when it is first looked up."""

    def __getitem__(self, name: str) -> Engine:
        if name not in _WHERE:
            raise KeyError(name)
        return engine(name)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)
