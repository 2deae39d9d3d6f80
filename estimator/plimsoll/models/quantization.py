"""How a checkpoint stores its linears: bits, groups, scales, and which modules are left alone.

A runtime quantization is the same description, made by the engine's settings and not by the
checkpoint.

    bytes(linear) = ceil(out x in x bits / 8) + scales + zero points
    scales        = one of `scale_bytes` per group (groupwise), per block (blockwise), per output
                    channel (channelwise) or per tensor
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from plimsoll.models.rules import Rules, readable

FURTHER: Final = -1
"""Stands for the number of an MTP layer, which follows the layers that are served."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one linear weight is stored.

    name: a short word for people (``fp8``, ``int8``, ``w4a16``, ``mxfp4``, ``nvfp4``, ``nf4``).
    bits: bits per weight element.
    group_in, group_out: elements of the input and of the output that share one scale; 0 means
        the whole dimension (group_in 0 and group_out 1: a scale per output channel;
        both 0: one scale per tensor).
    scale_bytes: bytes per scale. zero_bits: bits of a zero point per group (0: symmetric).
    """

    name: str
    bits: int
    group_in: int = 0
    group_out: int = 0
    scale_bytes: int = 4
    zero_bits: int = 0

    def parts(self, rows: int, columns: int) -> tuple[int, int, int]:
        """Bytes of a linear, its values, scales and zeros. rows: outputs, columns: inputs."""
        groups = -(-columns // (self.group_in or columns or 1)) * -(
            -rows // (self.group_out or rows or 1)
        )
        return (
            -(-rows * columns * self.bits // 8),
            groups * self.scale_bytes,
            -(-groups * self.zero_bits // 8),
        )

    def bytes(self, rows: int, columns: int) -> int:
        """Bytes of a linear of `rows` outputs and `columns` inputs in all."""
        return sum(self.parts(rows, columns))


@dataclass(frozen=True)
class Quantization:
    """A checkpoint's (or a load-time) quantization.

    method: the engine's word (``fp8``, ``awq``, ``gptq``, ``compressed-tensors``,
        ``bitsandbytes``, ``mxfp4``, ``modelopt`` ...).
    default: the scheme of every linear that no other entry names; None: left as it is.
    ignored: patterns of module names left unquantized, as the config writes them (a plain name
        or prefix, ``re:...``, or with ``*``).
    special: (pattern, scheme) pairs that come before `default`.
    ignored_in: (number of a layer, patterns within it) for what is left alone in single layers;
        number `FURTHER` stands for MTP layers, as any does that the model has no layer of.
    unsized: some weights are stored in a way that nobody here can size; they count as unquantized.
    by_name: only the word for it is known, not which linears the checkpoint leaves alone.
    """

    method: str
    default: Scheme | None
    ignored: tuple[str, ...] = ()
    special: tuple[tuple[str, Scheme], ...] = ()
    ignored_in: tuple[tuple[int, tuple[str, ...]], ...] = ()
    unsized: bool = False
    by_name: bool = False

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """How linears are stored: the default, if there is one, then the special ones."""
        every = (self.default, *(scheme for _, scheme in self.special))
        return tuple(scheme for scheme in every if scheme is not None)

    @cached_property
    def ignored_rules(self) -> Rules:
        """`ignored`, compiled."""
        return Rules(self.ignored)

    @cached_property
    def special_rules(self) -> Rules:
        """The patterns of `special`, compiled; a rule's number is its place there."""
        return Rules(rule for rule, _ in self.special)

    @property
    def unread(self) -> tuple[str, ...]:
        """Patterns that nobody here can read: nothing of them is believed."""
        rules = (*self.ignored, *(rule for rule, _ in self.special))
        return tuple(rule for rule in rules if not readable(rule))
