"""Where the weights are, as an engine is told it, with what a pod mounts for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Problem, shown

if TYPE_CHECKING:
    from plimsoll.workloads.spec import ModelSpec

FOLDER: Final = "/models"
"""Where a claim or an image with weights is mounted."""
URI_PATH: Final = "spec.model.uri"


@dataclass(frozen=True, slots=True)
class Weights:
    """argument: what the engine is told. hub: whether it loads them from a hub itself.

    volume: what is mounted, read-only, at `FOLDER`; None: nothing.
    """

    argument: str
    hub: bool
    volume: dict[str, Any] | None = None


def weights(model: ModelSpec) -> Weights | Problem:
    """The place of a model's weights, or why a pod cannot be told it."""
    scheme, _, rest = (model.uri or "").partition("://")
    rest = rest.strip("/") if scheme != "file" else rest
    if scheme == "hf":
        return Weights("/".join(rest.split("/")[:2]), hub=True)
    if scheme == "file":
        return Weights(rest, hub=False)
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        volume = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        return Weights(f"{FOLDER}/{path}".rstrip("/"), hub=False, volume=volume)
    if scheme == "oci":
        volume = {"image": {"reference": rest, "pullPolicy": "IfNotPresent"}}
        return Weights(FOLDER, hub=False, volume=volume)
    given = shown(model.uri) if model.uri else ""
    wanted = "where a pod finds the weights: hf://org/name, pvc://claim/path, oci:// or file://"
    fix = "mount them with spec.output.template and say the path as file:///path"
    return Problem(URI_PATH, given, wanted, fix)
