"""What `kubectl get -A -o json` lists, sorted: what serves an LLM, what nodes there are, the rest.

An object that a controller made for one of a kind that is read has no verdict of its own: that of
its owner counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import GROUP
from plimsoll.errors import Invalid, Problem, shown
from plimsoll.inventory import saved
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.workloads import kinds, sizing_policy
from plimsoll.workloads.files import OF_A_CLUSTER, lay_all_beside, of_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.files import Manifests
    from plimsoll.workloads.sizing_policy import SizingPolicy

MAX_OBJECTS: Final = 500_000
"""Objects of one listing that are read."""
PLACE: Final = "object"
"""What the place of a problem begins with."""
_WANTED: Final = "what `kubectl get deployments,nodes -A -o json` prints"


@dataclass(frozen=True, slots=True)
class Listing:
    """What was listed. inventory: its nodes; `NO_INVENTORY` if it has none.

    parts: objects that others which are read have made. policies: its SizingPolicies.
    """

    manifests: Manifests
    inventory: Inventory
    parts: int
    policies: tuple[SizingPolicy, ...] = ()


def read(documents: list[object]) -> Listing:
    """Everything in some listings. Raises `Invalid` for what is no listing."""
    every = [one for document in documents for one in _objects(document)]
    if len(every) > MAX_OBJECTS:
        wanted = f"at most {MAX_OBJECTS:,} objects"
        raise Invalid(Problem("listing", f"{len(every):,} objects", wanted, "list fewer kinds"))
    policies = tuple(sizing_policy.read(one) for one in every if _is_policy(one))
    every = [one for one in every if not _is_policy(one)]
    whole = [one for one in every if not kinds.owned(one)]
    inventory = NO_INVENTORY
    if any(one.get("kind") == "Node" for one in every):
        items = [one for one in every if one.get("kind") in OF_A_CLUSTER]
        inventory = saved.from_dict({"kind": "List", "items": items})
    manifests = of_objects(whole, PLACE, MAX_OBJECTS)
    return Listing(manifests, inventory, len(every) - len(whole), policies)


def _is_policy(obj: dict[str, Any]) -> bool:
    group = str(obj.get("apiVersion")).partition("/")[0]
    return (group, obj.get("kind")) == (GROUP, sizing_policy.KIND)


def lay_beside(found: Listing, documents: list[object]) -> None:
    """Read what serves an LLM again with the ConfigMaps of further listings beside it.

    Raises `Invalid` for what is no listing.
    """
    lay_all_beside(found.manifests, [one for document in documents for one in _objects(document)])


def _objects(document: object) -> Iterator[dict[str, Any]]:
    """The objects of a list, or one object; a typed list's items get the kind of its name."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise Invalid(Problem("listing", shown(type(document).__name__), _WANTED))
    items = document.get("items")
    if not document["kind"].endswith("List"):
        yield document
        return
    if not isinstance(items, list):
        raise Invalid(Problem("listing: items", shown(type(items).__name__), "a list"))
    kind = document["kind"].removesuffix("List")
    missing = {"apiVersion": document.get("apiVersion"), "kind": kind} if kind else {}
    for item in items:
        if not isinstance(item, dict):
            raise Invalid(Problem("listing: items", shown(type(item).__name__), "objects"))
        yield {**missing, **item}
