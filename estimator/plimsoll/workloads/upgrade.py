"""An object read as if its engine were of another version: what an upgrade would start.

Arguments are read again with that version, so a flag that it does not know is found as it is in
a manifest whose image names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plimsoll.workloads.kinds import judged, together
from plimsoll.workloads.roles import mapping
from plimsoll.workloads.serving import served

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.kinds import Kind
    from plimsoll.workloads.roles import Beside, Served


def upgraded(
    kind: Kind, obj: Mapping[str, Any], beside: Beside, versions: Mapping[str, str]
) -> tuple[Served, ...]:
    """One request for each engine of an object, those of `versions` in the version given there.

    versions: by the engine's name. Never raises.
    """
    if kind.reader is None:
        return kind.read(_restated(obj, versions), beside)
    roles = judged(kind.reader(obj, beside))
    for role in roles:
        if role.engine in versions:
            role.version, role.version_why = versions[role.engine], ""
    return together([served(role, kind.name, obj, beside) for role in roles])


def _restated(obj: Mapping[str, Any], versions: Mapping[str, str]) -> Mapping[str, Any]:
    """An LLMDeployment with the version in its spec; as it is if its engine is another."""
    spec = mapping(obj.get("spec"))
    engine = mapping(spec.get("engine"))
    name = str(engine.get("name") or "vllm")
    if name not in versions:
        return obj
    return {**obj, "spec": {**spec, "engine": {**engine, "version": versions[name]}}}
