"""Claims about `kubectl plimsoll`: kubectl finds it on the PATH, and it audits what runs there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.plane import own_plane
from cluster.workloads import deployment
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from controlplane import ControlPlane

SCRIPT = Path(sys.executable).with_name("kubectl-plimsoll")
plane = own_plane(nodes=[gpu_node("a"), gpu_node("b", "l4")], installed=True)


WIDE = deployment(
    "wide",
    ["--model=Qwen/Qwen2.5-7B-Instruct", "--max-model-len=8192", "--tensor-parallel-size=4"],
    4,
    "NVIDIA-A100-SXM4-80GB",
)
LARGE = deployment("large", ["--model=meta-llama/Llama-3.3-70B-Instruct"], 1, "NVIDIA-L4")


@pytest.fixture
def path(plane: ControlPlane, tmp_path: Path) -> str:
    """A PATH with kubectl and one file of ours."""
    assert SCRIPT.exists(), "make install"
    (tmp_path / "kubectl-plimsoll").symlink_to(SCRIPT)
    (tmp_path / "kubectl").symlink_to(plane.kubectl_path)
    return str(tmp_path)


def kubectl(
    plane: ControlPlane, path: str, *words: str, kubeconfig: Path | None = None
) -> CompletedProcess[str]:
    """kubectl as a user runs it, on that PATH and no other."""
    environment = {"PATH": path, "HOME": path, "KUBECONFIG": str(kubeconfig or plane.kubeconfig)}
    return subprocess.run(
        ["kubectl", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment | {"LANG": os.environ.get("LANG", "C.UTF-8")},
        executable=f"{path}/kubectl",
    )


def test_kubectl_lists_the_plugin_and_its_help_is_called_after_it(
    plane: ControlPlane, path: str
) -> None:
    assert "kubectl-plimsoll" in kubectl(plane, path, "plugin", "list").stdout
    assert "Usage: kubectl plimsoll audit" in kubectl(plane, path, "plimsoll", "audit", "-h").stdout


def test_the_plugin_audits_what_the_cluster_has(plane: ControlPlane, path: str) -> None:
    plane.apply([WIDE, LARGE])
    found = kubectl(plane, path, "plimsoll", "audit", "-o", "json")
    assert found.returncode == 1, found.stderr
    whole = json.loads(found.stdout)
    assert whole["problems"] == []
    results = {one["name"]: one for one in whole["results"]}
    assert set(results) == {"default/wide", "default/large"}
    assert results["default/large"]["reason"] == "NotEnoughMemory"
    assert results["default/wide"]["fewer"]["gpusPerReplica"] == 1
    assert results["default/wide"]["smaller"]["accelerator"] == "nvidia-l4"
    assert whole["totals"]["gpusToWin"] == 3
    elsewhere = kubectl(plane, path, "plimsoll", "audit", "-n", "kube-system")
    assert (elsewhere.returncode, elsewhere.stderr) == (0, "")
    assert elsewhere.stdout.startswith("nothing to audit")


def test_the_plugin_checks_a_file_as_plimsoll_does(
    plane: ControlPlane, path: str, tmp_path: Path
) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(json.dumps(LARGE))
    checked = kubectl(plane, path, "plimsoll", "check", str(file), "-o", "json")
    assert checked.returncode == 1
    plane.apply([LARGE])
    audited = kubectl(plane, path, "plimsoll", "audit", "-o", "json")
    (large,) = (r for r in json.loads(audited.stdout)["results"] if r["name"] == "default/large")
    assert large["requestHash"] == json.loads(checked.stdout)["results"][0]["requestHash"]


def test_what_a_user_may_not_list_is_said_with_what_could_be_read(
    plane: ControlPlane, path: str
) -> None:
    plane.apply([LARGE])
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]}]
    plane.apply(
        [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": "deployments"},
                "rules": rules,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "deployments"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "deployments",
                },
                "subjects": [{"kind": "User", "name": "reader"}],
            },
        ]
    )
    reader = plane.kubeconfig_for("reader")
    found = kubectl(plane, path, "plimsoll", "audit", kubeconfig=reader)
    assert found.returncode == 2
    assert "Deployment default/large" in found.stdout
    assert "forbidden" in found.stderr
    assert "the right to list them" in found.stderr
