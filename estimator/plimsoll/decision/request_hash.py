"""The request hash: proof that the command line, admission and the controller decided the same.

It is taken over every field of a request's dataclasses except those in `LEFT_OUT`, so a new setting
cannot be forgotten. A field that has its default is passed over: a setting that is new changes the
hash of those requests alone that use it. The inventory is never in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Final

from plimsoll.decision.beyond import facts
from plimsoll.decision.bounds import UNBOUND, Bounds
from plimsoll.decision.request import Prefer, Request, Wanted

if TYPE_CHECKING:
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.policy import Policy
    from plimsoll.engines.assemble import Engine

DIGITS: Final = 32
"""Hexadecimal digits of the hash that are kept."""
LEFT_OUT: Final[dict[type, dict[str, str]]] = {
    Request: {
        "name": "how the object is called changes nothing",
        "model": "its digest stands for it, or its name if its structure is not known",
        "places": "where a kind of workload keeps its fields changes nothing",
        "warnings": "they follow from what is hashed",
        "annotations": "kubectl adds keys; those that a policy asks for are hashed with it",
        "engine_said": "hashed where a policy asks for a version",
        "other_gpus": "hashed where a policy bounds the GPUs of an object",
    },
    Bounds: {
        "by": "who sets a bound changes nothing",
    },
}
"""Fields that the hash does not see, by class, each with the reason."""
UNORDERED: Final = frozenset({"allowed", "node_selector", "accelerators"})
"""Fields whose order means nothing; that of names does if the first available one is preferred."""


def request_hash(
    request: Request, policy: Policy, knowledge: Knowledge, engine: Engine | None
) -> str:
    """``sha256:`` and `DIGITS` digits over spec, resolved model, constants, mode and bounds of the
    policy."""
    facts = (
        *_asked(request),
        engine.constants_digest(request.engine.version) if engine else "",
        knowledge.digest,
        policy.mode.value,
        *_bound(request, policy.bounds),
    )
    digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass"))
    return f"sha256:{digest.hexdigest()[:DIGITS]}"


def same(one: Request, other: Request, bounds: Bounds = UNBOUND) -> bool:
    """Whether two requests ask for the same, wherever their objects keep it.

    bounds: what policies hold both to.
    """
    return _asked(one) == _asked(other) and _bound(one, bounds) == _bound(other, bounds)


def _bound(request: Request, bounds: Bounds) -> tuple[object, ...]:
    """The bounds, and what of a request they look at; nothing where there are none."""
    said = _plain(bounds)
    return (said, facts(request, bounds)) if said else ()


def _asked(request: Request) -> tuple[object, ...]:
    """What a request asks for."""
    model = request.model
    return (
        _plain(request),
        (model.digest or model.name, model.parameters, model.bits),
        *(() if model.certain else ("not certain",)),
    )


def _plain(value: object) -> object:
    """A value as nested tuples of texts and numbers, the same however it was written."""
    if is_dataclass(value):
        ordered = isinstance(value, Wanted) and value.prefer is Prefer.FIRST_AVAILABLE
        return tuple(
            (name, _unordered(name, _plain(getattr(value, name)), ordered))
            for name, default in _seen(value.__class__)
            if getattr(value, name) != default
        )
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Decimal):
        return _share(value)
    return value


@cache
def _seen(kind: type) -> tuple[tuple[str, object], ...]:
    """The fields of a class that the hash sees, each with its default."""
    left_out = LEFT_OUT.get(kind, {})
    return tuple((one.name, one.default) for one in fields(kind) if one.name not in left_out)


def _unordered(name: str, value: object, ordered: bool) -> object:
    """The elements of an `UNORDERED` field in one order, each once. ordered: its names have one."""
    if name in UNORDERED and not (ordered and name == "allowed") and isinstance(value, tuple):
        return tuple(sorted(set(value)))
    return value


def _share(share: Decimal) -> str:
    """A share in one spelling; what is no share, as it stands."""
    if not share.is_finite() or not 0 < share <= 1:
        return str(share)
    return str(share.normalize())
