"""What runs in a cluster, as kubectl lists it: the kinds that are read and that this cluster has.

ConfigMaps are listed where something serves an LLM, and nowhere else. Secrets never are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Problem, shown
from plimsoll.workloads import kinds, listing
from plimsoll.workloads.roles import mapping

if TYPE_CHECKING:
    from plimsoll.cli.kubectl import Kubectl

_BESIDE: Final = ("namespaces", "nodes", "resourceslices.resource.k8s.io")
"""What is listed beside the kinds: it is in no namespace."""


def documents_of(kubectl: Kubectl, namespace: str | None) -> tuple[list[object], list[Problem]]:
    """Listings of a cluster, and what could not be listed."""
    problems: list[Problem] = []
    words = ["api-resources", "--verbs=list", "--output=name"]
    fix = "check the context"
    there = set(kubectl.ask(words, "the kinds of a cluster", fix, problems).split())
    names = [_name(kind) for kind in kinds.KINDS if kind.plural]
    wanted = [name for name in names if name in there]
    scope = ["-n", namespace] if namespace else ["-A"]
    documents = [_get(kubectl, ",".join(wanted), scope, problems)]
    beside = [name for name in _BESIDE if name in there]
    documents.append(_get(kubectl, ",".join(beside), [], problems))
    for name in _namespaces(documents):
        documents.append(_get(kubectl, "configmaps", ["-n", name], problems))
    return documents, problems


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


def _namespaces(documents: list[object]) -> list[str]:
    """The namespaces in which something serves an LLM."""
    found = listing.read([_without_nodes(document) for document in documents])
    served = {
        str(mapping(one.obj.get("metadata")).get("namespace") or "default")
        for one in found.manifests.deployments
    }
    return sorted(served)


def _without_nodes(document: object) -> Any:
    """A listing in which nobody looks for an inventory."""
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(items, list):
        return document
    kept = [one for one in items if isinstance(one, dict) and one.get("kind") != "Node"]
    return {**document, "items": kept}
