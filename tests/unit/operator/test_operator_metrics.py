"""Claims about what Prometheus reads, and what probes do."""

from __future__ import annotations

import urllib.error
import urllib.request
from asyncio import to_thread
from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from decision_builders import A100, H100, cluster, on, pool, request, world
from plimsoll.decision.decide import decide
from plimsoll.models.architecture import Model, ModelSource
from plimsoll_operator.controller.task import figures
from plimsoll_operator.health import HealthServer
from plimsoll_operator.metrics import ControllerMetrics, new_registry

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from plimsoll.decision.request import Request

OBJECT = 'name="big",namespace="chat"'


def lines(registry: CollectorRegistry) -> dict[str, float]:
    text = generate_latest(registry).decode()
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs}


def after(of: Request) -> tuple[ControllerMetrics, CollectorRegistry]:
    registry = new_registry()
    metrics = ControllerMetrics(registry)
    metrics.decided("chat", "big", *figures(decide(of, knowledge=world())))
    return metrics, registry


def test_an_object_that_fits_is_1_and_shows_need_and_possession() -> None:
    found = lines(after(on(A100))[1])
    assert found[f"plimsoll_llmdeployment_fits{{{OBJECT}}}"] == 1
    need = found[f"plimsoll_llmdeployment_required_bytes{{{OBJECT}}}"]
    assert 0 < need < found[f"plimsoll_llmdeployment_usable_bytes{{{OBJECT}}}"]
    assert found['plimsoll_decisions_total{decision="allow",reason="EnoughMemory"}'] == 1


def test_an_object_that_does_not_fit_is_0() -> None:
    assert lines(after(on(A100, tensor=1))[1])[f"plimsoll_llmdeployment_fits{{{OBJECT}}}"] == 0


def test_if_nobody_can_be_sure_it_is_neither() -> None:
    found = lines(after(request(Model("acme/Secret", ModelSource.UNKNOWN)))[1])
    value = found[f"plimsoll_llmdeployment_fits{{{OBJECT}}}"]
    assert value != value
    assert f"plimsoll_llmdeployment_required_bytes{{{OBJECT}}}" not in found


def test_the_series_of_an_object_go_with_it() -> None:
    metrics, registry = after(on(A100))
    metrics.gone("chat", "big")
    metrics.gone("chat", "never-there")
    assert not [series for series in lines(registry) if OBJECT in series]


def test_gpus_of_nodes_that_went_are_no_longer_shown() -> None:
    registry = new_registry()
    metrics = ControllerMetrics(registry)
    metrics.inventory(cluster(pool(A100, 3, ready=2)))
    metrics.inventory(cluster(pool(H100, 2, ready=1)))
    gpus = {k: v for k, v in lines(registry).items() if k.startswith("plimsoll_inventory_gpus")}
    assert gpus == {
        f'plimsoll_inventory_gpus{{accelerator="{H100.name}",state="ready"}}': 8,
        f'plimsoll_inventory_gpus{{accelerator="{H100.name}",state="unavailable"}}': 8,
    }


async def test_a_probe_fails_with_the_reason() -> None:
    wrong = "nothing has been listed yet"
    server = HealthServer(new_registry(), alive=lambda: "", ready=lambda: wrong)
    await server.start("127.0.0.1", 0)

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        assert await to_thread(get, "/healthz") == (200, "ok\n")
        assert await to_thread(get, "/readyz") == (503, f"{wrong}\n")
        status, text = await to_thread(get, "/metrics")
        assert status == 200
        assert "plimsoll_estimator_info" in text
    finally:
        await server.stop()
