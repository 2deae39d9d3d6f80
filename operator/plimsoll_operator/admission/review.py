"""AdmissionReview, admission.k8s.io/v1: the bytes that come in, the object that goes back.

It must not judge: a body that is not a review is an error here, and an HTTP status for the
server; a review that is one is somebody else's to allow or deny. What stays of a review is small
whatever was sent: whoever decides reads the objects from the body again, in a process of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import API_VERSION as OUR_API_VERSION
from plimsoll.api_group import GROUP, KIND, OVERRIDE_ANNOTATION
from plimsoll.models.uris import whole_repository
from plimsoll.workloads.kinds import owned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Reference = tuple[str, str | None]
"""A ConfigMap that a model is taken from, by name, and the key in it, None for the usual ones; or
`RESOLVED_AT` and the id of a model that somebody may have resolved."""
RESOLVED_AT: Final = "hf://"
"""What no name of a ConfigMap begins with."""

API_VERSION = "admission.k8s.io/v1"
MAX_WARNING = 256
"""Characters of one warning; the API server cuts longer ones off without a mark."""
MAX_WARNINGS = 4096
"""Characters of all warnings together, by the API server's own limit."""


_LONGEST_URI = 1024
"""Characters of a uri that are looked at for an id."""
MAX_HEADING = 512 << 10
"""Characters of all that a review says beside its objects, an override's reason included."""


class NotAReview(Exception):
    """The body is not an AdmissionReview; the message says what was wanted."""


@dataclass(frozen=True, slots=True)
class Review:
    """One request for admission, without its objects.

    uid: echoed in the answer. operation: CREATE, UPDATE, DELETE or CONNECT. user, groups, extra:
    who asks. deleting: the object is on its way out. changed: what it asks for or an annotation of
    ours differs from the old object's. override, override_before: the override annotation, None if
    there is none. references: what LLMDeployments take their models from. body: the review as it
    came.
    """

    uid: str
    operation: str
    namespace: str
    name: str
    user: str = ""
    groups: Sequence[str] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)
    user_uid: str = ""
    deleting: bool = False
    changed: bool = True
    override: str | None = None
    override_before: str | None = None
    references: Sequence[Reference] = ()
    own: bool = True
    kind: str = KIND
    owned: bool = False
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell the API server: allowed or not, in which words, with which warnings."""

    allowed: bool
    message: str = ""
    warnings: tuple[str, ...] = ()
    audit: Mapping[str, str] = field(default_factory=dict)


def read_review(body: bytes) -> Review:
    """The review in an HTTP body. Raises `NotAReview` for anything that is not one."""
    request = _request(body)
    uid, operation = request.get("uid"), request.get("operation")
    if not isinstance(uid, str) or not uid or not isinstance(operation, str):
        raise NotAReview("the request has no uid or no operation")
    user = _mapping(request.get("userInfo"))
    obj, old = _mapping(request.get("object")), _mapping(request.get("oldObject"))
    ours, before = _our_annotations(obj), _our_annotations(old)
    own = (obj.get("apiVersion"), obj.get("kind")) == (OUR_API_VERSION, KIND)
    extra = _mapping(user.get("extra"))
    review = Review(
        uid=uid,
        operation=operation,
        namespace=str(request.get("namespace") or ""),
        name=str(request.get("name") or _mapping(obj.get("metadata")).get("name") or ""),
        user=str(user.get("username") or ""),
        groups=_texts(user.get("groups")),
        extra={key: _texts(values) for key, values in extra.items()},
        user_uid=str(user.get("uid") or ""),
        deleting=bool(_mapping(obj.get("metadata")).get("deletionTimestamp")),
        changed=_stated(obj) != _stated(old) or ours != before or _less_annotated(obj, old),
        override=ours.get(OVERRIDE_ANNOTATION),
        override_before=before.get(OVERRIDE_ANNOTATION),
        references=tuple(dict.fromkeys((*_references(obj), *_references(old)))) if own else (),
        own=own,
        kind=str(obj.get("kind") or ""),
        owned=owned(obj),
        body=body,
    )
    if _size(review) > MAX_HEADING:
        raise NotAReview(f"the request says more than {MAX_HEADING} characters about who asks")
    return review


def objects(body: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Object and old object of a review, empty if it has none, named as the request names them."""
    request = _request(body)
    obj, old = _mapping(request.get("object")), _mapping(request.get("oldObject"))
    namespace = str(request.get("namespace") or "")
    metadata = _mapping(obj.get("metadata"))
    name = str(
        request.get("name") or metadata.get("name") or metadata.get("generateName") or "unnamed"
    )
    named = {"namespace": namespace, "name": name}
    return (
        {**obj, "metadata": {**_mapping(obj.get("metadata")), **named}},
        {**old, "metadata": {**_mapping(old.get("metadata")), **named}} if old else {},
    )


def _request(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAReview(f"the body is not JSON ({error}); wanted an AdmissionReview") from None
    if not isinstance(document, dict) or document.get("kind") != "AdmissionReview":
        raise NotAReview("the body is not an AdmissionReview: kind is missing or another")
    version = document.get("apiVersion")
    if version != API_VERSION:
        raise NotAReview(f"apiVersion is {str(version)[:64]!r}, wanted {API_VERSION!r}")
    request = document.get("request")
    if not isinstance(request, dict):
        raise NotAReview("the AdmissionReview has no request")
    return request


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _our_annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of our own group on an object."""
    found = _mapping(_mapping(obj.get("metadata")).get("annotations"))
    return {k: v for k, v in found.items() if k.startswith(f"{GROUP}/") and isinstance(v, str)}


def _less_annotated(obj: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether an annotation is gone, whoever's it is: a policy may ask for it."""
    there, before = (
        _mapping(_mapping(one.get("metadata")).get("annotations")) for one in (obj, old)
    )
    return not before.keys() <= there.keys()


def _stated(obj: Mapping[str, Any]) -> dict[str, Any]:
    """What an object asks for: its spec, or what a kind has in the place of one."""
    return {k: v for k, v in obj.items() if k not in ("apiVersion", "metadata", "status")}


def _references(obj: Mapping[str, Any]) -> list[Reference]:
    """The ConfigMap that an LLMDeployment takes its model from, or the model whose profile somebody
    may have resolved. What other kinds refer to their readers ask for
    (`plimsoll_operator.deciding.beside`)."""
    model = _mapping(_mapping(obj.get("spec")).get("model"))
    references: list[Reference] = []
    if "configMapRef" not in model:
        uri = model.get("uri")
        named = whole_repository(uri[:_LONGEST_URI]) if isinstance(uri, str) else ""
        references += [(f"{RESOLVED_AT}{named}", None)] if named else []
    found = _mapping(model.get("configMapRef"))
    name, key = found.get("name"), found.get("key")
    if isinstance(name, str) and (key is None or isinstance(key, str)):
        references.append((name, key))
    return references


def _size(review: Review) -> int:
    """Characters of everything in a review except its body."""
    texts = [review.uid, review.operation, review.namespace, review.name, review.kind]
    texts += [review.user, review.user_uid, *review.groups]
    texts += [review.override or "", review.override_before or ""]
    for name, values in review.extra.items():
        texts += [name, *values]
    for name, key in review.references:
        texts += [name, key or ""]
    return sum(len(text) + 8 for text in texts)  # even empty ones cost something


def write_answer(uid: str, answer: Answer) -> bytes:
    """The AdmissionReview that carries an answer back.

    A denial has code 422 and no reason: with reason ``Invalid`` kubectl drops the message.
    """
    response: dict[str, Any] = {"uid": uid, "allowed": answer.allowed}
    if not answer.allowed:
        response["status"] = {"code": 422, "message": answer.message}
    warnings = fitting(answer.warnings)
    if warnings:
        response["warnings"] = warnings
    if answer.audit:
        response["auditAnnotations"] = dict(answer.audit)
    review = {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
    return json.dumps(review, separators=(",", ":")).encode()


def fitting(warnings: Sequence[str]) -> list[str]:
    """The warnings cut to what the API server passes on, the last ones go first."""
    room, kept = MAX_WARNINGS, []
    for warning in warnings:
        line = " ".join(warning.split())
        line = line if len(line) <= MAX_WARNING else line[: MAX_WARNING - 1] + "…"
        if (room := room - len(line)) < 0:
            break
        kept.append(line)
    return kept
