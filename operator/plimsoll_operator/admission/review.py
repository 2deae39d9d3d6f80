"""AdmissionReview, admission.k8s.io/v1: the bytes that come in, the object that goes back.

It must not judge: a body that is not a review is an error here, and an HTTP status for the
server; a review that is one is somebody else's to allow or deny.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

API_VERSION = "admission.k8s.io/v1"
MAX_WARNING = 256
"""Characters of one warning; the API server cuts longer ones off without a mark."""
MAX_WARNINGS = 4096
"""Characters of all warnings together, by the API server's own limit."""


class NotAReview(Exception):
    """The body is not an AdmissionReview; the message says what was wanted."""


@dataclass(frozen=True, slots=True)
class Review:
    """One request for admission.

    uid: echoed in the answer. operation: CREATE, UPDATE, DELETE or CONNECT. obj, old: the objects,
    empty if the operation has none. user, groups, extra: who asks.
    """

    uid: str
    operation: str
    namespace: str
    name: str
    obj: Mapping[str, Any]
    old: Mapping[str, Any]
    user: str = ""
    groups: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    user_uid: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell the API server: allowed or not, in which words, with which warnings."""

    allowed: bool
    message: str = ""
    warnings: tuple[str, ...] = ()
    audit: Mapping[str, str] = field(default_factory=dict)


def read_review(body: bytes) -> Review:
    """The review in an HTTP body. Raises `NotAReview` for anything that is not one."""
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
    uid, operation = request.get("uid"), request.get("operation")
    if not isinstance(uid, str) or not uid or not isinstance(operation, str):
        raise NotAReview("the request has no uid or no operation")
    user = _mapping(request.get("userInfo"))
    obj, old = _mapping(request.get("object")), _mapping(request.get("oldObject"))
    groups = user.get("groups")
    return Review(
        uid=uid,
        operation=operation,
        namespace=str(request.get("namespace") or ""),
        name=str(request.get("name") or _mapping(obj.get("metadata")).get("name") or ""),
        obj=obj,
        old=old,
        user=str(user.get("username") or ""),
        groups=tuple(map(str, groups)) if isinstance(groups, list) else (),
        extra=_mapping(user.get("extra")),
        user_uid=str(user.get("uid") or ""),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


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
