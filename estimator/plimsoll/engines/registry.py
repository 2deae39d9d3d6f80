"""The engines by name.

It must not import an engine before it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from plimsoll.errors import Unreadable

if TYPE_CHECKING:
    from plimsoll.engines.base import Engine

_WHERE: Final = {
    "vllm": ("vllm", "VLLM"),
    "sglang": ("sglang", "SGLang"),
    "tensorrt-llm": ("tensorrt_llm", "TensorRTLLM"),
    "llama.cpp": ("llama_cpp", "LlamaCpp"),
    "tgi": ("tgi", "TGI"),
    "generic": ("generic", "Generic"),
}
NAMES: Final = tuple(_WHERE)
"""The engines whose memory model is there, as ``spec.engine.name`` names them."""


@lru_cache(maxsize=len(NAMES))
def engine(name: str) -> Engine:
    """The engine of that name. Raises `Unreadable` for one that is not known."""
    if name not in _WHERE:
        raise Unreadable(name, f"an engine known here ({', '.join(NAMES)})")
    package, title = _WHERE[name]
    module = importlib.import_module(f"plimsoll.engines.{package}.engine")
    return cast("Engine", getattr(module, title)())


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
