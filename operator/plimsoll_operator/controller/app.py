"""The controller as a whole: what runs, in which order it starts, and what keeps it running.

It must not hold logic of its own. kopf keeps the watches; whenever it gives up (an error event in
a stream, a CRD that went away), it is started again, for the rest of the process lives on.

    a standby   lists and watches, so that it knows everything when its turn comes; writes nothing
    the leader  also decides and writes, and keeps admission's certificates if it is asked to
    the Lease is lost -> every write is refused from that moment on, and the process ends: nothing
                         that was decided under the old term outlives it
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from plimsoll.api_group import GROUP
from plimsoll.decision.knowledge import shipped
from plimsoll.errors import PlimsollError
from plimsoll.workloads.resolved import config_map_name
from plimsoll_operator.cluster.client import (
    UNREACHABLE,
    ApiError,
    Client,
    NotFound,
    connect,
    in_words,
)
from plimsoll_operator.cluster.known import ClusterKnowledge
from plimsoll_operator.cluster.objects import LLM_DEPLOYMENTS
from plimsoll_operator.cluster.own import config_map_named
from plimsoll_operator.cluster.reflector import backoff
from plimsoll_operator.controller.applying import Workloads, modes_of
from plimsoll_operator.controller.audit import Auditor
from plimsoll_operator.controller.cache import ObjectCache
from plimsoll_operator.controller.dry_starts import DryStarts
from plimsoll_operator.controller.election import LostLease, election_for, own_namespace
from plimsoll_operator.controller.flavor_check import FlavorCheck
from plimsoll_operator.controller.plan import Event
from plimsoll_operator.controller.policies import Count, PolicyStatuses
from plimsoll_operator.controller.queue import KeyedQueue
from plimsoll_operator.controller.reconcile import Reconciler
from plimsoll_operator.controller.resync import Resync
from plimsoll_operator.controller.snapshot import Identity
from plimsoll_operator.controller.task import TASK, Job, Planned
from plimsoll_operator.controller.together import Together
from plimsoll_operator.controller.watches import Watches, quieten_kopf
from plimsoll_operator.deciding.pool import PoolSettings, WorkerPool
from plimsoll_operator.health import HealthServer
from plimsoll_operator.metrics import AuditMetrics, ControllerMetrics, new_registry, not_decided

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.page.objects import Row
    from plimsoll_operator.certificates.keeper import Keeper, Report
    from plimsoll_operator.cluster.objects import Json, Name
    from plimsoll_operator.controller.audit_task import AuditJob, AuditResult
    from plimsoll_operator.controller.flavor_task import FlavorJob, Standing
    from plimsoll_operator.controller.page import PageServer
    from plimsoll_operator.controller.page_task import PageJob
    from plimsoll_operator.deciding.beside import Missed
    from plimsoll_operator.resolving.resolver import Resolver
    from plimsoll_operator.settings import Settings

log = logging.getLogger(__name__)

SILENCE: Final = 120.0
"""Seconds without a word from the API server after which the controller is not ready."""


class _Stopped(Exception):
    """Somebody asked for the end."""


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stopped


class Controller:
    """Everything that belongs to one running controller."""

    def __init__(self, client: Client, settings: Settings) -> None:
        """Raises `PlimsollError` if settings contradict each other."""
        self._election = election_for(settings, client) if settings.leader_elect else None
        if self._election is not None:
            client = client.guarded(self._why_not_write)
        self._client, self._settings = client, settings
        self.registry = new_registry()
        self._keeper = _keeper(client, settings, self.registry, self._report)
        Gauge(
            "plimsoll_leader",
            "1 where this controller may write, 0 where it stands by.",
            registry=self.registry,
        ).set_function(lambda: float(not self._why_not_write()))
        self.queue: KeyedQueue[Name] = KeyedQueue()
        metrics = ControllerMetrics(self.registry)
        self.known = ClusterKnowledge(
            client,
            on_nodes=lambda: self.resync.nodes_changed(),
            on_namespace=lambda namespace: self.resync.namespace_changed(namespace),
            on_document=lambda name: self.resync.document_changed(name),
            only_referred=True,
            own=config_map_named(settings.accelerators),
            calibration=config_map_named(settings.calibration, "--calibration"),
            on_free=lambda: self.resync.free_changed(),
            resolved_in=settings.resolved_namespace,
            on_policies=lambda: self.resync.policies_changed(),
            with_topologies=settings.kueue_check,
        )
        self.cache = ObjectCache(self.known.documents, self.known.claim)
        self.pool = WorkerPool(
            TASK,
            PoolSettings(
                size=settings.controller_deciders,
                budget=settings.decision_seconds,
                aside_waits=False,  # it would keep those from working who work for all
                lends=True,
            ),
            observe=not_decided(self.registry),
        )
        self.workloads = Workloads(client, self.queue.add, modes_of(settings))
        self.dry_starts = DryStarts(
            client,
            self.queue.add,
            enabled=settings.dry_starts,
            at_once=settings.dry_starts_at_once,
            seconds=settings.dry_start_seconds,
        )
        self._auditor: Auditor | None = None
        self._resolver = _resolver(client, settings, self.registry, self._is_wanted)
        together = Together()
        self.reconciler = Reconciler(
            client,
            self.cache,
            self.known,
            self.queue,
            metrics,
            self._decide,
            self.workloads,
            self._resolver.want if self._resolver is not None else _ignored,
            together,
            self.dry_starts,
        )
        self.resync = Resync(
            client,
            settings,
            self.cache,
            self.known,
            self.queue,
            self.reconciler,
            metrics,
            together,
        )
        if settings.audit_seconds:
            self._auditor = Auditor(
                client,
                lambda: self.known.nodes.inventory,
                self._audit,
                AuditMetrics(self.registry),
                settings.audit_seconds,
                self.known,
                resolved_in=settings.resolved_namespace,
                want=self._resolver.want if self._resolver is not None else _ignored,
            )
        self.statuses = PolicyStatuses(
            client, self.known, self.cache, lambda: self.queue.idle, self._audited
        )
        self._flavors = None
        if settings.kueue_check:
            self._flavors = FlavorCheck(client, lambda: self.known.nodes.inventory, self._judge)
        self.page = self._page() if settings.page else None
        metrics.watch(self._depth, lambda: self.resync.age, lambda: len(self.cache))
        self._watching = threading.Event()

    def _is_wanted(self, model: str) -> bool:
        """Whether an LLMDeployment, or an object that was audited, names a model."""
        document = (self._settings.resolved_namespace, config_map_name(model))
        audited = self._auditor is not None and self._auditor.names(model)
        return audited or bool(self.cache.referrers(document))

    def ready(self) -> str:
        """What keeps it from being ready, or nothing."""
        if not self.pool.working:
            return "there is no process to decide in"
        if not self.resync.first.is_set():
            return "nothing has been listed yet"
        if not self._watching.is_set():
            return "the watches are not running"
        if self.resync.age > SILENCE:
            return f"the API server has not been heard of for {self.resync.age:.0f} s"
        return ""

    def alive(self) -> str:
        """What only a restart would cure, or nothing."""
        listed = self.resync.overdue
        if self.resync.age < SILENCE and listed > 3 * self._settings.resync_seconds + SILENCE:
            return f"the API server answers, yet nothing has been listed for {listed:.0f} s"
        return ""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop. Raises `LostLease`, and what no part of it expected."""
        lost: list[BaseException] = []
        await self.pool.start()
        try:
            if self.page is not None:
                await self.page.start(self._settings.page_port)
            async with asyncio.TaskGroup() as group:
                for part in (
                    self.known.run(),
                    self.workloads.watch(),
                    self.resync.beat_forever(),
                    self.resync.settle_forever(),
                    self.resync.settle_free_forever(),
                    self._list(group),
                    self._lead(group),
                    self._watch(),
                    _until(stop),
                ):
                    group.create_task(part)
        except* _Stopped:
            log.info("stopped")
        except* LostLease as group_of_one:
            lost.extend(group_of_one.exceptions)
        finally:
            # nothing of ours writes any more: the next one may begin
            if self._election is not None:
                await self._election.release()
            if self.page is not None:
                await self.page.stop()
            await self.pool.stop()
        if lost:
            raise lost[0]

    async def _decide(self, inventory: Inventory, job: Job, namespace: str) -> Planned:
        self.pool.share(inventory)
        planned: Planned = await self.pool.run(job, key=namespace)
        return planned

    async def _audit(
        self, inventory: Inventory, job: AuditJob, namespace: str
    ) -> AuditResult | Missed:
        self.pool.share(inventory)
        found: AuditResult | Missed = await self.pool.run(job, key=namespace)
        return found

    async def _judge(
        self, inventory: Inventory, job: FlavorJob, namespace: str
    ) -> dict[str, Standing]:
        self.pool.share(inventory)
        found: dict[str, Standing] = await self.pool.run(job, key=namespace)
        return found

    def _page(self) -> PageServer:
        from plimsoll_operator.controller.page import PageMaker, PageServer

        async def shown(
            inventory: Inventory, job: PageJob, namespace: str
        ) -> tuple[Row, ...] | Missed:
            self.pool.share(inventory)
            found: tuple[Row, ...] | Missed = await self.pool.run(job, key=namespace)
            return found

        maker = PageMaker(
            self._client,
            self.cache,
            self.known,
            shown,
            others=bool(self._settings.audit_seconds),
            resolved_in=self._settings.resolved_namespace,
        )
        return PageServer(maker.make, self._settings.page_seconds)

    def _audited(self) -> list[Count] | None:
        """What the last audit found; nothing where there is none."""
        return self._auditor.counts if self._auditor is not None else []

    def _depth(self) -> int:
        """Names that wait for a worker: a standby's wait for none."""
        return 0 if self._why_not_write() else self.queue.depth

    def _why_not_write(self) -> str:
        if self._election is None:
            return ""
        return self._election.why_not_leading

    async def _report(self, secret: Json, reason: str, message: str) -> None:
        """Tell of a Secret of the certificates in an Event on it."""
        metadata = secret.get("metadata") or {}
        identity = Identity(
            namespace=metadata.get("namespace", ""),
            name=metadata.get("name", ""),
            uid=metadata.get("uid", ""),
            version=metadata.get("resourceVersion", ""),
            generation=0,
            api_version="v1",
            kind="Secret",
            previous={},
        )
        await self.reconciler.events.post(identity, Event("Warning", reason, message))

    async def _list(self, group: asyncio.TaskGroup) -> None:
        await self._wait_for_kind()
        group.create_task(self.resync.list_forever())

    async def _lead(self, group: asyncio.TaskGroup) -> None:
        """Wait for the turn of this process, then work for as long as it lasts."""
        if self._election is not None:
            await self._election.acquire()
            group.create_task(self._election.hold())
        if self._keeper is not None:
            group.create_task(self._keeper.run())
        if self._resolver is not None:
            group.create_task(self._resolver.run())
        group.create_task(self.reconciler.events.post_forever())
        await self.resync.first.wait()  # a cluster that is half known misleads
        for _ in range(self._settings.workers):
            group.create_task(self.reconciler.work())
        if self.dry_starts.enabled:
            group.create_task(self.dry_starts.run_forever())
        group.create_task(self.statuses.run_forever())
        if self._auditor is not None:
            group.create_task(self._auditor.run_forever())
        if self._flavors is not None:
            group.create_task(self._flavors.run())

    async def _wait_for_kind(self) -> None:
        """Wait until the API server knows LLMDeployments, saying so now and then."""
        failures = 0
        while True:
            try:
                await self._client.request("GET", LLM_DEPLOYMENTS.path(), query={"limit": 1})
            except NotFound:
                wrong = f"{LLM_DEPLOYMENTS.plural}.{GROUP} is not there: apply the CRD"
            except (ApiError, *UNREACHABLE) as error:
                wrong = in_words(error)
            else:
                return
            if failures % 10 == 0:
                log.warning("waiting: %s", wrong)
            failures += 1
            await asyncio.sleep(backoff(min(failures, 4)))

    async def _watch(self) -> None:
        """Keep kopf running: it ends if a stream ends in an error, or the CRD goes away."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            await self._wait_for_kind()
            started = loop.time()
            ended: object = "no reason given"
            watches = Watches(self._client, LLM_DEPLOYMENTS, self.resync.take, self._watching)
            try:
                await watches.run()
            except Exception as error:
                ended = in_words(error)
            finally:
                watches.stop()
            failures = 1 if loop.time() - started > 60 else failures + 1
            log.warning("the watches ended and start again: %s", ended)
            await asyncio.sleep(backoff(failures))
            self.resync.soon()


def _keeper(
    client: Client, settings: Settings, registry: CollectorRegistry, report: Report
) -> Keeper | None:
    """What keeps admission's certificates, if the settings ask for it."""
    if not settings.webhook_secret:
        return None
    from plimsoll_operator.certificates.keeper import CertificateMetrics, Keeper, what_is_asked

    target, wish = what_is_asked(settings, own_namespace(settings.lease_namespace))
    return Keeper(
        client,
        target,
        wish,
        check_seconds=settings.certificate_check_seconds,
        metrics=CertificateMetrics(registry),
        report=report,
    )


def _ignored(model: str) -> None:
    """Nobody resolves models here."""


def _resolver(
    client: Client,
    settings: Settings,
    registry: CollectorRegistry,
    still_wanted: Callable[[str], bool],
) -> Resolver | None:
    """What resolves models, if the settings ask for it. Raises `PlimsollError` if they are half."""
    if not settings.resolve_models:
        return None
    if not settings.resolved_namespace:
        raise PlimsollError("--resolve-models needs --resolved-namespace, to write profiles into")
    from plimsoll_operator.resolving.resolver import Resolver

    return Resolver(
        client,
        settings.resolved_namespace,
        registry,
        still_wanted=still_wanted,
        seconds=settings.resolve_seconds,
    )


async def run_controller(
    settings: Settings,
    stop: asyncio.Event,
    started: Callable[[int], None] = lambda port: None,
) -> None:
    """Run the controller until told to stop. started: given the port of metrics and probes.

    Raises `NoCluster`, `LostLease`, `PlimsollError` if settings contradict each other, or
    OSError if the port is taken.
    """
    quieten_kopf()
    shipped()  # what is wrong with the installation shows now, not on the first object
    async with connect(settings.kubeconfig, settings.context) as client:
        controller = Controller(client, settings)
        health = HealthServer(controller.registry, alive=controller.alive, ready=controller.ready)
        await health.start(settings.metrics_host, settings.metrics_port)
        started(health.port)
        try:
            await controller.run(stop)
        finally:
            await health.stop()
