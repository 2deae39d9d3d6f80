"""Claims about alerts and dashboard: of metrics that there are, and of use to whom they wake.

Needs the real helm and no API server.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kubernetes.aio.client import ApiClient, Configuration

from chart import CHART, one, render
from plimsoll.decision.policy import Outcome
from plimsoll_operator.admission import judge
from plimsoll_operator.admission.app import AdmissionMetrics
from plimsoll_operator.cluster.client import Client
from plimsoll_operator.controller.app import Controller
from plimsoll_operator.metrics import new_registry
from plimsoll_operator.settings import Settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


async def test_alerts_and_dashboard_ask_only_for_metrics_that_there_are() -> None:
    keeping = Settings(webhook_secret="a", webhook_service="b", webhook_configuration="c")
    controller = Controller(Client(ApiClient(Configuration())), keeping)
    admission = new_registry()
    AdmissionMetrics(admission)
    there = _names(controller.registry) | _names(admission)
    texts = [(CHART / "files" / name).read_text() for name in ("alerts.yaml", "dashboard.json")]
    asked = set(re.findall(r"\bplimsoll_\w+", " ".join(texts)))
    assert asked - there == set()
    assert {f"plimsoll_{name}" for name in ("queue_depth", "inventory_gpus")} < asked


def test_the_results_that_alerts_select_are_those_that_admission_counts() -> None:
    source = Path(judge.__file__).read_text(encoding="utf-8")
    counted = set(map(str, Outcome))
    counted |= set(re.findall(r'_observe\("([\w-]+)"', source))
    text = (CHART / "files" / "alerts.yaml").read_text() + json.dumps(
        json.loads((CHART / "files" / "dashboard.json").read_text())
    )
    asked = set(re.findall(r'plimsoll_admission_total\{result=\\?"([\w-]+)', text))
    assert "overridden" in asked
    assert asked <= counted


def test_every_alert_says_what_and_what_to_do() -> None:
    rule = one(
        render(
            {
                "metrics": {
                    "prometheusRule": {
                        "enabled": True,
                        "labels": {"release": "prom"},
                        "alertLabels": {"team": "gpu"},
                    }
                }
            }
        ),
        "PrometheusRule",
    )
    assert rule["metadata"]["labels"]["release"] == "prom"
    for group in rule["spec"]["groups"]:
        for alert in group["rules"]:
            assert alert["labels"]["severity"] in ("critical", "warning", "info")
            assert alert["labels"]["team"] == "gpu"
            assert set(alert["annotations"]) == {"summary", "description"}


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    made = one(render({"metrics": {"dashboard": {"enabled": True}}}), "ConfigMap")
    dashboard = json.loads(made["data"]["plimsoll.json"])
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def _names(registry: CollectorRegistry) -> set[str]:
    """The metrics of a registry as Prometheus sees them, before any of them has a series."""
    found: set[str] = set()
    for metric in registry.collect():
        found.add(metric.name)
        ends = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_count", "_sum"),
            "info": ("_info",),
        }.get(metric.type, ())
        found |= {metric.name + end for end in ends}
    return {name for name in found if name.startswith("plimsoll_")}
