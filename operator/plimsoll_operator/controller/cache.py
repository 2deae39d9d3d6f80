"""The LLMDeployments that the controller watches, packed, so that 2,000 objects are few MiB.

It must not speak to the API server and must not decide.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.api_group import GROUP
from plimsoll.inventory.held import Claim
from plimsoll_operator.cluster.objects import name_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from plimsoll_operator.cluster.documents import ModelDocuments
    from plimsoll_operator.cluster.gpus import Freed
    from plimsoll_operator.cluster.objects import Json, Name

ANNOTATIONS: Final = f"{GROUP}/"
"""Prefix of the annotations that are kept."""


@dataclass(slots=True)
class CachedObject:
    """One LLMDeployment.

    version: its resource version as a number. packed: see `unpack`. refers_to: name of the
    ConfigMap of its own namespace that it refers to, or empty.
    settled: what its status was last decided on, None if it has not been decided; turn: what was
    free then (`plimsoll_operator.cluster.gpus`). accelerator: on which it is placed, or empty.
    """

    version: int
    packed: bytes
    refers_to: str = ""
    settled: Hashable = None
    turn: int = 0
    accelerator: str = ""


def pack(obj: Json) -> bytes:
    """The parts of an LLMDeployment that matter here, a tenth of their size as objects."""
    metadata = obj.get("metadata") or {}
    kept = {
        key: metadata[key]
        for key in (
            "namespace",
            "name",
            "uid",
            "generation",
            "resourceVersion",
            "deletionTimestamp",
        )
        if key in metadata
    }
    annotations = metadata.get("annotations") or {}
    kept["annotations"] = {k: v for k, v in annotations.items() if k.startswith(ANNOTATIONS)}
    slim = {
        "apiVersion": obj.get("apiVersion"),
        "kind": obj.get("kind"),
        "metadata": kept,
        "spec": obj.get("spec"),
        "status": obj.get("status"),
    }
    return zlib.compress(json.dumps(slim, separators=(",", ":")).encode(), 1)


def unpack(packed: bytes) -> Json:
    """The object that `pack` packed."""
    obj: Json = json.loads(zlib.decompress(packed))
    return obj


def claim_of(obj: Json) -> Claim | None:
    """The GPUs that the placement in a status asks for; None without one, or while deleting."""
    metadata, status = obj.get("metadata") or {}, obj.get("status") or {}
    placement = status.get("placement")
    if not placement or metadata.get("deletionTimestamp"):
        return None
    try:
        ((resource, count),) = placement["resources"].items()
        return Claim(
            name="/".join(name_of(obj)),
            since=str(metadata.get("creationTimestamp", "")),
            accelerator=str(placement["accelerator"]),
            resource=resource,
            pods=int(placement["totalGPUs"]) // int(count),
            per_pod=int(count),
            selector=tuple(sorted((placement.get("nodeSelector") or {}).items())),
            tolerations=tuple(
                (
                    str(one.get("key", "")),
                    str(one.get("operator", "")),
                    str(one.get("value", "")),
                    str(one.get("effect", "")),
                )
                for one in placement.get("tolerations") or ()
            ),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None  # another release's


def config_map_of(obj: Json) -> str:
    """Name of the ConfigMap that an LLMDeployment takes its model from, or empty."""
    found: object = obj.get("spec")
    for key in ("model", "configMapRef", "name"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


class ObjectCache:
    """The LLMDeployments as last heard. One writer at a time: the event loop's thread."""

    def __init__(
        self,
        documents: ModelDocuments,
        claims: Callable[[Name, Claim | None], None] = lambda name, claim: None,
    ) -> None:
        """documents: told which ConfigMaps somebody refers to. claims: told what each is placed
        on."""
        self._documents, self._claims = documents, claims
        self._objects: dict[Name, CachedObject] = {}
        self._referrers: dict[Name, set[Name]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, name: Name) -> bool:
        return name in self._objects

    def names(self) -> list[Name]:
        """All LLMDeployments."""
        return list(self._objects)

    def in_namespace(self, namespace: str) -> Iterator[Name]:
        """The LLMDeployments of a namespace."""
        return (name for name in self._objects if name[0] == namespace)

    def placed(self, freed: Freed) -> Iterator[Name]:
        """The LLMDeployments whose answers hang on what is free there."""
        return (
            name
            for name, entry in self._objects.items()
            if entry.accelerator in freed.accelerators or name[0] in freed.namespaces
        )

    def entry(self, name: Name) -> CachedObject | None:
        """One LLMDeployment, None if there is none of that name."""
        return self._objects.get(name)

    def put(self, obj: Json) -> bool:
        """Take in an LLMDeployment. Whether it is newer than what is known."""
        name, version = name_of(obj), version_of(obj)
        known = self._objects.get(name)
        if known is not None and version <= known.version:
            return False
        refers_to = config_map_of(obj)
        if known is None:
            self._objects[name] = CachedObject(version, pack(obj), refers_to)
        else:
            if known.refers_to != refers_to:
                self._unrefer(name, known.refers_to)
            known.version, known.packed, known.refers_to = version, pack(obj), refers_to
        claim = claim_of(obj)
        self._objects[name].accelerator = claim.accelerator if claim else ""
        self._claims(name, claim)
        if refers_to:
            self._referrers.setdefault((name[0], refers_to), set()).add(name)
            self._documents.refer((name[0], refers_to))
        return True

    def drop(self, name: Name) -> bool:
        """Forget an LLMDeployment. Whether it was known."""
        known = self._objects.pop(name, None)
        if known is not None:
            self._unrefer(name, known.refers_to)
            self._claims(name, None)
        return known is not None

    def _unrefer(self, name: Name, config_map: str) -> None:
        document = (name[0], config_map)
        referrers = self._referrers.get(document)
        if referrers is not None:
            referrers.discard(name)
            if not referrers:
                del self._referrers[document]
                self._documents.unrefer(document)

    def referrers(self, config_map: Name) -> frozenset[Name]:
        """The LLMDeployments that take their model from a ConfigMap."""
        return frozenset(self._referrers.get(config_map, ()))
