"""An architecture with what a profile says of its checkpoint.

It must not read a checkpoint; whoever wrote the profile did, and it is not believed beyond limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from plimsoll.models.checkpoint.corrections import from_dict, wrong
from plimsoll.units import MAX_PARAMETERS

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture


def corrected(made: Architecture, given: object) -> Architecture:
    """The architecture as the checkpoint has it. given: ``checkpoint`` of a profile.

    Raises `plimsoll.errors.Invalid` for anything unbelievable.
    """
    if not isinstance(given, Mapping):
        raise wrong("", given, "a mapping")
    if "gguf" in given:
        from plimsoll.models.checkpoint.gguf_model import with_table

        result = with_table(made, given["gguf"])
    else:
        result = from_dict(given, len(made.blocks)).apply(made)
    if not 0 < result.parameters <= MAX_PARAMETERS:
        raise wrong("", f"{result.parameters} parameters", f"at most {MAX_PARAMETERS}")
    return result
