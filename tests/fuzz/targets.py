"""Every target by its name, and what they find that is known and not mended yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fuzz.configs import CONFIGS
from fuzz.files import GGUF, LOGS, SAFETENSORS
from fuzz.flags import ARGUMENTS, FLAGS
from fuzz.reviews import MANIFESTS, REVIEWS
from fuzz.specs import NEIGHBOURS, SPECS

if TYPE_CHECKING:
    from fuzz.harness import Target

TARGETS: Final[dict[str, Target[Any]]] = {
    target.name: target
    for target in (
        SPECS,
        NEIGHBOURS,
        CONFIGS,
        FLAGS,
        ARGUMENTS,
        GGUF,
        SAFETENSORS,
        LOGS,
        REVIEWS,
        MANIFESTS,
    )
}

OPEN: Final[dict[tuple[str, str], str]] = {}
"""Kinds of fault by target, with what is wrong: reported, and no failure. Mended, its line goes."""
