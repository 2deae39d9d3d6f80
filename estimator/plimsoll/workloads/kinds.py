"""The kinds of objects that start an LLM, in one table: who reads an object of which kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll import api_group
from plimsoll.workloads import llmdeployment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.decision.request import Request
    from plimsoll.workloads.llmdeployment import Documents


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload. group: of its apiVersion; versions: those that are known.

    request: what an object of this kind asks to have decided; never raises.
    """

    group: str
    name: str
    versions: frozenset[str]
    request: Callable[[Mapping[str, Any], Documents], Request]


KINDS: Final = (
    Kind(
        api_group.GROUP,
        api_group.KIND,
        frozenset({api_group.VERSION}),
        llmdeployment.request,
    ),
)
"""Every kind that is read. A new one is one line here and its reader in a file beside this one."""
_BY_NAME: Final = {(kind.group, kind.name): kind for kind in KINDS}


def find(api_version: str, name: str) -> Kind | None:
    """The kind of an object by its apiVersion and kind; None if it is not read here."""
    group, _, version = api_version.rpartition("/")
    kind = _BY_NAME.get((group, name))
    return kind if kind is not None and version in kind.versions else None
