"""The tensors of a checkpoint as its headers list them: names, shapes, types and bytes.

What a name means is known to `plimsoll.models.checkpoint.names`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

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
