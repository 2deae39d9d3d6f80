"""A model as a request knows it: its structure, or only its size, or only a name.

Nothing is read or looked up here; `plimsoll.models.resolve` does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture


class ModelSource(StrEnum):
    """Where the knowledge of a model comes from; also the reason of condition ModelResolved."""

    CATALOGUE = "FromCatalogue"
    BASE_MODEL = "FromBaseModel"
    CONFIG = "FromConfig"
    PROFILE = "FromProfile"
    PARAMETERS = "FromParameters"
    UNKNOWN = "UnknownModel"


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of the model that a request names.

    name: how to call it in a sentence (a Hugging Face id, a file, ``70B parameters``).
    source: how it was resolved.
    architecture: its structure; None if only a size or only a name is known.
    parameters: exact with an architecture, nominal with a size alone, None when unknown.
    bits: bits per parameter as stored, for the rule of thumb; None when unknown.
    origin: what it was resolved from, for the status (``catalogue:meta-llama/...``,
        ``configmap:chat/my-model/config.json``).
    suggestions: catalogue ids near an unknown name.
    certain: False if the catalogue knows more than is believed of it: a revision may differ.
    digest: short hash of the structure that was resolved, for the request hash.
    """

    name: str
    source: ModelSource
    architecture: Architecture | None = None
    parameters: int | None = None
    bits: float | None = None
    origin: str = ""
    suggestions: tuple[str, ...] = ()
    digest: str = ""
    certain: bool = True
