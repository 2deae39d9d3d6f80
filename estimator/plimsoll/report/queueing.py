"""What Plimsoll says of a workload in Kueue: the messages of an AdmissionCheck's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.report.messages import fits_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Verdict

LONGEST: Final = 1000
"""Characters of one message."""
SHORT: Final = 300
"""Characters of what is said of one flavor of several."""


def standing(engines: Iterable[tuple[Request, Verdict]]) -> str:
    """How the engines of a workload stand on a flavor: one that does not fit, else the first."""
    found = sorted(engines, key=lambda one: not one[1].denied)
    return fits_message(*found[0]) if found else "serves no LLM that is read"


def ready(flavor: str, said: str) -> str:
    """On the flavor that it was given."""
    return _short(f"ResourceFlavor {flavor}: {said}")


def moved(flavor: str, said: str, rest: Iterable[str]) -> str:
    """Not on the flavor that it was given, but perhaps on others."""
    names = ", ".join(sorted(rest))
    return _short(f"ResourceFlavor {flavor} is not for it: {_of_several(said)}; left: {names}")


def refused(queue: str, said: Mapping[str, str]) -> str:
    """On no flavor of the queue."""
    each = "; ".join(f"{flavor}: {_of_several(said[flavor])}" for flavor in sorted(said))
    return _short(f"no ResourceFlavor of ClusterQueue {queue} holds it. {each}")


def indistinct(flavor: str, said: str) -> str:
    """Not on the flavor that it was given, from which others cannot be told."""
    return _short(
        f"ResourceFlavor {flavor} is not for it: {_of_several(said)}; no label tells it from the "
        "other flavors: give each a nodeLabel of its own"
    )


def not_judged(why: str) -> str:
    """Let through, as nobody knows."""
    return _short(f"not judged: {why}")


def _of_several(said: str) -> str:
    return said if len(said) <= SHORT else f"{said[: SHORT - 1]}…"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
