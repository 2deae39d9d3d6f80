"""A model's files, within limits: the JSON object of a config, and the tensors that headers list.

Nothing in a text is believed: it comes from whoever wrote a ConfigMap or a file. What the names of
tensors mean is known to `plimsoll.models.checkpoint.names`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plimsoll.errors import Invalid, Problem

MAX_DOCUMENT: Final = 1 << 20
"""Characters of a config.json or profile; a ConfigMap holds no more."""

TEXT_SECTIONS: Final = ("text_config", "llm_config", "language_config")
"""Keys under which a multimodal config keeps its language model."""


def text_parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A config, and the configs of the language model within it."""
    yield config
    for key in TEXT_SECTIONS:
        part = config.get(key)
        if isinstance(part, Mapping):
            yield part


def parse_document(text: str, path: str) -> dict[str, Any]:
    """The JSON object in a config.json or profile. Raises `Invalid` for anything else.

    The error names line and column and never repeats the text: whoever reads the error may not
    be allowed to read the document.
    """
    if len(text) > MAX_DOCUMENT:
        raise Invalid(
            Problem(
                path,
                f"{len(text)} characters",
                f"at most {MAX_DOCUMENT}",
                "make a compact profile with `plimsoll models export`",
            )
        )
    try:
        parsed = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError:
        raise Invalid(Problem(path, "deeply nested JSON", "a model's config.json")) from None
    except json.JSONDecodeError as error:
        place = f"no JSON at line {error.lineno}, column {error.colno}"
        raise Invalid(Problem(path, place, "a model's config.json, which is JSON")) from None
    except ValueError as error:
        raise Invalid(Problem(path, str(error), "a model's config.json, which is JSON")) from None
    if not isinstance(parsed, dict):
        raise Invalid(Problem(path, "no JSON object", "an object, as every config.json is"))
    return parsed


def _no_constant(name: str) -> object:
    raise ValueError(f"{name}, which is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key that stands twice")
    return made


MAX_TENSORS: Final = 2_000_000
"""Tensors that a checkpoint is believed to have (DeepSeek-V3 has 91,991)."""
MAX_DIMENSIONS: Final = 8
MAX_ELEMENTS: Final = 1 << 46
"""Elements of one tensor that are believed."""


@dataclass(frozen=True, slots=True)
class HeaderTensor:
    """One tensor as a header lists it.

    name: as in the file. shape: as in the file: output first in safetensors, input first in GGUF.
    type_name: the file's word (``BF16``, ``F8_E4M3``, ``Q4_K``). bytes: that it takes in the file.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    bytes: int

    @property
    def elements(self) -> int:
        """Stored elements (of packed weights: the containers, not the weights)."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of a checkpoint from its headers and the files beside them.

    name: how to call it. origin: where it was read (a path, ``hf://owner/name@commit``).
    tensors: in the order of their names, each once.
    config, quant: config.json and hf_quant_config.json; None if there is none.
    notes: what was passed over and why, as sentences.
    """

    name: str
    origin: str
    tensors: tuple[HeaderTensor, ...]
    config: dict[str, Any] | None = None
    quant: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of all tensors, without the files' headers."""
        return sum(tensor.bytes for tensor in self.tensors)
