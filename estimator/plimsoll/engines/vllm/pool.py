"""vLLM's pool of blocks: what groups of layers keep, and how large a block is on each stage.

All groups of layers take their blocks from one pool. `plimsoll.engines.vllm.kv` says how most
models are grouped, `plimsoll.engines.vllm.compressed` how DeepSeek V4 is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Keeps(StrEnum):
    """How many tokens of a sequence a group keeps."""

    ALL = "all"
    WINDOW = "window"
    CHUNK = "chunk"
    STATE = "state"
    ENCODER = "encoder"


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a block table. block: tokens in one of its blocks."""

    keeps: Keeps
    window: int
    block: int


@dataclass(frozen=True, slots=True)
class BlockPool:
    """The one pool of blocks on every rank.

    groups: a request takes blocks for each. stage_bytes: bytes of one block on a rank of each
    pipeline stage. block: the engine's block size in tokens. checked_bytes: what the start-up
    check of one request counts for a block, where that is more than a block has; else empty.
    """

    groups: tuple[Group, ...]
    stage_bytes: tuple[int, ...]
    block: int
    checked_bytes: tuple[int, ...] = ()

    @property
    def asked_bytes(self) -> tuple[int, ...]:
        """Bytes of a block as the start-up check counts them, on each stage."""
        return self.checked_bytes or self.stage_bytes
