"""The admission process: its parts put together, started, drained and stopped.

It must not judge, and it imports no kopf.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from plimsoll.errors import PlimsollError, shown
from plimsoll_operator.admission.judge import Decide, Judge, MayOverride
from plimsoll_operator.admission.review import NotAReview
from plimsoll_operator.admission.server import SMALL_BODY, AdmissionServer, Limits, Read
from plimsoll_operator.admission.task import TASK
from plimsoll_operator.admission.tls import ServingCertificate
from plimsoll_operator.cluster.client import UNREACHABLE, ApiError, Client, connect
from plimsoll_operator.cluster.known import ClusterKnowledge
from plimsoll_operator.cluster.objects import LLM_DEPLOYMENTS
from plimsoll_operator.cluster.own import config_map_named
from plimsoll_operator.deciding.pool import PoolSettings, WorkerPool
from plimsoll_operator.health import HealthServer
from plimsoll_operator.memory import settle
from plimsoll_operator.metrics import new_registry, not_decided

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Inventory
    from plimsoll_operator.admission.review import Review
    from plimsoll_operator.admission.task import Decided, Question, Untouched
    from plimsoll_operator.deciding.beside import Missed
    from plimsoll_operator.settings import Settings

log = logging.getLogger(__name__)

ASKING: Final = 2.5
"""Seconds that the API server may take to say whether a user may override."""
SILENT: Final = 330.0
"""Seconds without a word from a watch after which the process is not alive: one watch's length
and its retries."""


class AdmissionMetrics:
    """What admission tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """registry: where the metrics are kept."""
        self._seconds = Histogram(
            "plimsoll_admission_seconds",
            "Seconds from a review's headers to its answer.",
            ["result"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self._reviews = Counter(
            "plimsoll_admission",
            "Reviews judged, by what was done and why.",
            ["result", "reason"],
            registry=registry,
        )
        self._certificate = Gauge(
            "plimsoll_admission_certificate_loaded",
            "1 where the newest serving certificate is in use, 0 where it could not be loaded.",
            registry=registry,
        )
        self._certificate.set(1)
        self._expires = Gauge(
            "plimsoll_admission_certificate_expiry_timestamp_seconds",
            "When the serving certificate in use runs out, as a Unix time.",
            registry=registry,
        )

    def answered(self, result: str, seconds: float) -> None:
        """A request was answered."""
        self._seconds.labels(result).observe(seconds)

    def judged(self, result: str, reason: str) -> None:
        """A review was judged."""
        self._reviews.labels(result, reason).inc()

    def watch(self, certificate: ServingCertificate) -> None:
        """Read when the certificate in use runs out whenever asked for it."""
        self._expires.set_function(lambda: certificate.expires)

    def certificate(self, ok: bool) -> None:
        """A changed certificate was tried."""
        self._certificate.set(int(ok))


def overrides(client: Client) -> MayOverride:
    """A function that asks the API server whether a review's user may override, every time."""

    async def may_override(review: Review) -> bool:
        try:
            async with asyncio.timeout(ASKING):
                return await client.subject_access_review(
                    user=review.user,
                    groups=review.groups,
                    verb="override",
                    resource=LLM_DEPLOYMENTS,
                    namespace=review.namespace,
                    name=review.name,
                    extra=review.extra,
                    uid=review.user_uid,
                )
        except (ApiError, *UNREACHABLE) as error:
            log.warning("whether %s may override could not be asked: %s", shown(review.user), error)
            return False

    return may_override


def deciding(pool: WorkerPool) -> Decide:
    """A function that has a pool decide. Raises `NotDecided`."""

    async def decide(
        inventory: Inventory, question: Question, namespace: str
    ) -> Decided | Untouched | Missed:
        pool.share(inventory)
        slow = len(question.body) > SMALL_BODY
        decided: Decided | Untouched | Missed = await pool.run(question, key=namespace, slow=slow)
        return decided

    return decide


def reading(pool: WorkerPool) -> Read:
    """A function that has a pool read a body. Raises `NotAReview` and `NotDecided`."""

    async def read(body: bytes) -> Review:
        result: Review | NotAReview = await pool.run(body, slow=True)
        if isinstance(result, NotAReview):
            raise result
        return replace(result, body=body)

    return read


async def run_admission(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until told to stop, then drain.

    Raises `PlimsollError` or OSError if it cannot start.
    """
    registry = new_registry()
    metrics = AdmissionMetrics(registry)
    try:
        certificate = ServingCertificate(
            Path(settings.tls_cert),
            Path(settings.tls_key),
            metrics.certificate,
            clients=Path(settings.client_ca_file) if settings.client_ca_file else None,
        )
    except OSError as error:
        paths = (settings.tls_cert, settings.tls_key, settings.client_ca_file)
        files = ", ".join(filter(None, paths))
        raise PlimsollError(
            f"the serving certificate cannot be loaded from {files}: {error}; give --tls-cert, "
            "--tls-key and, if there is one, --client-ca-file"
        ) from error
    metrics.watch(certificate)
    async with connect(settings.kubeconfig, settings.context) as client:
        knowledge = ClusterKnowledge(
            client,
            own=config_map_named(settings.accelerators),
            calibration=config_map_named(settings.calibration, "--calibration"),
            resolved_in=settings.resolved_namespace,
            referred_to=True,
        )
        pool = WorkerPool(
            TASK,
            PoolSettings(size=settings.admission_deciders, budget=settings.decision_seconds),
            observe=not_decided(registry),
        )
        server = AdmissionServer(
            Judge(knowledge, overrides(client), deciding(pool), metrics.judged),
            read_large=reading(pool),
            limits=Limits(
                connections=settings.admission_connections,
                hurry=settings.admission_hurry_seconds,
                in_flight=settings.admission_in_flight,
                max_waiting=settings.admission_max_waiting,
                body_timeout=settings.admission_body_seconds,
                drain=settings.admission_drain_seconds,
            ),
            observe=metrics.answered,
        )

        def alive() -> str:
            age = max(reflector.age for reflector in knowledge.reflectors)
            return f"nothing heard of the API server for {age:.0f} s" if age > SILENT else ""

        def ready() -> str:
            if server.draining:
                return "draining"
            if not pool.working:
                return "there is no process to decide in"
            return "" if knowledge.synced and server.port else "the caches are not filled yet"

        health = HealthServer(registry, alive=alive, ready=ready)
        await health.start(settings.metrics_host, settings.metrics_port)
        tasks = [
            asyncio.create_task(knowledge.run()),
            asyncio.create_task(certificate.watch(settings.tls_reload_seconds)),
        ]
        try:
            await pool.start()
            await _first_lists(knowledge, stop)
            await server.start(
                settings.admission_host, settings.admission_port, certificate.context
            )
            log.info("admission on port %d", server.port)
            settle()
            await _until(stop, tasks)
            await server.stop()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await pool.stop()
            await health.stop()


async def _first_lists(knowledge: ClusterKnowledge, stop: asyncio.Event) -> None:
    """Wait until the caches are filled, so that the first review is judged on all of it."""
    waiting = asyncio.gather(*(r.synced.wait() for r in knowledge.reflectors))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (waiting, stopping):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait to be told to stop; raises what a task raised, if one ended."""
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait((stopping, *tasks), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in done - {stopping}:
        task.result()
