"""Fixtures for tests that need a real API server: one for the whole session, a namespace each.

PLIMSOLL_TEST_KUBECONFIG=PATH takes that cluster instead of one of our own; never set it to a
cluster that anybody else uses.
A file that changes what others rely on makes one of its own: `cluster.plane.own_plane`.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.fixtures_operator import CONTROLLER_ACCOUNT, SYSTEM_NAMESPACE
from controlplane import Cluster, ControlPlane, ControlPlaneError, ExternalCluster
from controlplane.build import ETCD, GITOPS, HELM, KUBERNETES, ensure_built

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import CompletedProcess

HERE = Path(__file__).parent
BUILD_ERROR = pytest.StashKey[ControlPlaneError]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build before the first test, outside its time limit and with progress in sight."""
    needed = any(item.get_closest_marker("cluster") for item in session.items)
    if not needed or session.config.option.collectonly or _external():
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            ensure_built(ETCD, KUBERNETES, HELM, GITOPS)
        except ControlPlaneError as error:  # only the tests that need it shall fail
            session.config.stash[BUILD_ERROR] = error


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of this session: our own ControlPlane, or the one that was named."""
    if error := request.config.stash.get(BUILD_ERROR, None):
        raise error
    external = _external()
    with ExternalCluster(external) if external else ControlPlane() as cluster:
        yield cluster


@pytest.fixture
def own_control_plane(control_plane: Cluster) -> ControlPlane:
    """The same, for tests that stop its API server or trust its certificate authority."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane of our own")
    return control_plane


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace. On our own control plane nothing empties it: it goes with the cluster."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def account(plane: ControlPlane) -> Path:
    """The controller's account on the file's own control plane, as a kubeconfig."""
    return plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)


SETTLED = 1.0
"""Seconds after which a controller of a test has taken in that GPUs are free again."""


@pytest.fixture
def space(plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace on the file's own control plane, named after the test.

    LLMDeployments in it go with the test: GPUs that they are placed on are not free for others.
    """
    name: str = request.node.name.replace("_", "-").removeprefix("test-")[:60].strip("-")
    plane.kubectl("create", "namespace", name)
    yield name
    every = ("llmdeployments", "--all", "-n", name)
    gone = plane.kubectl("delete", *every, "--wait=false", check=False).stdout
    if "deleted" in gone:
        time.sleep(SETTLED)


@pytest.fixture
def kubectl(control_plane: Cluster) -> Callable[..., CompletedProcess[str]]:
    """Run kubectl as the administrator: kubectl("get", "nodes", check=False)."""
    return control_plane.kubectl


def _external() -> str | None:
    return os.environ.get("PLIMSOLL_TEST_KUBECONFIG")
