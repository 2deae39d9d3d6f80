"""From what there is in the cluster to the one next step that keeps admission trusted.

It must not speak to the API server, make a key or look at a clock. There are these objects:

    Secret NAME-ca   tls.crt, tls.key  the newest authority, with the only key there is of one
                     ca.crt            every authority that is to be trusted: the newest first
    Secret NAME      tls.crt, tls.key  what admission serves;  ca.crt  the same as above
    caBundle of each webhook of the configurations: the same as above

The first of these that is so is the next step; a rotation is nothing but this list, taken in turn:

    a Secret is not ours (by its label)                  -> refuse: touch nothing
    no usable authority, or it is due                    -> make one, keep trusting the old ones
    ca.crt beside it is damaged                          -> trust whoever may still serve
    a caBundle is not what is to be trusted              -> publish: old and new together
    no usable serving certificate                        -> issue at once
    it is due, or not the newest authority's             -> issue, once all of the above has been
                                                            published for `propagation`
    ca.crt beside it is not what is to be trusted        -> write it
    old authorities are trusted, but serve no more       -> drop them, once the new certificate has
                                                            been in its Secret for `propagation`
    otherwise                                            -> wait

So trust is always there before what needs it, and goes only after everybody has let go of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import GROUP
from plimsoll_operator.certificates.authority import (
    Pair,
    bundle,
    due,
    is_for,
    is_signed_by,
    is_valid,
    read_pair,
    read_roots,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cryptography import x509

LABEL: Final = f"{GROUP}/certificate"
"""On Secrets that we made; its value is `SERVING` or `AUTHORITY`."""
SERVING: Final = "serving"
AUTHORITY: Final = "authority"
MOST_ROOTS: Final = 4
"""Old authorities that are kept trusted: each is a kilobyte in the webhook configuration."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted: names and addresses to serve, how long each certificate lives, and how
    long a change may take to reach every API server and every admission process."""

    names: tuple[str, ...]
    serving: timedelta
    authority: timedelta
    propagation: timedelta


@dataclass(frozen=True, slots=True)
class CertificateState:
    """The objects, None if there is none, and since when they are as they are.

    configurations: those of the wanted ones that are there. published_since: when every caBundle
    was first seen to be as it is now, without a break.
    served_since: the same of the serving certificate in its Secret.
    """

    authority: Object | None
    serving: Object | None
    configurations: tuple[Object, ...]
    published_since: datetime | None
    served_since: datetime | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Touch nothing: a Secret is somebody else's. kind: `SERVING` or `AUTHORITY`."""

    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class MakeAuthority:
    """Make a new authority and trust it beside these (PEM)."""

    trusted: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Put these authorities (PEM) into every caBundle."""

    trusted: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Issue:
    """Issue a serving certificate by that authority, with all that is to be trusted (PEM)."""

    authority: Pair
    trusted: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Write into the serving Secret what is to be trusted (PEM); its certificate stays."""

    trusted: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Trust:
    """Write beside the authority who is to be trusted (PEM) from now on."""

    trusted: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to do before `until`, unless something changes."""

    until: datetime
    why: str


Step = Refuse | MakeAuthority | Publish | Issue | Tell | Trust | Wait


def contents(secret: Object | None, key: str) -> bytes:
    """What a Secret holds under a key; empty if it is not there or is no base64."""
    data = (secret or {}).get("data") or {}
    try:
        return base64.b64decode(data.get(key) or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        return b""


def pair_in(secret: Object | None) -> Pair:
    """The pair in a Secret of type kubernetes.io/tls."""
    return Pair(contents(secret, "tls.crt"), contents(secret, "tls.key"))


def published(*configurations: Object | None) -> tuple[bytes, ...]:
    """What each webhook of these configurations has API servers trust."""
    hooks = [hook for one in configurations for hook in (one or {}).get("webhooks") or ()]
    return tuple(contents({"data": hook.get("clientConfig") or {}}, "caBundle") for hook in hooks)


def plan(state: CertificateState, wish: Wish, now: datetime) -> Step:
    """The next step. Doing it and asking again, until the answer is `Wait`, converges."""
    if foreign := _foreign(state.authority, AUTHORITY) or _foreign(state.serving, SERVING):
        return foreign

    pair = pair_in(state.authority)
    newest = read_pair(pair)
    if newest is None or not is_valid(newest, now) or due(newest) <= now:
        return MakeAuthority(_worth_trusting(state, now), _why_authority(state, newest, now))

    kept = [r for r in read_roots(contents(state.authority, "ca.crt")) if is_valid(r, now)]
    if newest not in kept:
        roots = (newest, *read_roots(_worth_trusting(state, now)))
        return Trust(bundle(roots), "its ca.crt is damaged")
    trusted = bundle([newest, *kept])
    for has in published(*state.configurations):
        if has != trusted:
            why = "there is none yet" if not has else "it is not what is to be trusted"
            return Publish(trusted, f"caBundle: {why}")

    leaf = read_pair(pair_in(state.serving))
    wrong = _wrong(state, leaf, read_roots(trusted), wish, now)
    if wrong:
        return Issue(pair, trusted, wrong)
    assert leaf is not None
    by_newest = is_signed_by(leaf, newest)
    if not by_newest or due(leaf) <= now:
        why = "it is due" if by_newest else "there is a newer authority"
        ready = _ready(state.published_since, wish, now)
        return Issue(pair, trusted, why) if ready <= now else Wait(ready, f"{why}: publishing")
    if contents(state.serving, "ca.crt") != trusted:
        return Tell(trusted, "ca.crt is not what is to be trusted")
    if len(read_roots(trusted)) > 1:
        ready = _ready(state.served_since, wish, now)
        if ready > now:
            return Wait(ready, "admission takes up the new certificate")
        return Trust(bundle([newest]), "everybody serves the new certificate")
    return Wait(min(due(newest), due(leaf)), "all is well")


def _ready(since: datetime | None, wish: Wish, now: datetime) -> datetime:
    """When what has been so since then has reached everybody."""
    return (since or now) + wish.propagation


def _foreign(secret: Object | None, kind: str) -> Refuse | None:
    if secret is None:
        return None
    metadata = secret.get("metadata") or {}
    if (metadata.get("labels") or {}).get(LABEL) == kind:
        return None
    return Refuse(
        kind,
        f"Secret {metadata.get('namespace')}/{metadata.get('name')} is not ours: it has no label "
        f"{LABEL}={kind}, so it is left as it is; delete it, label it, or name another one",
    )


def _why_authority(state: CertificateState, newest: x509.Certificate | None, now: datetime) -> str:
    if state.authority is None:
        return "there is none"
    if newest is None:
        return "its Secret is damaged"
    return "it is due" if is_valid(newest, now) else "it is not valid now"


def _worth_trusting(state: CertificateState, now: datetime) -> bytes:
    """The authorities that may have signed what admission serves until that is replaced."""
    texts = [
        contents(state.authority, "tls.crt"),
        contents(state.authority, "ca.crt"),
        contents(state.serving, "ca.crt"),
        *published(*state.configurations),
    ]
    roots = [root for text in texts for root in read_roots(text) if is_valid(root, now)]
    return bundle(list(dict.fromkeys(roots))[:MOST_ROOTS])


def _wrong(
    state: CertificateState,
    leaf: x509.Certificate | None,
    roots: tuple[x509.Certificate, ...],
    wish: Wish,
    now: datetime,
) -> str:
    """Why the serving certificate serves nobody; empty if it does."""
    if state.serving is None:
        return "there is none"
    if leaf is None:
        return "its Secret is damaged"
    if not is_valid(leaf, now):
        return "it is not valid now"
    if not any(is_signed_by(leaf, root) for root in roots):
        return "nobody trusts who issued it"
    if not is_for(leaf, wish.names):
        return "it is for other names"
    return ""
