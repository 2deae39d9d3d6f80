"""A pod template laid over another as kubectl lays one: the strategic merge of Kubernetes.

a mapping     is merged key by key; null removes a key
a list        replaces the other one, but for those of `KEYS`, whose elements are merged by
              the key that is named there: containers by name, mounts by path
$patch        delete removes the element or the mapping, replace puts it in whole
$setElementOrder, $retainKeys and $deleteFromPrimitiveList are not for people and are refused
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = dict[str, Any]

KEYS: Final[dict[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
"""Lists of a pod template that are merged by a key (`patchStrategy: merge` of core/v1)."""
_NESTED_CLAIMS: Final = "resources"
"""Here the field `claims` is a list of another kind, which is replaced."""
MAX_DEPTH: Final = 64
"""Mappings in mappings; a pod template has less than twenty."""
_DIRECTIVE: Final = "$patch"
_SOURCES: Final = frozenset(
    {
        "emptyDir", "hostPath", "secret", "configMap", "persistentVolumeClaim", "projected", "nfs",
        "csi", "ephemeral", "downwardAPI", "image", "iscsi", "fc", "cephfs", "rbd", "glusterfs",
    }
)  # fmt: skip
"""Sources of a volume, of which it has one: another source takes the place of the first."""


def merged(base: Mapping[str, Any], over: Mapping[str, Any], path: str = "template") -> Json:
    """`base` with `over` laid upon it; neither is changed.

    path: where `over` stands, for errors. Raises `Invalid` with all that cannot be merged.
    """
    problems: list[Problem] = []
    made = _mapping(base, over, path, problems, MAX_DEPTH)
    if problems:
        raise Invalid(*problems)
    return made


def _mapping(
    base: Mapping[str, Any],
    over: Mapping[str, Any],
    path: str,
    problems: list[Problem],
    depth: int,
) -> Json:
    if not depth:
        problems.append(Problem(path, "", f"at most {MAX_DEPTH} mappings within each other"))
        return dict(base)
    directive = over.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in over.items() if key != _DIRECTIVE}
    made = dict(base)
    for key, value in over.items():
        where = f"{path}.{key}"
        if key.startswith("$"):
            if not (key == _DIRECTIVE and value == "merge"):
                wanted = "$patch with delete, replace or merge, and no other directive"
                problems.append(Problem(where, shown(value), wanted, "leave it out"))
            continue
        before = made.get(key)
        if value is None:
            made.pop(key, None)
        elif key in KEYS and isinstance(value, list):
            base_list = before if isinstance(before, list) else []
            made[key] = _list(base_list, value, KEYS[key], where, problems, depth)
        elif isinstance(value, dict):
            if value.get(_DIRECTIVE) == "delete":
                made.pop(key, None)
                continue
            base_mapping = before if isinstance(before, dict) else {}
            made[key] = _mapping(base_mapping, value, where, problems, depth - 1)
        else:
            made[key] = value
    return made


def _list(
    base: Sequence[Any],
    over: Sequence[Any],
    key: str,
    path: str,
    problems: list[Problem],
    depth: int,
) -> list[Any]:
    """The elements of `base`, changed by those of `over` with the same key; then the new ones."""
    made: list[Any] = list(base)
    for index, element in enumerate(over):
        where = f"{path}[{index}]"
        if not isinstance(element, dict):
            problems.append(Problem(where, shown(element), f"a mapping with {key}"))
            continue
        if element.get(_DIRECTIVE) == "replace":
            rest = [one for place, one in enumerate(over) if place != index]
            return _list([], rest, key, path, problems, depth)
        name = element.get(key)
        if name is None:
            fix = f"say the {key} of the one that it changes, or of a new one"
            problems.append(Problem(f"{where}.{key}", "", f"a {key}", fix))
            continue
        place = next((i for i, one in enumerate(made) if one.get(key) == name), None)
        if element.get(_DIRECTIVE) == "delete":
            if place is not None:
                del made[place]
            continue
        before = made[place] if place is not None else {}
        if path.endswith(".volumes"):
            before = _without_other_source(before, element)
        one = _mapping(before, element, where, problems, depth - 1)
        if place is None:
            made.append(one)
        else:
            made[place] = one
    return _ordered(made, base, over, key)


def _ordered(made: Sequence[Any], base: Sequence[Any], over: Sequence[Any], key: str) -> list[Any]:
    """The elements in the order in which kubectl leaves them.

    Those of `over` as they stand there; of the others each goes before the next of `over` if it
    stood before it in `base`, else after all of them.
    """
    by_name = {one.get(key): one for one in made}
    place = {one.get(key): index for index, one in enumerate(base)}
    named = [one.get(key) for one in over if isinstance(one, dict) and one.get(key) in by_name]
    changed = list(dict.fromkeys(named))
    rest = [one.get(key) for one in made if one.get(key) not in changed]
    order: list[Any] = []
    while rest and changed:
        left, right = rest[0], changed[0]
        before = right in place and place[left] < place[right]
        order.append(rest.pop(0) if before else changed.pop(0))
    return [by_name[name] for name in (*order, *rest, *changed)]


def _without_other_source(volume: Mapping[str, Any], over: Mapping[str, Any]) -> Mapping[str, Any]:
    """A volume without the source that another one replaces: kubectl would leave both."""
    asked = _SOURCES.intersection(over)
    if not asked:
        return volume
    return {k: v for k, v in volume.items() if k not in _SOURCES or k in asked}
