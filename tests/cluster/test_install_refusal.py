"""Claims about `helm test`, run by the real helm against a release whose webhook answers.

There is no kubelet: the test plays it. It waits for the pod that helm creates, runs that pod's own
command with its own variables and with the token of its own account, and writes how that ended into
the pod's status, which is what helm waits for.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from chart import NAMESPACE, RELEASE, helm
from cluster.fixtures_install import (
    SERVING,
    SOON,
    TOO_SMALL,
    Installed,
    create,
    install_chart,
    is_refused,
    mount,
)
from cluster.fixtures_operator import llm_deployment, until
from cluster.plane import LLAMA, own_plane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from controlplane import ControlPlane

POD = f"{RELEASE}-test"


plane = own_plane("registers a webhook", installed=False)


@pytest.fixture(scope="module")
def release(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The chart as it is by default, both processes running."""
    release = install_chart(plane)
    tls = tmp_path_factory.mktemp("install") / "tls"
    with release.controller(), release.webhook(mount(plane, SERVING, tls)):
        until(lambda: is_refused(plane, "default"), SOON, "refused")
        yield release


def run_pod(plane: ControlPlane, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the pod of `helm test` as a kubelet would, and tell the API server how it ended."""

    def found() -> dict[str, Any]:
        pods = plane.get("pods", "-n", NAMESPACE)["items"]
        waiting = [p for p in pods if p.get("status", {}).get("phase") == "Pending"]
        assert waiting, "no pod waits"
        pod: dict[str, Any] = waiting[0]
        return pod

    pod = until(found, SOON, "helm made the pod")
    (container,) = pod["spec"]["containers"]
    server = urlsplit(plane.url)
    environment = {
        "ACCOUNT": str(mount_account(plane, pod["spec"]["serviceAccountName"], folder)),
        "TRIES": "1",
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
        **{variable["name"]: variable["value"] for variable in container["env"]},
    }
    assert container["command"][0] == "python3"
    done = subprocess.run(
        [sys.executable, *container["command"][1:], *container["args"]],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    status = {"status": {"phase": "Failed" if done.returncode else "Succeeded"}}
    plane.kubectl(
        "patch",
        "pod",
        pod["metadata"]["name"],
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps(status),
    )
    return done


def mount_account(plane: ControlPlane, account: str, folder: Path) -> Path:
    """The files in which a pod finds the token of its account and whom to trust."""
    config = json.loads(plane.kubeconfig_for_service_account(NAMESPACE, account).read_text())
    authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
    (folder / "token").write_text(config["users"][0]["user"]["token"])
    (folder / "ca.crt").write_bytes(base64.b64decode(authority))
    return folder


def helm_test(
    release: Installed, folder: Path, before: Callable[[], object] = lambda: None
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """How `helm test` ended, and how the program in its pod did. before: done once helm has made
    what goes before the pod."""
    arguments = ("test", RELEASE, "-n", NAMESPACE, "--timeout", "60s")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(helm, *arguments, kubeconfig=release.plane.kubeconfig, check=False)
        before()
        ran = run_pod(release.plane, folder)
        return running.result(60), ran


def hooks(plane: ControlPlane) -> str:
    """What is there of the test's own objects."""
    kinds = "pods,serviceaccounts,roles,rolebindings"
    shown = plane.kubectl("get", kinds, "-A", "-o", "name").stdout
    return "\n".join(line for line in shown.splitlines() if line.endswith(f"/{POD}"))


def test_helm_test_succeeds_if_the_webhook_refuses(release: Installed, tmp_path: Path) -> None:
    ended, ran = helm_test(release, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "refused, as it should be" in ran.stdout
    assert "short by" in ran.stdout, "by the webhook, which knows more than the floor"
    assert ended.returncode == 0, ended.stderr
    assert "Phase:          Succeeded" in ended.stdout
    assert release.plane.get("llmd", "-A")["items"] == []
    assert hooks(release.plane) == "", "and takes away what it made for it"


def test_helm_test_fails_without_the_one_right_that_its_pod_has(
    release: Installed, tmp_path: Path
) -> None:
    plane = release.plane

    def take_away() -> None:
        which = ("role", POD, "-n", "default")
        until(lambda: plane.kubectl("get", *which, check=False).returncode == 0, SOON, "a role")
        assert plane.get(*which)["rules"] == [
            {"apiGroups": ["plimsoll.dev"], "resources": ["llmdeployments"], "verbs": ["create"]}
        ]
        plane.kubectl("patch", *which, "--type=merge", "-p", '{"rules": []}')

    ended, ran = helm_test(release, tmp_path, take_away)
    assert ran.returncode == 1
    assert "403" in ran.stdout
    assert 'cannot create resource "llmdeployments"' in ran.stdout
    assert ended.returncode != 0
    assert f"pod {POD} failed" in ended.stderr, ended.stderr


def test_helm_test_fails_if_nothing_answers_and_says_where_to_look(
    release: Installed, tmp_path: Path
) -> None:
    """A namespace that only warns is as good as no webhook: what cannot fit is let in."""
    plane = release.plane
    plane.kubectl("label", "namespace", "default", "plimsoll.dev/policy=warn")
    try:
        obj = llm_deployment("too-small", "default", TOO_SMALL, uri=LLAMA)
        until(lambda: create(plane, obj) == "", SOON, "the webhook knows the label")
        plane.kubectl("delete", "llmd", "--all", "-n", "default")
        ended, ran = helm_test(release, tmp_path)
    finally:
        plane.kubectl("label", "namespace", "default", "plimsoll.dev/policy-")
    assert ran.returncode == 1
    assert "not yet: it was let in" in ran.stdout
    assert "does the namespace enforce?" in ran.stdout
    assert ended.returncode != 0
