"""The audit of what runs: every so often, all objects that start an LLM where somebody wants that.

It keeps no object: each is read in a page of a list, decided apart, and reported.

    objects        those of `plimsoll_operator.controller.others`
    reports        Report of openreports.io, else PolicyReport of wgpolicyk8s.io, else none: one
                   for each object, owned by it, so that it goes when the object goes; written only
                   if it says something else than before
    removed        reports of objects that are not audited any more, after a round without a fault
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import GROUP
from plimsoll.report.openreports import SOURCE, not_decided, summary_of
from plimsoll_operator.cluster.client import (
    UNREACHABLE,
    ApiError,
    NotFound,
    OncePerCause,
)
from plimsoll_operator.cluster.objects import Json, name_of
from plimsoll_operator.cluster.served import OPEN_REPORTS, reports
from plimsoll_operator.controller.audit_task import AuditJob, AuditResult
from plimsoll_operator.controller.others import Others
from plimsoll_operator.controller.policies import Count
from plimsoll_operator.deciding.beside import in_rounds
from plimsoll_operator.deciding.errors import NotDecided, TaskFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from plimsoll.decision.policy import Policy
    from plimsoll.inventory.pools import Inventory
    from plimsoll.report.audit import Totals
    from plimsoll_operator.cluster.client import Client
    from plimsoll_operator.cluster.objects import Name, Resource
    from plimsoll_operator.controller.others import OthersPolicies
    from plimsoll_operator.deciding.beside import Found, Missed
    from plimsoll_operator.metrics import AuditMetrics

    Decide = Callable[[Inventory, AuditJob, str], Awaitable[AuditResult | Missed]]
    """From what is known of the nodes, a job and its namespace to what was found."""

log = logging.getLogger(__name__)

MANAGER: Final = "plimsoll-audit"
"""Field manager of reports, and their label app.kubernetes.io/managed-by."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
DIGEST: Final = f"{GROUP}/digest"
"""Annotation of a report: what it says, in short, so that it is only written if that changes."""


def _nobody(model: str) -> None:
    """Nobody resolves models here."""


class Auditor:
    """Audits what runs. Run `run_forever` as a task of whoever may write."""

    def __init__(
        self,
        client: Client,
        inventory: Callable[[], Inventory],
        decide: Decide,
        metrics: AuditMetrics,
        seconds: float,
        policies: OthersPolicies,
        *,
        resolved_in: str = "",
        want: Callable[[str], None] = _nobody,
    ) -> None:
        """seconds: from the end of one round to the next. resolved_in: the namespace with profiles
        of resolved models, empty if there is none. want: told the id of each model that nobody has
        resolved."""
        self._policies = policies
        self.counts: list[Count] | None = None
        self._client, self._inventory = client, inventory
        self._decide, self._metrics, self._seconds = decide, metrics, seconds
        self._resolved_in, self._want = resolved_in, want
        self._models: frozenset[str] = frozenset()
        self._news = OncePerCause().news

    def names(self, model: str) -> bool:
        """Whether an object of the last round names a model that nobody had resolved."""
        return model.lower() in self._models

    async def run_forever(self) -> None:
        """Audit every so often, until cancelled. What fails is tried again in the next round."""
        while True:
            started = time.monotonic()
            try:
                done = await _Round(
                    self._client,
                    self._inventory(),
                    self._decide,
                    self._policies,
                    self._resolved_in,
                ).run()
            except (ApiError, *UNREACHABLE, ValueError) as error:
                if said := self._news(error):
                    log.warning("not audited: %s", said)
            else:
                self._models = frozenset(model.lower() for model in done.unresolved)
                for model in done.unresolved:
                    self._want(model)
                self.counts = done.counts
                self._metrics.audited(done.totals, done.written, time.monotonic() - started)
                log.info(
                    "audited %d engines in %.1f s: %d reports, %d of them written",
                    sum(one.engines for one in done.totals),
                    time.monotonic() - started,
                    len(done.seen),
                    done.written,
                )
            await asyncio.sleep(self._seconds)


class _Round:
    """One round over everything. faults: how often something could not be listed or written."""

    def __init__(
        self,
        client: Client,
        inventory: Inventory,
        decide: Decide,
        policies: OthersPolicies,
        resolved_in: str,
    ) -> None:
        self._client, self._inventory, self._decide = client, inventory, decide
        self._others = Others(client, policies, resolved_in)
        self._objects, self._refused = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        self._reports: Resource | None = None
        self._before: dict[Name, str] = {}
        self.seen: set[Name] = set()
        self.totals: list[Totals] = []
        self.written = self.faults = 0
        self._news = OncePerCause().news

    async def run(self) -> _Round:
        """Audit everything once. Raises `ApiError`, or one of `UNREACHABLE`."""
        self._reports = await reports(self._client)
        if self._reports is not None:
            await self._list_reports(self._reports)
        async for other in self._others.each():
            await self._object(*other)
        self.faults += len(self._others.unlisted)
        if self._reports is not None and not self.faults:
            for gone in self._before.keys() - self.seen:
                await self._client.delete(self._reports, gone[1], namespace=gone[0])
        return self

    @property
    def unresolved(self) -> set[str]:
        """Models that objects name and nobody has resolved."""
        return self._others.unresolved

    @property
    def counts(self) -> list[Count]:
        """The objects that serve an LLM, by namespace and kind."""
        return [Count(*key, objects, self._refused[key]) for key, objects in self._objects.items()]

    async def _list_reports(self, resource: Resource) -> None:
        """What each report of ours says, in short."""
        selector = f"{MANAGED_BY}={MANAGER}"
        async for page in self._client.pages(resource, label_selector=selector):
            for report in page.items:
                annotations = (report.get("metadata") or {}).get("annotations") or {}
                self._before[name_of(report)] = str(annotations.get(DIGEST, ""))

    async def _object(self, namespace: str, obj: Json, policy: Policy) -> None:
        try:
            found = await self._audited(namespace, obj, policy)
            if not found.serves:
                return
            results = found.results
            self.totals.append(found.totals)
            self._objects[namespace, str(obj["kind"])] += 1
            self._refused[namespace, str(obj["kind"])] += found.totals.misfits > 0
        except NotDecided as error:
            results = not_decided(str(error))
        except TaskFault as fault:
            self.faults += 1
            log.error("%s is not audited, after a fault of ours: %s", "/".join(name_of(obj)), fault)
            results = not_decided(f"a fault of Plimsoll ({fault.kind})")
        if self._reports is not None:
            await self._report(self._reports, obj, results)

    async def _audited(self, namespace: str, obj: Json, policy: Policy) -> AuditResult:
        """What is found of an object, with what it refers to, if that is there."""

        async def ask(found: Found, last: bool) -> AuditResult | Missed:
            job = AuditJob(obj, policy, found, last)
            return await self._decide(self._inventory, job, namespace)

        return await in_rounds(ask, self._others.beside)

    async def _report(self, resource: Resource, obj: Json, results: list[dict[str, Any]]) -> None:
        """Write what is said of an object, if it is something else than before."""
        report = report_of(resource, obj, results)
        name = name_of(report)
        self.seen.add(name)
        if self._before.get(name) == report["metadata"]["annotations"][DIGEST]:
            return
        seconds = {"seconds": int(datetime.now(UTC).timestamp()), "nanos": 0}
        for result in results:
            result["timestamp"] = seconds
        try:
            await self._client.apply(resource, report, manager=MANAGER)
            self.written += 1
        except NotFound:
            log.info("%s went before its report was written", "/".join(name_of(obj)))
        except ApiError as error:
            self.faults += 1
            if said := self._news(error):
                log.warning("report %s is not written: %s", "/".join(name), said)


def report_of(resource: Resource, obj: Json, results: list[dict[str, Any]]) -> Json:
    """The report on an object. Its name does not depend on what it says."""
    metadata = obj["metadata"]
    about = {key: obj[key] for key in ("apiVersion", "kind")}
    about |= {key: metadata[key] for key in ("name", "uid")}
    said: Json = {"results": results, "summary": summary_of(results)}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
    named = hashlib.sha256(f"{obj['kind']}/{metadata['name']}".encode()).hexdigest()[:10]
    kind = "Report" if resource == OPEN_REPORTS else "PolicyReport"
    return {
        "apiVersion": f"{resource.group}/{resource.version}",
        "kind": kind,
        "metadata": {
            "name": f"plimsoll-{str(obj['kind']).lower()[:40]}-{named}",
            "namespace": metadata["namespace"],
            "labels": {MANAGED_BY: MANAGER},
            "annotations": {DIGEST: digest},
            "ownerReferences": [about],
        },
        **({"source": SOURCE} if resource == OPEN_REPORTS else {}),
        "scope": {**about, "namespace": metadata["namespace"]},
        **said,
    }
