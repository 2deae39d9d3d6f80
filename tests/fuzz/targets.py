"""Every target by its name."""

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
