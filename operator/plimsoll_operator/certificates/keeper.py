"""Looks at Secrets and webhook configurations, and does the next step, for as long as it leads.

It must not decide what the next step is (`plan` does), and writes nothing but its two Secrets and
the caBundle of the configurations, each only as it was when it was looked at.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter, Gauge

from plimsoll.errors import PlimsollError
from plimsoll_operator.certificates.authority import (
    bundle,
    general_name,
    make_authority,
    make_serving,
    read_pair,
    read_roots,
)
from plimsoll_operator.certificates.plan import (
    AUTHORITY,
    LABEL,
    SERVING,
    CertificateState,
    Issue,
    MakeAuthority,
    Publish,
    Refuse,
    Step,
    Tell,
    Trust,
    Wait,
    Wish,
    contents,
    pair_in,
    plan,
    published,
)
from plimsoll_operator.cluster.client import (
    UNREACHABLE,
    ApiError,
    Client,
    Conflict,
    NotFound,
    OncePerCause,
    in_words,
)
from plimsoll_operator.cluster.objects import SECRETS, VALIDATING_WEBHOOKS, Json, Resource
from plimsoll_operator.cluster.reflector import backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from prometheus_client import CollectorRegistry

    from plimsoll_operator.settings import Settings

    Report = Callable[[Json, str, str], Awaitable[None]]
    """Told of a Secret, a reason and a message."""

log = logging.getLogger(__name__)

MOST_STEPS: Final = 10
"""Steps at one go; a rotation takes five. More means that somebody works against us."""
SOONEST: Final = 0.05
"""Seconds between two goes, at the least."""
MANAGER: Final = "plimsoll-controller"
"""Field manager of the caBundle."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which objects. secret, namespace: of the serving certificate."""

    secret: str
    namespace: str
    configurations: tuple[str, ...]

    @property
    def authority(self) -> str:
        """Name of the Secret that holds the authority, which admission never sees."""
        return f"{self.secret}-ca"


def what_is_asked(settings: Settings, namespace: str) -> tuple[Target, Wish]:
    """What to keep, and how, if `Settings.webhook_secret` asks for it.

    namespace: if nothing else is said. Raises `PlimsollError` with all that is wrong.
    """
    wrong = []
    namespace = settings.webhook_namespace or namespace
    names = []
    if settings.webhook_service:
        service = f"{settings.webhook_service}.{namespace}.svc"
        names += [service, f"{service}.cluster.local"]
    for given in filter(None, (n.strip() for n in settings.webhook_dns_names.split(","))):
        names.append(_without_port(given))
    for name in names:
        try:
            general_name(name)
        except ValueError as error:
            wrong.append(f"--webhook-dns-names: {error}")
    if not names:
        wrong.append("--webhook-service or --webhook-dns-names: is not given; whom to certify?")
    configurations = tuple(filter(None, map(str.strip, settings.webhook_configuration.split(","))))
    if not configurations:
        wrong.append("--webhook-configuration: is not given; who is to trust the certificate?")
    serving, authority, propagation = (
        settings.certificate_seconds,
        settings.authority_seconds,
        settings.certificate_propagation_seconds,
    )
    if serving < 6 * propagation or propagation < 0:
        wrong.append(
            f"--certificate-seconds: {serving:g} is too short for a rotation: give at least six "
            f"times --certificate-propagation-seconds, which is {propagation:g}"
        )
    if authority < serving:
        wrong.append(
            f"--authority-seconds: {authority:g} is less than --certificate-seconds, {serving:g}"
        )
    if wrong:
        raise PlimsollError("\n".join(["--webhook-secret asks for certificates, but", *wrong]))
    lives = (timedelta(seconds=s) for s in (serving, authority, propagation))
    target = Target(settings.webhook_secret, namespace, configurations)
    return target, Wish(tuple(dict.fromkeys(names)), *lives)


def _without_port(name: str) -> str:
    """host:port and [address]:port without port; an IPv6 address as it is."""
    if name.startswith("["):
        return name[1:].partition("]")[0]
    host, _, port = name.rpartition(":")
    return host if port.isdigit() and ":" not in host and host else name


class CertificateMetrics:
    """What the keeper tells of its work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """registry: where the metrics are kept."""
        self._expires = Gauge(
            "plimsoll_certificate_expiry_timestamp_seconds",
            "When the certificate in the Secret runs out, as a Unix time. certificate: serving, "
            "or authority.",
            ["certificate"],
            registry=registry,
        )
        self._steps = Counter(
            "plimsoll_certificate_steps",
            "What was done to keep admission's certificate valid and trusted.",
            ["step"],
            registry=registry,
        )

    def seen(self, state: CertificateState) -> None:
        """What is there now."""
        for kind, secret in ((SERVING, state.serving), (AUTHORITY, state.authority)):
            certificate = read_pair(pair_in(secret))
            if certificate is not None:
                expires = certificate.not_valid_after_utc.timestamp()
                self._expires.labels(kind).set(expires)

    def did(self, step: Step) -> None:
        """A step was done."""
        self._steps.labels(type(step).__name__).inc()


class _Since:
    """Since when something has been as it is, as far as it was looked at."""

    def __init__(self) -> None:
        self._is: Hashable = None
        self._at: datetime | None = None

    def see(self, what: Hashable, now: datetime) -> datetime | None:
        """It is so now. Since when; None if it is nothing."""
        if what != self._is:
            self._is, self._at = what, now
        return self._at if what else None


class Keeper:
    """Keeps one serving certificate valid and trusted. Run `run` as a task, while leading."""

    def __init__(
        self,
        client: Client,
        target: Target,
        wish: Wish,
        *,
        check_seconds: float,
        metrics: CertificateMetrics,
        report: Report,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """report: tells somebody about a Secret: the Secret, a reason, a sentence."""
        self._client, self._target, self._wish = client, target, wish
        self._check, self._metrics, self._report = check_seconds, metrics, report
        self._clock = clock
        self._published, self._served = _Since(), _Since()
        self._changed = asyncio.Event()
        self._said = ""
        self._news = OncePerCause().news

    async def run(self) -> None:
        """Look, do what is to be done, and wait for a change, until cancelled."""
        target = self._target
        async with asyncio.TaskGroup() as group:
            for resource, namespace, name in (
                (SECRETS, target.namespace, target.secret),
                (SECRETS, target.namespace, target.authority),
                *((VALIDATING_WEBHOOKS, "", name) for name in target.configurations),
            ):
                group.create_task(self._watch(resource, namespace, name))
            await self._keep()

    async def _keep(self) -> None:
        failures = 0
        while True:
            self._changed.clear()
            try:
                seconds = await self.go()
                failures = 0
            except (ApiError, *UNREACHABLE) as error:
                failures += 1
                seconds = backoff(failures)
                if said := self._news(error):
                    log.warning("certificates: again in %.1f s: %s", seconds, said)
            except Exception:
                failures += 1
                seconds = backoff(failures)
                log.exception("certificates: again in %.1f s, after a fault of ours", seconds)
            await asyncio.sleep(SOONEST)
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _watch(self, resource: Resource, namespace: str, name: str) -> None:
        """Note every change of an object; if it may not be watched, looks must do."""
        failures = 0
        while True:
            try:
                async for kind, _ in self._client.watch(
                    resource, "", namespace=namespace, name=name
                ):
                    failures = 0
                    if kind != "BOOKMARK":
                        self._changed.set()
            except (ApiError, *UNREACHABLE, ValueError) as error:
                failures += 1
                if failures == 1:
                    said = in_words(error)
                    log.info("%s %s is not watched now: %s", resource.plural, name, said)
            await asyncio.sleep(backoff(failures + 1))

    async def go(self) -> float:
        """Do one step after the other until there is none. Seconds until it is to be looked
        at again, if nothing changes."""
        for _ in range(MOST_STEPS):
            state = await self._look()
            now = self._clock()
            step = plan(state, self._wish, now)
            if isinstance(step, Wait):
                there = {one["metadata"]["name"] for one in state.configurations}
                missing = [name for name in self._target.configurations if name not in there]
                if missing:
                    self._say(
                        logging.WARNING,
                        "certificates: nobody trusts them: there is no "
                        f"ValidatingWebhookConfiguration {', '.join(missing)}",
                    )
                else:
                    self._say(logging.INFO, f"certificates: {step.why}")
                return min(self._check, max(SOONEST, (step.until - now).total_seconds()))
            if isinstance(step, Refuse):
                secret = state.serving if step.kind == SERVING else state.authority
                if self._say(logging.WARNING, step.why):
                    await self._report(dict(secret or {}), "ForeignSecret", step.why)
                return self._check
            try:
                await self._do(step, state, now)
            except Conflict:
                continue
            log.info("certificates: %s: %s", type(step).__name__, step.why)
            self._said = ""
            self._metrics.did(step)
        log.warning("certificates: somebody changes them back; again in %g s", self._check)
        return self._check

    def _say(self, level: int, said: str) -> bool:
        """Log a sentence unless it was the last one. Whether it was logged."""
        if said == self._said:
            return False
        self._said = said
        log.log(level, "%s", said)
        return True

    async def _look(self) -> CertificateState:
        target, now = self._target, self._clock()
        authority = await self._get(SECRETS, target.namespace, target.authority)
        serving = await self._get(SECRETS, target.namespace, target.secret)
        asked = [await self._get(VALIDATING_WEBHOOKS, "", one) for one in target.configurations]
        configurations = tuple(one for one in asked if one is not None)
        state = CertificateState(
            authority=authority,
            serving=serving,
            configurations=configurations,
            published_since=self._published.see(published(*configurations), now),
            served_since=self._served.see(contents(serving, "tls.crt"), now),
        )
        self._metrics.seen(state)
        return state

    async def _get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        try:
            return await self._client.request("GET", resource.path(namespace, name))
        except NotFound:
            return None

    async def _do(self, step: Step, state: CertificateState, now: datetime) -> None:
        """One step. Raises `Conflict` if the object has changed since it was looked at."""
        match step:
            case MakeAuthority(trusted=trusted):
                pair = make_authority(self._wish.authority, now)
                roots = [*read_roots(pair.certificate), *read_roots(trusted)]
                await self._write(
                    state.authority,
                    AUTHORITY,
                    {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": bundle(roots)},
                )
            case Trust(trusted=trusted):
                await self._write(state.authority, AUTHORITY, {"ca.crt": trusted})
            case Issue(authority=authority, trusted=trusted):
                pair = make_serving(authority, self._wish.names, self._wish.serving, now)
                await self._write(
                    state.serving,
                    SERVING,
                    {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": trusted},
                )
            case Tell(trusted=trusted):
                await self._write(state.serving, SERVING, {"ca.crt": trusted})
            case Publish(trusted=trusted):
                for configuration in state.configurations:
                    await self._publish(configuration, trusted)

    async def _write(self, secret: Any, kind: str, data: dict[str, bytes]) -> None:
        """Create a Secret, or replace these of its keys."""
        target = self._target
        name = target.secret if kind == SERVING else target.authority
        encoded = {key: base64.b64encode(text).decode() for key, text in data.items()}
        if secret is None:
            made = {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {
                    "name": name,
                    "namespace": target.namespace,
                    "labels": {
                        LABEL: kind,
                        "app.kubernetes.io/name": "plimsoll",
                        "app.kubernetes.io/managed-by": MANAGER,
                    },
                },
                "data": encoded,
            }
            await self._client.create(SECRETS, made, namespace=target.namespace)
            return
        changed = {**secret, "data": {**(secret.get("data") or {}), **encoded}}
        await self._client.request(
            "PUT",
            SECRETS.path(target.namespace, name),
            query={"fieldManager": MANAGER},
            body=changed,
        )

    async def _publish(self, configuration: Any, trusted: bytes) -> None:
        """Write that one field of each webhook, if the configuration still is as it was."""
        wrong = [i for i, has in enumerate(published(configuration)) if has != trusted]
        if not wrong:
            return
        text = base64.b64encode(trusted).decode()
        version = configuration["metadata"]["resourceVersion"]
        patch: list[Json] = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version}
        ]
        patch += (
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": text}
            for index in wrong
        )
        await self._client.request(
            "PATCH",
            VALIDATING_WEBHOOKS.path(name=configuration["metadata"]["name"]),
            query={"fieldManager": MANAGER},
            body=patch,
            content_type="application/json-patch+json",
        )
