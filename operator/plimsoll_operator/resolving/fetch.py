"""The process that asks a hub for one model: what it answers may be anything.

    python -m plimsoll_operator.resolving.fetch OWNER/NAME

It prints one JSON object, ``{"profile": ...}`` or ``{"error": "..."}``, and ends. Which hub, token,
proxy and cache are those of ``huggingface_hub``'s environment variables. It must not know the
cluster, and it bounds itself before it asks:

    memory      MEMORY bytes of its own, beside code; more is an error of its own
    processor   CPU seconds, then the kernel ends it
    files       FILE bytes each: a config or an index is never that long

Seconds in all, and how much of its answer is read, are bounded by whoever starts it.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY: Final = 320 << 20
"""A small model takes 40 MiB; the container has 512 with the controller in it."""
CPU: Final = 60
FILE: Final = 128 << 20
_MAX_ERROR: Final = 300


def bound() -> None:
    """Take away what a hostile answer could use up."""
    for what, most in (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_CPU, CPU),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def answer(model: str) -> dict[str, Any]:
    """What is known of a model after its hub was asked; never raises."""
    from plimsoll.errors import PlimsollError, clean
    from plimsoll.models.checkpoint.source import hub_profile

    try:
        profile, _ = hub_profile(model)
    except (PlimsollError, OSError) as error:
        return {"error": clean(str(error), _MAX_ERROR)}
    except MemoryError:
        return {"error": "the hub's answer does not fit into memory"}
    except Exception as error:  # a library's own, on an answer that nobody foresaw
        return {"error": clean(f"{type(error).__name__}: {error}", _MAX_ERROR)}
    return {"profile": profile}


def main(arguments: Sequence[str]) -> None:
    """Ask for the model that is named."""
    bound()
    (model,) = arguments
    print(json.dumps(answer(model), separators=(",", ":")))


if __name__ == "__main__":
    main(sys.argv[1:])
