"""Finding objects in a list of them.

It must not know where the list came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Manifest = dict[str, Any]
Key = tuple[str, str, str]


def key(obj: Manifest) -> Key:
    """Kind, namespace (empty for the cluster's own) and name."""
    metadata = obj["metadata"]
    return obj["kind"], metadata.get("namespace", ""), metadata["name"]


def by_name(objects: Iterable[Manifest]) -> dict[Key, Manifest]:
    """Each object by its key. Raises ValueError if one is there twice."""
    found: dict[Key, Manifest] = {}
    for obj in objects:
        if key(obj) in found:
            raise ValueError(f"there twice: {key(obj)}")
        found[key(obj)] = obj
    return found


def find(objects: Iterable[Manifest], kind: str, name: str | None = None) -> list[Manifest]:
    """Those of a kind, and of a name if one is given."""
    return [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]


def one(objects: Iterable[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The only one of a kind, and of a name if one is given. Raises LookupError."""
    found = find(objects, kind, name)
    if len(found) != 1:
        raise LookupError(f"{len(found)} of kind {kind}, name {name or 'any'}, one wanted")
    return found[0]


def settings(objects: Iterable[Manifest], component: str) -> dict[str, str]:
    """What the pods of a Deployment (webhook or controller) are told, by the names of the fields
    of `plimsoll_operator.settings.Settings`; a reference to the pod's namespace resolved."""
    (deployment,) = (
        obj
        for obj in find(objects, "Deployment")
        if obj["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    namespace = deployment["metadata"]["namespace"]
    return {
        variable["name"].removeprefix("PLIMSOLL_").lower(): variable.get("value", namespace)
        for variable in container["env"]
        if variable["name"].startswith("PLIMSOLL_")
    }
