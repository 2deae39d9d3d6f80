"""docs/metrics.md: every metric of ours, read off the registries of both processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from handbook.markdown import HEAD, plain, table
from plimsoll_operator.admission.app import AdmissionMetrics
from plimsoll_operator.controller.app import Controller
from plimsoll_operator.metrics import new_registry, not_decided
from plimsoll_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from plimsoll_operator.cluster.client import Client

OPENING: Final = """# Metrics

Both processes serve `/metrics` on `--metrics-port` (8080), beside `/healthz` and `/readyz`; the
usual series of a Python process (`process_*`, `python_*`) are left out here. The chart brings a
scrape, alerts and a dashboard ([the chart](../charts/plimsoll/README.md)); what an alert means is
on [troubleshooting](troubleshooting.md).
"""
_EVERYTHING: Final = Settings(
    audit_seconds=1.0,
    resolve_models=True,
    resolved_namespace="models",
    webhook_secret="tls",
    webhook_namespace="plimsoll-system",
    webhook_service="webhook",
    webhook_configuration="webhook",
)
"""Every part of the controller that has metrics, switched on."""
_OF_PYTHON: Final = ("process_", "python_")


class _Unasked:
    """A client that nobody asks anything."""


def page() -> str:
    """The page. The controller is put together for it, and not started."""
    controller = Controller(cast("Client", _Unasked()), _EVERYTHING).registry
    admission = new_registry()
    AdmissionMetrics(admission)
    not_decided(admission)
    parts = [HEAD.format(source="the processes' own registries"), OPENING]
    for name, registry in (("controller", controller), ("admission", admission)):
        parts += [
            f"\n## {name}\n\n",
            table(("metric", "type", "labels", "what it is"), _rows(registry)),
        ]
    return "".join(parts)


def _rows(registry: CollectorRegistry) -> Iterator[tuple[str, str, str, str]]:
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            if family.name.startswith(_OF_PYTHON):
                continue
            owner: Any = collector if hasattr(collector, "_labelnames") else family
            labels = ", ".join(f"`{label}`" for label in owner._labelnames)
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            yield f"`{family.name}{suffix}`", family.type, labels, plain(family.documentation)
