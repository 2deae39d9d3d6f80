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
from plimsoll.workloads.resolved import config_map_name, unknown
from plimsoll_operator.cluster.objects import name_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from plimsoll_operator.cluster.documents import ModelDocuments
    from plimsoll_operator.cluster.gpus import Freed
    from plimsoll_operator.cluster.objects import Json, Name

ANNOTATIONS: Final = f"{GROUP}/"
"""Prefix of the annotations whose values are kept; of others a policy may ask for the key."""


@dataclass(slots=True)
class CachedObject:
    """One LLMDeployment.

    version: its resource version as a number. packed: see `unpack`. refers_to: name of the
    ConfigMap of its own namespace that it refers to, or empty. asks_for: the id of its model, if
    the catalogue lacks it and there may be a profile of it.
    settled: what its status was last decided on, None if it has not been decided; turn: what was
    free then (`plimsoll_operator.cluster.gpus`). accelerator: on which it is placed, or empty.
    refused: whether it was last denied, whatever lets it in.
    """

    version: int
    packed: bytes
    refers_to: str = ""
    asks_for: str = ""
    settled: Hashable = None
    turn: int = 0
    accelerator: str = ""
    refused: bool = False


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
    kept["annotations"] = {
        k: v if k.startswith(ANNOTATIONS) else "" for k, v in annotations.items()
    }
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


def model_asked_for(obj: Json) -> str:
    """The id of the model that an LLMDeployment names and the catalogue lacks; else empty."""
    spec = obj.get("spec")
    model = spec.get("model") if isinstance(spec, dict) else None
    if not isinstance(model, dict) or model.get("configMapRef") or model.get("baseModel"):
        return ""
    uri, revision = model.get("uri"), model.get("revision") or ""
    if not isinstance(uri, str) or not isinstance(revision, str):
        return ""
    return unknown(uri, revision)


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
        asks_for = model_asked_for(obj) if self._documents.resolved_in else ""
        if known is None:
            known = self._objects[name] = CachedObject(version, pack(obj), refers_to, asks_for)
        else:
            before = self.document_of(name, known)
            known.version, known.packed = version, pack(obj)
            known.refers_to, known.asks_for = refers_to, asks_for
            if before is not None and before != self.document_of(name, known):
                self._unrefer(name, before)
        claim = claim_of(obj)
        known.accelerator = claim.accelerator if claim else ""
        self._claims(name, claim)
        document = self.document_of(name, known)
        if document is not None:
            self._referrers.setdefault(document, set()).add(name)
            self._documents.refer(document)
        return True

    def document_of(self, name: Name, known: CachedObject) -> Name | None:
        """The ConfigMap that holds an LLMDeployment's model, there or not; None for none."""
        if known.refers_to:
            return name[0], known.refers_to
        if known.asks_for:
            return self._documents.resolved_in, config_map_name(known.asks_for)
        return None

    def drop(self, name: Name) -> bool:
        """Forget an LLMDeployment. Whether it was known."""
        known = self._objects.pop(name, None)
        if known is None:
            return False
        document = self.document_of(name, known)
        if document is not None:
            self._unrefer(name, document)
        self._claims(name, None)
        return True

    def _unrefer(self, name: Name, document: Name) -> None:
        referrers = self._referrers.get(document)
        if referrers is not None:
            referrers.discard(name)
            if not referrers:
                del self._referrers[document]
                self._documents.unrefer(document)

    def referrers(self, config_map: Name) -> frozenset[Name]:
        """The LLMDeployments that take their model from a ConfigMap."""
        return frozenset(self._referrers.get(config_map, ()))
