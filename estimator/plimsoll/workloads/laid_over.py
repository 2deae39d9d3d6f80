"""One pod's spec laid over another, as the API server's strategic merge does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_BY_KEY: Final = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
}
"""Lists of a pod's spec whose elements are merged, and the key by which one is known again."""
MOST_DEEP: Final = 32
"""Mappings within mappings that are merged; what is deeper is taken as the patch has it."""


def laid_over(base: Mapping[str, Any], patch: object, deep: int = MOST_DEEP) -> dict[str, Any]:
    """A mapping with a patch laid over it: what is null in the patch goes, lists of the table are
    merged by their key, every other list is the patch's."""
    if not isinstance(patch, dict):
        return dict(base)
    if not deep:
        return dict(patch)
    merged = dict(base)
    for key, value in patch.items():
        before = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(before, dict):
            merged[key] = laid_over(before, value, deep - 1)
        elif key in _BY_KEY and isinstance(value, list) and isinstance(before, list):
            merged[key] = _lists(before, value, _BY_KEY[key], deep - 1)
        else:
            merged[key] = value
    return merged


def _lists(base: list[Any], patch: list[Any], key: str, deep: int) -> list[Any]:
    """The elements of both, in the patch's order, then those that it does not have."""
    known = {_key(one, key): one for one in base}
    merged = [
        laid_over(known[place], one, deep) if (place := _key(one, key)) in known else one
        for one in patch
    ]
    there = {_key(one, key) for one in patch}
    return [*merged, *(one for one in base if _key(one, key) not in there)]


def _key(one: object, key: str) -> object:
    """By what an element is known; an object of its own if by nothing."""
    found = one.get(key) if isinstance(one, dict) else None
    return found if isinstance(found, (str, int)) else object()


def told(spec: Mapping[str, Any], variables: Mapping[str, int | None]) -> dict[str, Any]:
    """A pod's spec with variables that its controller sets in every container: those before its
    own. None: nobody knows the value."""
    given = [{"name": name, "value": str(n)} for name, n in variables.items() if n is not None]
    containers = spec.get("containers")
    if not given or not isinstance(containers, list):
        return dict(spec)
    filled = [
        {**one, "env": [*given, *(one["env"] if isinstance(one.get("env"), list) else ())]}
        if isinstance(one, dict)
        else one
        for one in containers
    ]
    return {**spec, "containers": filled}
