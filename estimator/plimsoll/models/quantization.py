"""How a checkpoint stores its linears: bits, groups, scales, and which modules are left alone.

It must not know a model's tensors or an engine's kernels; a runtime quantization is the same
description, made by the engine's settings and not by the checkpoint.

    bytes(linear) = ceil(out x in x bits / 8) + scales + zero points
    scales        = one of `scale_bytes` per group (groupwise), per block (blockwise), per output
                    channel (channelwise) or per tensor
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final


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

    def bytes(self, rows: int, columns: int) -> int:
        """Bytes of a linear of `rows` outputs and `columns` inputs, with scales and zeros."""
        groups = -(-columns // (self.group_in or columns or 1)) * -(
            -rows // (self.group_out or rows or 1)
        )
        return (
            -(-rows * columns * self.bits // 8)
            + groups * self.scale_bytes
            + -(-groups * self.zero_bits // 8)
        )


@dataclass(frozen=True, slots=True)
class Quantization:
    """A checkpoint's (or a load-time) quantization.

    method: the engine's word (``fp8``, ``awq``, ``gptq``, ``compressed-tensors``,
        ``bitsandbytes``, ``mxfp4``, ``modelopt`` ...).
    default: the scheme of every linear that no other entry names; None: left as it is.
    ignored: patterns of module names left unquantized, as the config writes them (a plain name
        or prefix, ``re:...``, or with ``*``).
    special: (pattern, scheme) pairs that come before `default`.
    ignored_in: (number of a layer, patterns within it) for what is left alone in single layers.
    """

    method: str
    default: Scheme | None
    ignored: tuple[str, ...] = ()
    special: tuple[tuple[str, Scheme], ...] = ()
    ignored_in: tuple[tuple[int, tuple[str, ...]], ...] = ()


MAX_RULE: Final = 512
"""Characters of a rule; a longer one is no module's name."""
_QUANTIFIERS: Final = re.compile(r"(?<!\\)[*+{?]")
_MAX_QUANTIFIERS: Final = 4
_REPEATED_GROUP: Final = re.compile(r"\)[*+{]")
_RENAMED: Final = (
    ("block_sparse_moe", "mlp"),
    ("mlp.router", "mlp.gate"),
    ("mlp.shared_expert.", "mlp.shared_experts."),
    ("mlp.shared_expert*", "mlp.shared_experts*"),
)
_PREFIX: Final = re.compile(
    r"(?:\*\.)?(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.|"
    r"backbone\.|\*\.)?(?:layers\.(?:\*|\d+)\.)?"
)


def simple(pattern: str) -> bool:
    """Whether a regular expression of a config is short and plain enough to be run.

    What it matches comes from whoever wrote the config; one that repeats a group, or repeats much,
    can take for ever.
    """
    return (
        len(pattern) <= MAX_RULE
        and not _REPEATED_GROUP.search(pattern)
        and len(_QUANTIFIERS.findall(pattern)) <= _MAX_QUANTIFIERS
    )


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if simple(pattern) else None
    except (re.error, OverflowError, RecursionError):
        return None


@lru_cache(maxsize=4096)
def _canonical(rule: str) -> str:
    """A rule in the names that this package gives modules, relative to a layer."""
    text = _PREFIX.sub("", rule, count=1)
    if text.startswith("ffn."):
        text = f"mlp.{text.removeprefix('ffn.')}"
    if text.startswith("attn."):
        text = f"self_{text}"
    for there, here in _RENAMED:
        text = text.replace(there, here)
    return "lm_head" if text == "head" else text


@lru_cache(maxsize=16384)
def matches(rule: str, module: str) -> bool:
    """Whether a rule of a config (a name, a prefix, ``re:...``, with ``*``) names a module.

    module: relative to its layer.
    """
    if rule.startswith("re:"):
        pattern = _compiled(rule[3:])
        return pattern is not None and pattern.match(f"model.layers.1.{module}") is not None
    plain = _canonical(rule)
    if "*" in plain:
        return fnmatchcase(module, plain) or fnmatchcase(module, f"{plain}.*")
    return module == plain or module.startswith(f"{plain}.") or f".{module}.".find(f".{plain}.") > 0
