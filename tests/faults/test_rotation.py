"""The claim that nobody is refused while certificates rotate and admission is restarted.

Two admission processes stand behind a TCP balancer. A hundred times a second the real API server
asks them, and besides, clients that verify as it does make a new TLS connection for each request.
Meanwhile the serving certificate is renewed, the authority is replaced, and both processes are
restarted one after the other, as a Deployment does it. A test plays the kubelet.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest
from cryptography import x509

from cluster.fixtures_certificates import (
    CONFIGURATION,
    Kubelet,
    keeper_settings,
    secret,
    trusted,
)
from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    OperatorProcess,
    free_port,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import LLAMA, own_plane
from faults.balancer import Balancer
from plimsoll_operator.api.webhook import at_url, webhook_configuration
from plimsoll_operator.cluster.client import ApiError, Client, connect
from plimsoll_operator.cluster.objects import LLM_DEPLOYMENTS, VALIDATING_WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from controlplane import ControlPlane

RATE = 30.0
"""Requests a second to the API server, of each of which it asks admission; two cores carry it."""
DIRECT_RATE = 10.0
"""Requests a second straight to admission, each over a connection of its own."""
LIVES = {
    "certificate_seconds": 48,  # renewed after 32 s
    "authority_seconds": 66,  # replaced after 44 s, so that all of it happens within 70 s
    "certificate_propagation_seconds": 8,
    "certificate_check_seconds": 1,
}
REFUSED = {
    "accelerator": {"allowed": ["nvidia-l4"]},
    "engine": {"name": "vllm", "parallelism": {"tensor": 1}},
}
AS_IT_SHOULD = {"allowed", "refused by admission", "answered directly"}


@dataclass
class Load:
    """Asks for as long as it is open, at a steady rate, whether answers come or not."""

    plane: ControlPlane
    port: int
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(45)

    async def _run(self) -> None:
        objects = (
            llm_deployment("allowed", "default"),
            llm_deployment("refused", "default", REFUSED, uri=LLAMA),
        )
        config = str(self.plane.kubeconfig)
        async with connect(config) as client, connect(config) as ears:  # what is asked queues
            await self._hear(ears)
            hearing = asyncio.create_task(self._hear_forever(ears))
            await asyncio.gather(
                self._steadily(
                    RATE, lambda n: self._ask_api_server(client, objects[n % 2], n % 2 == 1)
                ),
                self._steadily(DIRECT_RATE, lambda _: self._ask_directly()),
            )
            hearing.cancel()

    async def _steadily(self, rate: float, ask: Callable[[int], Awaitable[str]]) -> None:
        """Ask so many times a second until told to stop, then wait for what is still asked."""
        tasks: set[asyncio.Task[None]] = set()
        started, asked = time.monotonic(), 0
        while not self._stop.is_set():
            while asked < (time.monotonic() - started) * rate:
                tasks.add(asyncio.create_task(self._timed(ask(asked))))
                asked += 1
            tasks = {task for task in tasks if not task.done()}
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    async def _timed(self, asked: Awaitable[str]) -> None:
        started = time.perf_counter()
        outcome = await asked
        self.slowest = max(self.slowest, time.perf_counter() - started)
        if outcome not in AS_IT_SHOULD:
            outcome = f"{time.strftime('%H:%M:%S')} {outcome}"
        self.outcomes[outcome] += 1

    async def _ask_api_server(self, client: Client, obj: dict[str, Any], refuse: bool) -> str:
        try:
            await client.request(
                "POST", LLM_DEPLOYMENTS.path("default"), query={"dryRun": "All"}, body=obj
            )
        except ApiError as error:
            asked = refuse and error.status == 422 and "short by" in error.message
            return "refused by admission" if asked else f"API server: {error}"
        except Exception as error:
            return f"API server: {error!r}"
        return "API server: let through without admission" if refuse else "allowed"

    async def _hear(self, client: Client) -> None:
        """What to trust, as an API server hears of it."""
        found = await client.request("GET", VALIDATING_WEBHOOKS.path(name=CONFIGURATION))
        bundle = base64.b64decode(found["webhooks"][0]["clientConfig"]["caBundle"])
        self._trust = ssl.create_default_context(cadata=bundle.decode())

    async def _hear_forever(self, client: Client) -> None:
        while True:
            await asyncio.sleep(0.25)
            with contextlib.suppress(ApiError, OSError):
                await self._hear(client)

    async def _ask_directly(self) -> str:
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "direct",
                "operation": "CREATE",
                "namespace": "default",
                "object": llm_deployment("allowed", "default"),
            },
        }
        try:
            connector = aiohttp.TCPConnector(ssl=self._trust, force_close=True)
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.post(f"https://127.0.0.1:{self.port}/fit", json=review) as response,
            ):
                allowed = (await response.json())["response"]["allowed"]
                return "answered directly" if allowed else "directly: refused"
        except Exception as error:
            return f"directly: {error!r}"


@dataclass
class Admissions:
    """The processes of a Deployment: new ones come before old ones go."""

    plane: ControlPlane
    kubelet: Kubelet
    balancer: Balancer
    stack: contextlib.ExitStack
    running: list[tuple[OperatorProcess, int]] = field(default_factory=list)
    ever: list[OperatorProcess] = field(default_factory=list)

    def start(self) -> None:
        """One more, which is asked once it is ready."""
        account = self.plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, "plimsoll-webhook")
        while True:
            port = free_port()
            settings = {
                "admission_host": "127.0.0.1",
                "admission_port": port,
                "tls_reload_seconds": 0.5,
                **self.kubelet.settings,
            }
            try:
                process = self.stack.enter_context(
                    operator_process("admission", account, self.plane.folder, settings)
                )
            except RuntimeError as error:  # the load's own connections take ports, too
                if "address already in use" not in str(error):
                    raise
            else:
                break
        self.balancer.add(port)
        self.running.append((process, port))
        self.ever.append(process)

    def stop_oldest(self) -> None:
        """Told to stop; half a second later the endpoints have heard of it."""
        process, port = self.running.pop(0)
        os.kill(process.process.pid, signal.SIGTERM)
        time.sleep(0.5)
        self.balancer.remove(port)
        assert process.process.wait(20) == 0, process.log()

    def roll(self) -> None:
        """Replace all of them, one after the other."""
        for _ in range(len(self.running)):
            self.start()
            self.stop_oldest()


plane = own_plane(scope="function")


def serials(pem: bytes) -> list[int]:
    return [c.serial_number for c in x509.load_pem_x509_certificates(pem)]


@pytest.mark.timeout(300)
def test_no_request_fails_while_certificates_rotate_and_admission_is_rolled(
    plane: ControlPlane, tmp_path: Path
) -> None:
    port = free_port()
    made = webhook_configuration(CONFIGURATION, at_url(f"https://127.0.0.1:{port}/fit", b""))
    del made["webhooks"][0]["clientConfig"]["caBundle"]
    plane.apply([made])
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    with contextlib.ExitStack() as stack:
        controller = stack.enter_context(
            operator_process("controller", account, plane.folder, keeper_settings(port, **LIVES))
        )
        kubelet = stack.enter_context(Kubelet(plane, tmp_path / "tls", every=0.5))
        balancer = stack.enter_context(Balancer(port))
        admissions = Admissions(plane, kubelet, balancer, stack)
        admissions.start()
        admissions.start()
        probe = json.dumps(llm_deployment("probe", "default", REFUSED, uri=LLAMA))

        def asked() -> bool:
            flags = ("create", "--dry-run=server", "-f", "-")
            return "short by" in plane.kubectl(*flags, input=probe, check=False).stderr

        def leaf() -> int:
            return serials(secret(plane)["data"]["tls.crt"])[0]

        def roots() -> list[int]:
            return serials(trusted(plane))

        until(asked, 15, "the API server asks admission")
        first_leaf, (first_root,) = leaf(), roots()
        began = time.monotonic()
        with Load(plane, port) as load:
            admissions.roll()
            until(lambda: leaf() != first_leaf, 40, "the certificate is renewed")
            until(lambda: len(roots()) == 2, 40, "old and new authority are published")
            admissions.roll()
            until(lambda: first_root not in roots(), 40, "the old authority is dropped")
            time.sleep(3)
        seconds = time.monotonic() - began

    print(
        f"{load.outcomes.total()} requests in {seconds:.0f} s, slowest {load.slowest:.2f} s: "
        f"{dict(load.outcomes)}; connections of each process: {list(balancer.carried.values())}"
    )
    wrong = {o: n for o, n in load.outcomes.items() if o not in AS_IT_SHOULD}
    told = [
        line
        for process in (controller, *admissions.ever)
        for line in process.log(10_000).splitlines()
        if "certificate" in line
    ]
    assert wrong == {}, "\n".join(sorted(told))
    assert load.outcomes.total() > 0.9 * seconds * (RATE + DIRECT_RATE)
    assert len(balancer.carried) == 6, "both processes were replaced twice"
    assert all(balancer.carried.values())
