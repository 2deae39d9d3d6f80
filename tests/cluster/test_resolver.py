"""Models that the catalogue lacks: the controller asks a hub, on loopback, and all know then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

import checkpoint_files
from chart.helm import render
from checkpoint_files import Maker, base
from cluster.fixtures_operator import (
    SYSTEM_NAMESPACE,
    OperatorProcess,
    conditions,
    llm_deployment,
    operator_process,
    until,
)
from cluster.plane import own_plane
from hub_server import Hub, serving
from plimsoll.workloads.resolved import config_map_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from controlplane import ControlPlane

pytest.importorskip("huggingface_hub")

SOON: Final = 60.0
GOOD, SILENT, BAD, NOBODY = "acme/tiny", "acme/silent", "acme/bad", "acme/nobody"

plane = own_plane("writes ConfigMaps")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    config = base("llama")
    folder = checkpoint_files.write(
        tmp_path_factory.mktemp("tiny"), config, checkpoint_files.dense(config, Maker())
    )
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    bad = {"config.json": b"{" * 65536, "model.safetensors": b"\xff" * 4096}
    with serving(Hub({GOOD: good, BAD: bad}, silent={SILENT})) as found:
        yield found


@pytest.fixture(scope="module")
def controller(
    plane: ControlPlane, account: Path, hub: Hub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """With the rights that the chart gives it, and no others."""
    objects = render({"resolver": {"enabled": True}}, namespace=SYSTEM_NAMESPACE)
    rights = [one for one in objects if one["kind"] in ("Role", "RoleBinding")]
    plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(rights))
    settings = {
        "resolve_models": True,
        "resolved_namespace": SYSTEM_NAMESPACE,
        "resolve_seconds": 12,
        "resync_seconds": 3,
    }
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
    with operator_process(
        "controller", account, plane.folder, settings, environment=environment
    ) as running:
        yield running


def resolved(plane: ControlPlane, space: str, name: str) -> dict[str, Any]:
    found = conditions(plane.get("llmdeployment", name, "-n", space))
    return found.get("ModelResolved") or {}


def asked_for(hub: Hub, model: str) -> int:
    return sum(path.startswith(f"/api/models/{model}") for _, path, _ in hub.asked)


def test_a_model_is_asked_for_once_and_is_known_then_to_all(
    plane: ControlPlane, controller: OperatorProcess, hub: Hub, space: str
) -> None:
    plane.create([llm_deployment("first", space, uri=f"hf://{GOOD}")])
    until(lambda: resolved(plane, space, "first").get("status") == "True", SOON, "it is resolved")
    assert resolved(plane, space, "first")["reason"] == "FromProfile"
    written = plane.get("configmap", config_map_name(GOOD), "-n", SYSTEM_NAMESPACE)
    assert written["metadata"]["labels"] == {"plimsoll.dev/resolved": "controller"}
    assert written["metadata"]["annotations"] == {"plimsoll.dev/model": GOOD}
    before = asked_for(hub, GOOD)
    plane.create([llm_deployment("second", space, uri=f"hf://{GOOD.upper()}")])
    until(lambda: resolved(plane, space, "second").get("status") == "True", SOON)
    assert asked_for(hub, GOOD) == before
    assert asked_for(hub, GOOD.upper()) == 0


def test_a_hostile_hub_stops_nobody_and_is_not_asked_again_and_again(
    plane: ControlPlane, controller: OperatorProcess, hub: Hub, space: str
) -> None:
    for number, model in enumerate((SILENT, BAD, NOBODY)):
        plane.create([llm_deployment(f"bad-{number}", space, uri=f"hf://{model}")])
    failed = 'plimsoll_models_asked_for_total{result="not-resolved"}'
    until(lambda: controller.metric(failed) == 3, 90, "all three failed")
    for number in range(3):
        assert resolved(plane, space, f"bad-{number}").get("status") != "True"
    asked = [asked_for(hub, model) for model in (SILENT, BAD, NOBODY)]
    plane.kubectl("annotate", "llmdeployment", "--all", "-n", space, "touched=yes")
    lists = controller.metric("plimsoll_llmdeployments")
    plane.create([llm_deployment("known", space)])
    until(lambda: resolved(plane, space, "known").get("status") == "True", SOON)
    assert [asked_for(hub, model) for model in (SILENT, BAD, NOBODY)] == asked
    assert controller.metric(failed) == 3
    assert lists
    assert controller.ready()
