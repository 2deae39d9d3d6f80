"""The number formats of ggml: elements per block and bytes per block, of weights and of the cache.

It must not decide which format a tensor has.

    bytes of a row = elements / block x bytes of a block; elements are a whole number of blocks

Source: ggml/src/ggml-common.h and ggml.c of llama.cpp (``type_traits``).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from plimsoll.units import ceil_div

BLOCKS: Final = MappingProxyType(
    {
        "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2),
        "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24), "q8_0": (32, 34),
        "q2_k": (256, 84), "q3_k": (256, 110), "q4_k": (256, 144), "q5_k": (256, 176),
        "q6_k": (256, 210), "iq1_s": (256, 50), "iq1_m": (256, 56), "iq2_xxs": (256, 66),
        "iq2_xs": (256, 74), "iq2_s": (256, 82), "iq3_xxs": (256, 98), "iq3_s": (256, 110),
        "iq4_nl": (32, 18), "iq4_xs": (256, 136), "tq1_0": (256, 54), "tq2_0": (256, 66),
        "mxfp4": (32, 17), "nvfp4": (64, 36),
    }
)  # fmt: skip
"""Elements and bytes of a block, by the name in lower case."""

CACHE_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""What ``--cache-type-k`` and ``--cache-type-v`` take."""


def size(name: str, elements: int) -> int:
    """Bytes of so many elements in a row. Raises KeyError for a format that is not known."""
    block, each = BLOCKS[name]
    return ceil_div(elements, block) * each


def is_quantized(name: str) -> bool:
    """Whether a format packs elements into blocks."""
    return BLOCKS[name][0] > 1
