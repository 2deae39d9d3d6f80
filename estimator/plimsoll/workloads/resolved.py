"""Models that no catalogue knows and somebody resolved: each profile in a ConfigMap of its own.

The ConfigMap is named after the model's id, so that whoever meets the id finds it: written by the
controller's resolver or by ``plimsoll models resolve``, in one namespace that the cluster's owners
choose. Nothing is fetched here.

    name   plimsoll-model-<the id in lower case, cut>-<ten hex digits of the id's SHA-256>
    data   profile.json: the compact profile
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from plimsoll.api_group import GROUP
from plimsoll.models import catalogue
from plimsoll.models.resolve import Unresolved, resolve
from plimsoll.models.uris import whole_repository

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOLVED: Final = ""
"""The namespace that stands for the one with these ConfigMaps, whichever it is."""
LABEL: Final = f"{GROUP}/resolved"
"""On such a ConfigMap: who wrote it, ``controller`` or ``command-line``."""
ID_ANNOTATION: Final = f"{GROUP}/model"
"""On such a ConfigMap: the id of the model."""
KEY: Final = "profile.json"
_CUT: Final = 60


class Profiles(Protocol):
    """Where the profiles are: `plimsoll.workloads.llmdeployment.Documents`."""

    def get(self, namespace: str, name: str, key: str | None) -> object:
        """The text of the profile of a model; anything else if there is none.

        namespace: `RESOLVED`. name: the model's id.
        """
        ...


def config_map_name(model: str) -> str:
    """The name of the ConfigMap with the profile of a model, by its id."""
    lower = model.lower()
    slug = re.sub(r"[^a-z0-9]+", "-", lower)[:_CUT].strip("-")
    return f"plimsoll-model-{slug}-{hashlib.sha256(lower.encode()).hexdigest()[:10]}"


def config_map(
    model: str, profile: Mapping[str, Any], *, by: str, namespace: str = ""
) -> dict[str, Any]:
    """The ConfigMap with the profile of a model."""
    metadata: dict[str, Any] = {"name": config_map_name(model)}
    if namespace:
        metadata["namespace"] = namespace
    metadata |= {"labels": {LABEL: by}, "annotations": {ID_ANNOTATION: model}}
    text = json.dumps(profile, separators=(",", ":"))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: text}}


def unknown(uri: str, revision: str = "") -> str:
    """The id of the model on a hub that a uri means, if the catalogue does not have it."""
    model = whole_repository(uri, revision)
    return "" if not model or catalogue.load().find(model) is not None else model


def profile_of(uri: str, revision: str, documents: Profiles) -> str | None:
    """The profile of a model that the catalogue lacks, if somebody resolved it.

    One that describes no model counts as none: whoever applies an object has not written it.
    """
    model = unknown(uri, revision)
    found = documents.get(RESOLVED, model, None) if model else None
    if not isinstance(found, str):
        return None
    try:
        resolve(document=found, origin=f"resolved:{model}")
    except Unresolved:
        return None
    return found
