"""Objects of other people's kinds that somebody wants looked at, and what they refer to by name.

    namespaces     those with the label `plimsoll.dev/workloads`, and those in which a SizingPolicy
                   names such a kind
    kinds          those of `plimsoll.workloads.kinds.OTHERS` that the API server has; what was made
                   by a controller for an object of one of them is passed over

It keeps no object: each is read in a page of a list.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from plimsoll.api_group import WORKLOADS_LABEL
from plimsoll.workloads import kinds
from plimsoll.workloads.resolved import RESOLVED, config_map_name
from plimsoll_operator.cluster.client import ApiError, in_words
from plimsoll_operator.cluster.objects import CONFIG_MAPS, NAMESPACES, REFERRED_TO, Json, name_of
from plimsoll_operator.cluster.served import served
from plimsoll_operator.deciding.beside import CONFIG_MAP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from plimsoll.decision.policy import Policy
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Resource
    from plimsoll_operator.deciding.beside import Wanted

log = logging.getLogger(__name__)

OBJECTS_PER_PAGE: Final = 25


class OthersPolicies(Protocol):
    """What is asked about policies."""

    def every_namespace(self) -> bool:
        """Whether namespaces without the label may be looked at too."""
        ...

    def workloads_policy(self, namespace: str, kind: str) -> Policy | None:
        """The policy on one of other people's kinds; None if it is not to be looked at."""
        ...


class Other(NamedTuple):
    """One object, its namespace and the policy on it."""

    namespace: str
    obj: Json
    policy: Policy


class Others:
    """One walk over them. unlisted: what could not be listed, and why, in words.

    unresolved: models that objects name and nobody has resolved.
    """

    def __init__(self, client: Client, policies: OthersPolicies, resolved_in: str = "") -> None:
        """resolved_in: the namespace with profiles of resolved models, empty if there is none."""
        self._client, self._policies, self._resolved_in = client, policies, resolved_in
        self.unlisted: list[str] = []
        self.unresolved: set[str] = set()

    async def each(self) -> AsyncIterator[Other]:
        """Every object, without its status. Raises `ApiError`, or one of `UNREACHABLE`."""
        every = await served(self._client, kinds.OTHERS)
        resources = [(kind.name, resource) for kind, resource in every]
        labelled = "" if self._policies.every_namespace() else WORKLOADS_LABEL
        async for page in self._client.pages(NAMESPACES, label_selector=labelled):
            for namespace in page.items:
                name = name_of(namespace)[1]
                for kind, resource in resources:
                    policy = self._policies.workloads_policy(name, kind)
                    if policy is not None:
                        async for obj in self._objects(name, resource):
                            yield Other(name, obj, policy)

    async def _objects(self, namespace: str, resource: Resource) -> AsyncIterator[Json]:
        pages = self._client.pages(resource, chunk=OBJECTS_PER_PAGE, namespace=namespace)
        try:
            async for page in pages:
                for obj in page.items:
                    if not kinds.owned(obj) and not obj["metadata"].get("deletionTimestamp"):
                        obj.pop("status", None)
                        yield obj
                del page
        except ApiError as error:  # such as a kind that may not be listed
            said = f"{resource.plural} of namespace {namespace}: {in_words(error)}"
            self.unlisted.append(said)
            log.warning("not listed: %s", said)

    async def beside(self, wanted: Wanted) -> Mapping[str, Any] | None:
        """An object that another refers to; None if it is not there or may not be read."""
        kind, namespace, name = wanted
        resource, model = REFERRED_TO.get(kind), ""
        if kind == CONFIG_MAP:
            resource = CONFIG_MAPS
        if (kind, namespace) == (CONFIG_MAP, RESOLVED):
            model, namespace, name = name, self._resolved_in, config_map_name(name)
        if resource is None or (resource.namespaced and not namespace):
            return None
        try:
            return await self._client.request("GET", resource.path(namespace, name))
        except ApiError:
            if model:
                self.unresolved.add(model)
            return None
