"""Controller and admission in one process, for development: certificate and webhook included.

It must not be how Plimsoll runs in production: the certificate is made again at each start, and the
webhook points at this machine and goes when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll_operator.api.crd import crd, policy_crd, pool_crd
from plimsoll_operator.api.policy import floor_binding, floor_policy
from plimsoll_operator.api.webhook import (
    PATH,
    at_url,
    webhook_configuration,
    workloads_configuration,
)
from plimsoll_operator.certificates.authority import make_authority, make_serving
from plimsoll_operator.cluster.client import Client, connect
from plimsoll_operator.cluster.objects import (
    CUSTOM_RESOURCE_DEFINITIONS,
    VALIDATING_POLICIES,
    VALIDATING_POLICY_BINDINGS,
    VALIDATING_WEBHOOKS,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from plimsoll_operator.settings import Settings

log = logging.getLogger(__name__)

NAME: Final = "plimsoll-dev"
"""Name of the webhook configuration, and field manager of what is applied."""
WORKLOADS_NAME: Final = f"{NAME}-workloads"
ANYWHERE: Final = "0.0.0.0"
HERE: Final = "127.0.0.1"
VALID: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A serving certificate for one address. authority: what a client trusts it by (PEM)."""

    authority: bytes
    certificate: Path
    key: Path


def make_certificate(host: str, folder: Path) -> Certificate:
    """A certificate authority that nobody keeps, and a certificate of its for an address.

    The files can be read by their owner alone.
    """
    now = datetime.now(UTC)
    authority = make_authority(VALID, now)
    serving = make_serving(authority, [host], VALID, now)
    files = Certificate(authority.certificate, folder / "tls.crt", folder / "tls.key")
    for path, text in ((files.certificate, serving.certificate), (files.key, serving.key)):
        path.touch(mode=0o600)
        path.write_bytes(text)
    return files


@contextlib.asynccontextmanager
async def registered(client: Client, url: str, authority: bytes) -> AsyncIterator[None]:
    """Have the API server ask that URL until the end of the block."""
    here = at_url(url, authority)
    hooks = (webhook_configuration(NAME, here), workloads_configuration(WORKLOADS_NAME, here))
    for hook in hooks:
        await client.apply(VALIDATING_WEBHOOKS, hook, manager=NAME)
    log.info("admission is asked at %s", url)
    try:
        yield
    finally:
        for hook in hooks:
            await client.delete(VALIDATING_WEBHOOKS, hook["metadata"]["name"])


async def _install(client: Client) -> None:
    """Apply the CRDs and the floor policy, as `deploy/` has them."""
    for definition in (crd(), pool_crd(), policy_crd()):
        await client.apply(CUSTOM_RESOURCE_DEFINITIONS, definition, manager=NAME)
    await client.apply(VALIDATING_POLICIES, floor_policy(), manager=NAME)
    await client.apply(VALIDATING_POLICY_BINDINGS, floor_binding(), manager=NAME)


async def _answers(host: str, port: int) -> None:
    """Wait until somebody listens there."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return


async def run_both(settings: Settings, stop: asyncio.Event, *, install: bool = False) -> None:
    """Run both until told to stop. With install: apply CRD and floor policy first.

    Metrics of admission are one port above those of the controller. Raises `NoCluster`, `ApiError`
    if something may not be applied, or OSError if a port is taken.
    """
    from plimsoll_operator.admission.app import run_admission
    from plimsoll_operator.controller.app import run_controller

    host = HERE if settings.admission_host == ANYWHERE else settings.admission_host
    with tempfile.TemporaryDirectory(prefix="plimsoll-dev-") as folder:
        made = make_certificate(host, Path(folder))
        settings = replace(
            settings, admission_host=host, tls_cert=str(made.certificate), tls_key=str(made.key)
        )
        beside = replace(settings, metrics_port=settings.metrics_port and settings.metrics_port + 1)
        end = asyncio.Event()
        async with connect(settings.kubeconfig, settings.context) as client:
            if install:
                await _install(client)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(run_controller(settings, end))
                    group.create_task(run_admission(beside, end))
                    await _answers(host, settings.admission_port)
                    url = f"https://{host}:{settings.admission_port}{PATH}"
                    async with registered(client, url, made.authority):
                        await stop.wait()
                    end.set()
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
