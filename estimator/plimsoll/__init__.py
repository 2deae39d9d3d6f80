"""Plimsoll: what a model needs per GPU, where it fits, and what would make it fit.

A library; pure: it opens no socket and knows no Kubernetes client. What is named here is its
public face, and docs/library.md shows it at work; every other module may change in any release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plimsoll._library import estimate as estimate
    from plimsoll._library import explain as explain
    from plimsoll._library import find_accelerator as find_accelerator
    from plimsoll._library import find_model as find_model
    from plimsoll._library import read_files as read_files
    from plimsoll._library import read_manifest as read_manifest
    from plimsoll.accelerators.types import Accelerator as Accelerator
    from plimsoll.decision.decide import decide as decide
    from plimsoll.decision.request import Request as Request
    from plimsoll.decision.request import Wanted as Wanted
    from plimsoll.decision.verdict import Alternative as Alternative
    from plimsoll.decision.verdict import Decision as Decision
    from plimsoll.decision.verdict import Placement as Placement
    from plimsoll.decision.verdict import Reason as Reason
    from plimsoll.decision.verdict import Verdict as Verdict
    from plimsoll.engines.base import EngineSettings as EngineSettings
    from plimsoll.engines.base import Estimate as Estimate
    from plimsoll.engines.base import Known as Known
    from plimsoll.engines.base import Parallelism as Parallelism
    from plimsoll.engines.base import Term as Term
    from plimsoll.engines.base import TermName as TermName
    from plimsoll.engines.base import Workload as Workload
    from plimsoll.errors import Invalid as Invalid
    from plimsoll.errors import PlimsollError as PlimsollError
    from plimsoll.errors import Problem as Problem
    from plimsoll.errors import Unreadable as Unreadable
    from plimsoll.inventory.nodes import read_nodes as read_nodes
    from plimsoll.inventory.pools import Inventory as Inventory
    from plimsoll.models.architecture import Model as Model
    from plimsoll.workloads.files import Manifests as Manifests

__version__ = "0.1.0"

__all__ = [
    "Accelerator",
    "Alternative",
    "Decision",
    "EngineSettings",
    "Estimate",
    "Invalid",
    "Inventory",
    "Known",
    "Manifests",
    "Model",
    "Parallelism",
    "Placement",
    "PlimsollError",
    "Problem",
    "Reason",
    "Request",
    "Term",
    "TermName",
    "Unreadable",
    "Verdict",
    "Wanted",
    "Workload",
    "decide",
    "estimate",
    "explain",
    "find_accelerator",
    "find_model",
    "read_files",
    "read_manifest",
    "read_nodes",
]

_HOMES = {
    "estimate": "_library",
    "explain": "_library",
    "find_accelerator": "_library",
    "find_model": "_library",
    "read_files": "_library",
    "read_manifest": "_library",
    "Accelerator": "accelerators.types",
    "decide": "decision.decide",
    "Request": "decision.request",
    "Wanted": "decision.request",
    "Alternative": "decision.verdict",
    "Decision": "decision.verdict",
    "Placement": "decision.verdict",
    "Reason": "decision.verdict",
    "Verdict": "decision.verdict",
    "EngineSettings": "engines.base",
    "Estimate": "engines.base",
    "Known": "engines.base",
    "Parallelism": "engines.base",
    "Term": "engines.base",
    "TermName": "engines.base",
    "Workload": "engines.base",
    "Invalid": "errors",
    "PlimsollError": "errors",
    "Problem": "errors",
    "Unreadable": "errors",
    "read_nodes": "inventory.nodes",
    "Inventory": "inventory.pools",
    "Model": "models.architecture",
    "Manifests": "workloads.files",
}
"""The module in which each public name lives; it is imported when the name is first used."""


if not TYPE_CHECKING:  # so that a type checker knows which names there are not

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'plimsoll' has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(f"plimsoll.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
