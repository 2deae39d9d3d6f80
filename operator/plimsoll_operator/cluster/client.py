"""The one module that speaks to the API server: requests, pages, watches, each small and typed.

It must not know what Plimsoll is about, keep what it fetched, or retry a request that failed:
callers decide what is worth trying again (`plimsoll_operator.cluster.reflector` does for watches).

Objects are plain dicts of JSON, without ``metadata.managedFields``, which nobody here reads.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

from plimsoll.errors import PlimsollError
from plimsoll_operator.cluster.objects import SUBJECT_ACCESS_REVIEWS, Json, Resource, trimmed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

log = logging.getLogger(__name__)

REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
WATCH_SECONDS: Final = 300
"""Seconds after which the API server ends a watch, so that none grows old."""
WATCH_SILENCE: Final = 75.0
"""Seconds without a line (a bookmark comes every minute) after which a watch is taken for dead."""

UNREACHABLE: Final = (aiohttp.ClientError, TimeoutError, OSError)
"""What a request raises if no answer came."""


class ApiError(PlimsollError):
    """The API server's answer was an error. status: of HTTP; reason, message: its own words."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        self.status, self.reason, self.message = status, reason, message
        self.retry_after = retry_after
        super().__init__(f"{status} {reason}: {message}")


class Conflict(ApiError):
    """409: the object changed since it was read, or is there already."""


class NotFound(ApiError):
    """404: no such object, or no such kind."""


class Gone(ApiError):
    """410: the resource version is too old: list again."""


UNAUTHORIZED: Final = 401
_ABOUT_ONE_OBJECT: Final = (400, 422)
"""Status of errors that say something of the object that was sent, not of the API server."""
_ERRORS: Final[Mapping[int, type[ApiError]]] = {404: NotFound, 409: Conflict, 410: Gone}


class NotAllowedNow(ApiError):
    """A write was not sent, because this process may not write at the moment."""

    def __init__(self, why: str) -> None:
        super().__init__(0, "NotAllowedNow", why)


class NoCluster(PlimsollError):
    """There is no usable way to an API server; the message says what was tried."""


def in_words(error: BaseException) -> str:
    """What an error says, in one line, or its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class OncePerCause:
    """Which failures are news for a log: the first of each cause, then one in `REPEAT` seconds.

    A thousand writes that fail because the API server is away have one cause.
    """

    REPEAT: Final = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that only ever grow."""
        self._clock = clock
        self._said: dict[object, tuple[float, int]] = {}

    def news(self, error: BaseException) -> str:
        """The error in words, and how often its cause came again unsaid; empty if no news."""
        now = self._clock()
        cause: object = in_words(error)
        if isinstance(error, ApiError) and error.status not in _ABOUT_ONE_OBJECT:
            cause = (error.status, error.reason)
        since, unsaid = self._said.get(cause, (-math.inf, 0))
        if now - since < self.REPEAT:
            self._said[cause] = (since, unsaid + 1)
            return ""
        for old in [key for key, (said, _) in self._said.items() if now - said >= self.REPEAT]:
            del self._said[old]
        self._said[cause] = (now, 0)
        return in_words(error) + (f" (and {unsaid} times more before)" if unsaid else "")


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list. resource_version: of the whole list, to watch on from."""

    items: list[Json]
    resource_version: str


class Credentials:
    """What the API server knows us by, loaded again if it refuses it: tokens run out, and files
    and programs that give them have newer ones.

    Nothing hangs on the wall clock, which steps: the API server alone says what has run out.
    """

    BETWEEN: Final = 1.0
    """Seconds between two loads at least: many requests are refused at once."""

    def __init__(
        self, load: Callable[[], Awaitable[object]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """load: from where they were first taken. clock: seconds that only ever grow."""
        self._load, self._clock = load, clock
        self._loaded = -math.inf

    async def renew(self) -> None:
        """Load them again, unless that was done just now."""
        if self._clock() - self._loaded < self.BETWEEN:
            return
        self._loaded = self._clock()
        try:
            await self._load()
        except (ConfigException, OSError, ValueError) as error:
            log.warning("the credentials could not be loaded again: %s", in_words(error))


async def _nothing() -> None:
    """There is nothing to load."""


class Client:
    """Requests to one API server over one connection pool."""

    def __init__(
        self,
        api: ApiClient,
        why_not_write: Callable[[], str] = lambda: "",
        credentials: Credentials | None = None,
    ) -> None:
        """api: configured and open; closing it is its owner's business (see `connect`).

        why_not_write: asked before everything but GET; what it answers is raised. credentials: in
        the configuration of `api`; unset: they last for ever.
        """
        self._api, self._why_not_write = api, why_not_write
        self.credentials = credentials or Credentials(_nothing)

    def guarded(self, why_not_write: Callable[[], str]) -> Client:
        """A client over the same connections whose writes raise `NotAllowedNow` instead of being
        sent, whenever the function says why."""
        return Client(self._api, why_not_write, self.credentials)

    @property
    def configuration(self) -> Configuration:
        """Address and credentials, for kopf to log in with."""
        configuration: Configuration = self._api.configuration
        return configuration

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        body: object,
        content_type: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, per phase
    ) -> aiohttp.ClientResponse:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # packing pages costs both sides more than it saves
            "Content-Type": content_type,
            "User-Agent": "plimsoll",
        }
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        if method != "GET" and (why := self._why_not_write()):
            raise NotAllowedNow(why)
        url = f"{self._api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = await self._api.call_api(
            method, url, header_params=headers, body=body, _request_timeout=timeout
        )
        response: aiohttp.ClientResponse = answer.response
        if response.status == UNAUTHORIZED:
            await self.credentials.renew()
        if response.status >= 400:
            async with response:
                raise _error(response, await response.read())
        return response

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Json:
        """One request and its JSON answer. Raises `ApiError`, or one of `UNREACHABLE`."""
        response = await self._send(method, path, query or {}, body, content_type, REQUEST_TIMEOUT)
        async with response:
            answer: Json = json.loads(await response.read())
        return answer

    async def pages(
        self,
        resource: Resource,
        *,
        chunk: int = 250,
        label_selector: str = "",
        field_selector: str = "",
        namespace: str = "",
    ) -> AsyncIterator[Page]:
        """All objects of a kind in pages of at most `chunk`: one page in memory at a time.

        namespace: the only one to look in; empty for all.
        """
        query: dict[str, str | int] = {"limit": chunk}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        more = True
        while more:
            answer = await self.request("GET", resource.path(namespace), query=query)
            metadata = answer.get("metadata") or {}
            kind = str(answer.get("kind", "")).removesuffix("List")
            items = answer.pop("items", None) or []
            for item in items:
                item.setdefault("apiVersion", answer.get("apiVersion"))
                item.setdefault("kind", kind)
                trimmed(item)
            query["continue"] = metadata.get("continue") or ""
            more = bool(query["continue"])
            yield Page(items, str(metadata.get("resourceVersion", "")))
            del items, answer

    async def watch(
        self,
        resource: Resource,
        resource_version: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        namespace: str = "",
        name: str = "",
    ) -> AsyncIterator[tuple[str, Json]]:
        """Changes since a version as (ADDED | MODIFIED | DELETED | BOOKMARK, object).

        resource_version: empty for what is there now, as ADDED, and all changes since.
        name: of the one object to watch, for which rights to that one object are enough.
        Ends when the server ends it, after `WATCH_SECONDS` at the latest. Raises `Gone` if the
        version is too old, `ApiError` for another error in the stream, or one of `UNREACHABLE`.
        """
        query: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": WATCH_SECONDS,
        }
        if not resource_version:
            del query["resourceVersion"]
        if label_selector:
            query["labelSelector"] = label_selector
        if name:
            field_selector = f"metadata.name={name}"
        if field_selector:
            query["fieldSelector"] = field_selector
        timeout = aiohttp.ClientTimeout(
            total=WATCH_SECONDS + 15, sock_connect=5, sock_read=WATCH_SILENCE
        )
        response = await self._send(
            "GET", resource.path(namespace), query, None, "application/json", timeout
        )
        async with response:
            async for line in response.content:
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR":
                    raise _status_error(obj, int(obj.get("code") or 500))
                yield event["type"], trimmed(obj)

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, patch: Json, resource_version: str
    ) -> Json:
        """Merge a patch into the status of an object, if it still has that version.

        Raises `Conflict` if it has another, `NotFound` if it is gone.
        """
        return await self.request(
            "PATCH",
            resource.path(namespace, name, "status"),
            body={"metadata": {"resourceVersion": resource_version}, "status": patch},
            content_type="application/merge-patch+json",
        )

    async def create(self, resource: Resource, obj: Json, *, namespace: str = "") -> Json:
        """Create an object. Raises `Conflict` if it is there already."""
        return await self.request("POST", resource.path(namespace), body=obj)

    async def apply(
        self,
        resource: Resource,
        obj: Json,
        *,
        manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Json:
        """Server-side apply under a field manager. Raises `Conflict` if others own a field, or if
        the object names a resourceVersion that is not its last."""
        metadata = obj["metadata"]
        return await self.request(
            "PATCH",
            resource.path(metadata.get("namespace", ""), metadata["name"], subresource),
            query={"fieldManager": manager, "force": str(force).lower()},
            body=obj,
            content_type="application/apply-patch+yaml",
        )

    async def delete(
        self, resource: Resource, name: str, *, namespace: str = "", uid: str = ""
    ) -> None:
        """Delete an object; one that is gone already is no error. uid: the only one to delete."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions"}
        body = {**options, "preconditions": {"uid": uid}} if uid else None
        with contextlib.suppress(NotFound):
            await self.request("DELETE", resource.path(namespace, name), body=body)

    async def subject_access_review(
        self,
        *,
        user: str,
        groups: Sequence[str],
        verb: str,
        resource: Resource,
        namespace: str,
        name: str,
        extra: Mapping[str, Sequence[str]] | None = None,
        uid: str = "",
    ) -> bool:
        """Whether the cluster's authorizers let that user use that verb on that object."""
        spec: Json = {
            "user": user,
            "groups": list(groups),
            "resourceAttributes": {
                "verb": verb,
                "group": resource.group,
                "version": resource.version,
                "resource": resource.plural,
                "namespace": namespace,
                "name": name,
            },
        }
        if extra:
            spec["extra"] = {key: list(values) for key, values in extra.items()}
        if uid:
            spec["uid"] = uid
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
        answer = await self.create(SUBJECT_ACCESS_REVIEWS, {**review, "spec": spec})
        return (answer.get("status") or {}).get("allowed") is True


def _error(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    try:
        status = json.loads(body)
    except ValueError:
        status = {"message": body[:512].decode(errors="replace")}
    error = _status_error(status if isinstance(status, dict) else {}, response.status)
    with contextlib.suppress(ValueError):
        error.retry_after = float(response.headers.get("Retry-After", ""))
    return error


def _status_error(status: Mapping[str, Any], code: int) -> ApiError:
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    return _ERRORS.get(code, ApiError)(code, reason, message)


@contextlib.asynccontextmanager
async def connect(kubeconfig: str = "", context: str = "") -> AsyncIterator[Client]:
    """A client, closed at the end of the block.

    kubeconfig: a file, or several as in $KUBECONFIG; empty: the pod's service account if there
    is one, then $KUBECONFIG, then ~/.kube/config. context: in that file; empty: its current one.
    Raises `NoCluster` if none of them is usable.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = 128

    async def load() -> None:
        if not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config",
                context=context or None,
                client_configuration=configuration,
                persist_config=False,
            )

    try:
        await load()
    except (ConfigException, OSError, ValueError) as error:
        raise NoCluster(
            f"no way to a cluster: {error}; set KUBECONFIG, give --kubeconfig, or run in a pod "
            "that has a service account"
        ) from error
    api = ApiClient(configuration)
    try:
        yield Client(api, credentials=Credentials(load))
    finally:
        await api.close()  # type: ignore[no-untyped-call]
