"""What runs in a cluster, as kubectl lists it: the kinds that are read and that this cluster has.

ConfigMaps are listed where something serves an LLM, and nowhere else. Secrets never are.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from plimsoll.errors import Problem, shown
from plimsoll.workloads import kinds, listing
from plimsoll.workloads.roles import mapping

if TYPE_CHECKING:
    from plimsoll.cli.kubectl import Kubectl
    from plimsoll.workloads.files import Manifest
    from plimsoll.workloads.listing import Listing

AT_ONCE: Final = 4
"""Listings that are asked for at once: kubectl waits most of its time."""
_BESIDE: Final = (
    "namespaces",
    "nodes",
    "resourceslices.resource.k8s.io",
    "sizingpolicies.plimsoll.dev",
)
"""What is listed beside the kinds: it is in no namespace."""
_REFERRED_TO: Final = ("openmodels.llmaz.io", "models.inference.llmkube.dev")
"""What objects of these kinds refer to and no kind of ours is: listed with them."""


def listed(kubectl: Kubectl, namespace: str | None) -> tuple[Listing, list[Problem]]:
    """What a cluster runs, read once, and what could not be listed. Raises `Invalid`."""
    problems: list[Problem] = []
    words = ["api-resources", "--verbs=list", "--output=name"]
    fix = "check the context"
    there = set(kubectl.ask(words, "the kinds of a cluster", fix, problems).split())
    names = [_name(kind) for kind in kinds.KINDS if kind.plural]
    wanted = [name for name in (*names, *_REFERRED_TO) if name in there]
    scope = ["-n", namespace] if namespace else ["-A"]
    beside = [name for name in _BESIDE if name in there]
    first = [(",".join(wanted), scope), (",".join(beside), [])]
    found = listing.read(_together(kubectl, first, problems))
    spaces = {str(name) for name in map(_namespace, found.manifests.deployments)}
    config_maps = [("configmaps", ["-n", name]) for name in sorted(spaces)]
    listing.lay_beside(found, _together(kubectl, config_maps, problems))
    return found, problems


def _together(
    kubectl: Kubectl, asked: list[tuple[str, list[str]]], problems: list[Problem]
) -> list[object]:
    """Several listings, a few at a time, in the order in which they are asked for."""

    def one(what: tuple[str, list[str]]) -> tuple[object, list[Problem]]:
        own: list[Problem] = []
        return _get(kubectl, *what, own), own

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(one, asked))
    problems += [problem for _, own in answers for problem in own]
    return [document for document, _ in answers]


def _namespace(manifest: Manifest) -> object:
    return mapping(manifest.obj.get("metadata")).get("namespace") or "default"


def _name(kind: kinds.Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _get(kubectl: Kubectl, what: str, scope: list[str], problems: list[Problem]) -> object:
    fix = "check the context, and the right to list them"
    text = kubectl.ask(["get", what, *scope, "-o", "json"], "a listing", fix, problems)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(Problem(f"kubectl get {what}", shown(text[:40]), f"JSON ({error})"))
        return {"kind": "List", "items": []}
