"""The metrics that both processes serve, each with its name, labels and unit in one place.

It must not import kopf or speak to the API server. Series of an object go when the object goes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

import plimsoll
from plimsoll.decision.verdict import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric

    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.audit import Totals

_PER_OBJECT: Final = (
    ("fits", "1 where the LLMDeployment fits, 0 where not, NaN where nobody can be sure."),
    ("required_bytes", "Bytes that one GPU of the LLMDeployment needs."),
    ("usable_bytes", "Bytes of that GPU that its engine may take."),
)
_FITS: Final = {Decision.ALLOW: 1.0, Decision.DENY: 0.0}
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def new_registry() -> CollectorRegistry:
    """A registry with what every process tells: memory, CPU, garbage, and our version."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("plimsoll_estimator", "Version of the estimator that decides.", registry=registry).info(
        {"version": plimsoll.__version__}
    )
    return registry


def not_decided(registry: CollectorRegistry) -> Callable[[str], None]:
    """A function that counts what was not decided. cause: as `plimsoll_operator.deciding` says."""
    counter = Counter(
        "plimsoll_not_decided",
        "Reviews and LLMDeployments that were not decided, by cause: budget, memory, died, busy.",
        ["cause"],
        registry=registry,
    )
    return lambda cause: counter.labels(str(cause)).inc()


class ControllerMetrics(Collector):
    """What the controller tells of itself and of what it decided."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """registry: where the metrics are kept; one set of them per registry."""
        self._found: dict[tuple[str, str], tuple[float, int | None, int | None]] = {}
        registry.register(self)
        self._gpus = Gauge(
            "plimsoll_inventory_gpus",
            "GPUs of the cluster's nodes, by whether their nodes are Ready and schedulable.",
            ["accelerator", "state"],
            registry=registry,
        )
        self._set_aside = Gauge(
            "plimsoll_inventory_nodes_set_aside",
            "Nodes with GPUs that are not counted because what they say contradicts itself.",
            registry=registry,
        )
        self._decisions = Counter(
            "plimsoll_decisions",
            "Decisions of the controller.",
            ["decision", "reason"],
            registry=registry,
        )
        self._reconcile = Histogram(
            "plimsoll_reconcile_seconds",
            "Seconds from taking an LLMDeployment up to having written it, by outcome.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._depth = Gauge(
            "plimsoll_queue_depth", "LLMDeployments that wait for a worker.", registry=registry
        )
        self._heard = Gauge(
            "plimsoll_last_event_age_seconds",
            "Seconds since the API server was last heard of.",
            registry=registry,
        )
        self._objects = Gauge(
            "plimsoll_llmdeployments",
            "LLMDeployments that there are.",
            registry=registry,
        )

    def watch(
        self, depth: Callable[[], float], age: Callable[[], float], objects: Callable[[], float]
    ) -> None:
        """Read queue depth, age of the last event and number of objects when asked for them."""
        self._depth.set_function(depth)
        self._heard.set_function(age)
        self._objects.set_function(objects)

    def decided(
        self,
        namespace: str,
        name: str,
        decision: Decision,
        reason: str,
        required: int | None,
        usable: int | None,
    ) -> None:
        """A decision on one LLMDeployment. required, usable: bytes of one GPU, if known."""
        self._decisions.labels(str(decision), str(reason)).inc()
        self._found[namespace, name] = (_FITS.get(decision, math.nan), required, usable)

    def undecided(self, namespace: str, name: str) -> None:
        """One LLMDeployment was set aside without a decision."""
        self._found[namespace, name] = (math.nan, None, None)

    def gone(self, namespace: str, name: str) -> None:
        """An LLMDeployment is no more."""
        self._found.pop((namespace, name), None)

    def collect(self) -> Iterator[Metric]:
        """The series of each LLMDeployment, made when asked for: kept, they would be megabytes."""
        fits, required, usable = (
            GaugeMetricFamily(f"plimsoll_llmdeployment_{name}", text, labels=["namespace", "name"])
            for name, text in _PER_OBJECT
        )
        for labels, (value, need, have) in list(self._found.items()):
            fits.add_metric(labels, value)
            if need is not None and have is not None:
                required.add_metric(labels, need)
                usable.add_metric(labels, have)
        return iter((fits, required, usable))

    def inventory(self, inventory: Inventory) -> None:
        """The GPUs of a new inventory."""
        self._gpus.clear()
        for accelerator, (total, ready) in inventory.gpus.items():
            self._gpus.labels(accelerator, "ready").set(ready)
            self._gpus.labels(accelerator, "unavailable").set(total - ready)
        self._set_aside.set(len(inventory.set_aside))

    def reconciled(self, outcome: str, seconds: float) -> None:
        """One LLMDeployment was worked on. outcome: written, unchanged, skipped, conflict ..."""
        self._reconcile.labels(outcome).observe(seconds)


class AuditMetrics:
    """What the last audit of other people's kinds found."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """registry: where the metrics are kept."""

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"plimsoll_audit_{name}", text, labels, registry=registry)

        self._engines = gauge(
            "engines",
            "Engines of other kinds than LLMDeployment, by what was found: misfit, doubted, "
            "unread, fits.",
            ("found",),
        )
        self._gpus = gauge("gpus", "GPUs of these engines.")
        self._idle = gauge("idle_gpus", "GPUs of them that no rank of an engine uses.")
        self._to_win = gauge("gpus_to_win", "GPUs that could come back: fewer or smaller would do.")
        self._memory = gauge("memory_to_win_bytes", "GPU memory that could come back.")
        self._seconds = gauge("seconds", "Seconds that the last audit took.")
        self._last = gauge("last_timestamp_seconds", "When the last audit ended.")
        self._written = Counter(
            "plimsoll_audit_reports_written",
            "Reports that were written because they said something else than before.",
            registry=registry,
        )

    def audited(self, found: Sequence[Totals], written: int, seconds: float) -> None:
        """An audit ended. found: the sums of each object; written: reports."""
        engines = sum(one.engines for one in found)
        counts = {
            "misfit": sum(one.misfits for one in found),
            "doubted": sum(one.doubted for one in found),
            "unread": sum(one.unread for one in found),
        }
        for name, count in (counts | {"fits": engines - sum(counts.values())}).items():
            self._engines.labels(name).set(count)
        self._gpus.set(sum(one.gpus for one in found))
        self._idle.set(sum(one.idle_gpus for one in found))
        self._to_win.set(sum(one.gpus_to_win for one in found))
        self._memory.set(sum(one.memory_to_win for one in found))
        self._seconds.set(seconds)
        self._last.set_to_current_time()
        self._written.inc(written)
