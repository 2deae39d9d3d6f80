"""Claims about the chart's objects on a real API server: accepted as they are, over many values.

Nothing is installed here but kinds and, for `helm test`, the floor: everything else is a dry run.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from chart import CHART, NAMESPACE, OVERLAYS, find, helm, kustomize, one, render
from chart.others import other_kinds
from cluster.fixtures_operator import DEPLOY, install, until
from controlplane.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from chart import Manifest
    from controlplane import Cluster

DRY = (
    "--server-side",
    "--dry-run=server",
    "--validate=strict",
    "--force-conflicts",
    "--field-manager=chart-test",
)
AUTHORITY = base64.b64encode(Authority().bundle).decode()
RESTRICTED = "plimsoll-restricted"
MONITORING = {
    name: {"enabled": True, "labels": {"release": "prometheus"}}
    for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")
}

MATRIX: dict[str, Mapping[str, Any]] = {
    "defaults": {},
    "cert-manager": {"tls": {"mode": "cert-manager"}},
    "cert-manager-with-an-issuer": {
        "tls": {"mode": "cert-manager", "certManager": {
            "issuerRef": {"kind": "ClusterIssuer", "name": "internal"}, "duration": "720h",
            "renewBefore": "240h"}},
        "webhook": {"url": {"host": "10.0.0.1:8443"}},
    },
    "self-managed-elsewhere": {
        "webhook": {"url": {"host": "webhook.example:8443"}, "failurePolicy": "Ignore"},
    },
    "secret": {"tls": {"mode": "secret", "secret": {"name": "mine", "caBundle": AUTHORITY}}},
    "no-webhook": {"webhook": {"enabled": False}},
    "no-webhook-no-floor": {"webhook": {"enabled": False}, "floor": {"enabled": False}},
    "bare": {
        "crds": {"enabled": False}, "floor": {"enabled": False},
        "rbac": {"create": False, "aggregateRoles": False, "overrideRole": False},
        "controller": {"leaderElection": {"enabled": False}, "serviceAccount": {"create": False}},
        "webhook": {"serviceAccount": {"create": False, "name": "mine"},
                    "podDisruptionBudget": {"enabled": False}, "nodeSelector": None},
    },
    "everything": {
        "commonLabels": {"team": "gpu-platform"},
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"digest": "sha256:" + "0" * 64},
        "networkPolicy": {
            "egress": True, "apiServerCidrs": ["10.0.0.1/32"], "apiServerPorts": [6443],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        "metrics": MONITORING,
        "controller": {"replicas": 2, "podAnnotations": {"a": "b"}, "extraArgs": ["--workers=4"],
                       "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]},
        "webhook": {
            "replicas": 3, "hostNetwork": True, "port": 10250,
            "clientCA": {"configMap": "api-server-ca"},
            "podDisruptionBudget": {"minAvailable": None, "maxUnavailable": "50%"},
            "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists",
                             "effect": "NoSchedule"}],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                 "whenUnsatisfiable": "DoNotSchedule"},
                {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone",
                 "whenUnsatisfiable": "ScheduleAnyway"}],
            "affinity": {"nodeAffinity": {}},
            "service": {"annotations": {"example.com/x": "y"}},
            "podLabels": {"sidecar.istio.io/inject": "false"},
            "excludedNamespaces": ["kube-system", "kube-node-lease"],
            "namespaceSelector": {
                "matchLabels": {"ai": "yes"},
                "matchExpressions": [{"key": "skip-plimsoll", "operator": "DoesNotExist"}]},
        },
        "floor": {"validationActions": ["Warn", "Audit"]},
    },
    "names": {"fullnameOverride": "very-long-name-of-a-release-that-somebody-chose-once",
              "nameOverride": "load-line"},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def kinds(control_plane: Cluster) -> None:
    """Our kind, those of others, and the namespaces that the objects go to."""
    install(control_plane)
    control_plane.apply(other_kinds(), "--server-side")
    control_plane.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": RESTRICTED,
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
                },
            }
        ]
    )
    until(lambda: _known(control_plane), 30, "every kind is served")


def _known(cluster: Cluster) -> bool:
    shown = cluster.kubectl("api-resources", "--no-headers", check=False).stdout
    return all(kind["spec"]["names"]["kind"] in shown for kind in other_kinds())


def dry_run(cluster: Cluster, objects: list[Manifest]) -> list[Manifest]:
    """The objects as the API server would store them; it refuses a field that it does not know."""
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    shown = cluster.kubectl("apply", *DRY, "-o", "json", "-f", "-", input=body)
    assert shown.stderr == "", shown.stderr
    stored = json.loads(shown.stdout)
    items: list[Manifest] = stored["items"] if stored["kind"] == "List" else [stored]
    return items


@pytest.mark.parametrize("name", MATRIX)
def test_the_api_server_accepts_what_the_chart_renders(control_plane: Cluster, name: str) -> None:
    objects = render(MATRIX[name], hooks=True)
    assert len(dry_run(control_plane, objects)) == len(objects)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_server_accepts_an_overlay(control_plane: Cluster, overlay: str) -> None:
    objects = kustomize(overlay)
    assert len(dry_run(control_plane, objects)) == len(objects)


def test_one_file_is_all_that_kubectl_needs(control_plane: Cluster) -> None:
    applied = control_plane.kubectl(
        "apply", *DRY, "-f", str(DEPLOY / "plimsoll.yaml"), "-o", "name"
    ).stdout.split()
    assert applied[0] == "namespace/plimsoll-system"
    assert len(applied) == len(kustomize("default"))


def test_the_api_server_adds_nothing_to_registration_and_floor(control_plane: Cluster) -> None:
    """GitOps compares what it applied with what is there: a default left out is drift for ever."""
    kinds = (
        "ValidatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    )
    for given in ({}, {"tls": {"mode": "cert-manager"}}):
        objects = [obj for obj in render(given) if obj["kind"] in kinds]
        assert len(objects) == 8
        for sent, stored in zip(objects, dry_run(control_plane, objects), strict=True):
            for part in ("webhooks", "spec"):
                assert stored.get(part) == sent.get(part), sent["kind"]


@pytest.mark.parametrize("how", [("--server-side", "--field-manager=helm"), ()])
def test_an_authority_that_the_controller_wrote_survives_being_applied_again(
    control_plane: Cluster, how: tuple[str, ...]
) -> None:
    nowhere = {"namespaceSelector": {"matchLabels": {"nobody": "has-this"}}}
    objects = render({"fullnameOverride": "twice", "webhook": nowhere})
    sent = one(objects, "ValidatingWebhookConfiguration", "twice")
    control_plane.apply([sent], *how)
    try:
        path = "/webhooks/0/clientConfig/caBundle"
        patch = json.dumps([{"op": "add", "path": path, "value": AUTHORITY}])
        which = (sent["kind"], sent["metadata"]["name"])
        written_by = "--field-manager=plimsoll-controller"
        control_plane.kubectl("patch", *which, "--type=json", written_by, "-p", patch)
        sent["webhooks"][0]["timeoutSeconds"] = 9
        control_plane.apply([sent], *how)
        (webhook,) = control_plane.get(*which)["webhooks"]
        assert webhook["timeoutSeconds"] == 9
        assert webhook["clientConfig"]["caBundle"] == AUTHORITY
    finally:
        control_plane.kubectl("delete", *which)


@pytest.mark.parametrize("name", ["defaults", "bare", "names"])
def test_pods_are_let_into_a_restricted_namespace(control_plane: Cluster, name: str) -> None:
    objects = render(MATRIX[name], hooks=True)
    pods = [
        (o["metadata"]["name"], o["spec"]["template"]["spec"]) for o in find(objects, "Deployment")
    ]
    pods += [(o["metadata"]["name"], o["spec"]) for o in find(objects, "Pod")]
    assert len(pods) >= 2
    for pod_name, spec in pods:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod_name}, "spec": spec}
        control_plane.kubectl(
            "create", "--dry-run=server", "-n", RESTRICTED, "-f", "-", input=json.dumps(pod)
        )
        worse = copy.deepcopy(pod)
        worse["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        refused = control_plane.kubectl(
            "create",
            "--dry-run=server",
            "-n",
            RESTRICTED,
            "-f",
            "-",
            input=json.dumps(worse),
            check=False,
        )
        assert "violates PodSecurity" in refused.stderr


def test_containers_write_nowhere_and_are_nobody(control_plane: Cluster) -> None:
    for obj in dry_run(control_plane, find(render(), "Deployment")):
        spec = obj["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert all(mount.get("readOnly") for mount in container.get("volumeMounts", ()))
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]
    for account in find(render(hooks=True), "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_helm_finds_nothing_to_complain_of() -> None:
    for given in MATRIX.values():
        assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), values=given).stdout


def test_helm_itself_accepts_a_server_side_dry_run(control_plane: Cluster) -> None:
    shown = helm(
        "install",
        "plimsoll",
        str(CHART),
        "--namespace",
        NAMESPACE,
        "--dry-run=server",
        "--take-ownership",
        kubeconfig=control_plane.kubeconfig,
    ).stdout
    for part in (
        "rollout status deployment/plimsoll-webhook",
        "helm test plimsoll",
        "plimsoll.dev/policy=warn",
        "the CustomResourceDefinitions with every LLMDeployment, AcceleratorPool and SizingPolicy",
        "the Secrets plimsoll-webhook-tls and plimsoll-webhook-tls-ca",
        "the Lease plimsoll-controller",
    ):
        assert part in shown


@pytest.fixture
def account(control_plane: Cluster, namespace: str, tmp_path: Path) -> Path:
    """The folder that a pod of `helm test` finds its service account in."""
    objects = render({"helmTest": {"namespace": namespace}}, namespace=namespace, hooks=True)
    mine = [o for o in objects if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    control_plane.apply([o for o in mine if o["kind"] != "Pod"])
    pod = one(mine, "Pod")
    kubeconfig = control_plane.kubeconfig_for_service_account(
        namespace, pod["spec"]["serviceAccountName"]
    )
    config = json.loads(kubeconfig.read_text())
    (tmp_path / "token").write_text(config["users"][0]["user"]["token"])
    cluster = config["clusters"][0]["cluster"]
    raw = control_plane.kubectl(
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.clusters[0].cluster.certificate-authority-data}",
    ).stdout
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(raw))
    (tmp_path / "server").write_text(cluster["server"])
    return tmp_path


def helm_test(account: Path, namespace: str, gpus: int) -> subprocess.CompletedProcess[str]:
    """The program of `helm test` as the pod runs it."""
    pod = one(render(hooks=True), "Pod")["spec"]["containers"][0]
    assert pod["command"][0] == "python3"
    server = urlsplit((account / "server").read_text())
    environment = os.environ | {
        "ACCOUNT": str(account),
        "TRIES": "1",
        "NAMESPACE": namespace,
        "GPUS": str(gpus),
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }
    command = [sys.executable, *pod["command"][1:], *pod["args"]]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def floor(control_plane: Cluster, namespace: str) -> Iterator[None]:
    """The chart's floor, in force."""
    objects = [obj for obj in render() if "AdmissionPolicy" in obj["kind"]]
    control_plane.apply(objects)
    yield
    for obj in objects:
        control_plane.kubectl("delete", obj["kind"], obj["metadata"]["name"])


def test_helm_test_passes_if_the_floor_refuses(
    control_plane: Cluster, namespace: str, account: Path, floor: None
) -> None:
    passed = until(lambda: _passed(helm_test(account, namespace, gpus=1)), 30)
    assert "refused, as it should be" in passed
    assert "the weights alone are 131 GiB" in passed
    assert control_plane.get("llmd", "-n", namespace)["items"] == []


def _passed(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_helm_test_fails_if_nothing_refuses_and_says_where_to_look(
    namespace: str, account: Path
) -> None:
    failed = helm_test(account, namespace, gpus=2)
    assert failed.returncode == 1
    assert "not yet: it was let in" in failed.stdout
    assert "Next: is the webhook ready" in failed.stdout


def test_the_right_to_run_dry_starts_is_given_where_they_are_enabled_and_nowhere_else() -> None:
    def given(values: dict[str, object]) -> tuple[bool, bool]:
        made = render(values)
        rules = one(made, "ClusterRole", "plimsoll-controller")["rules"]
        right = any("jobs" in rule["resources"] and "create" in rule["verbs"] for rule in rules)
        pod = one(made, "Deployment", "plimsoll-controller")["spec"]["template"]["spec"]
        names = [variable["name"] for variable in pod["containers"][0]["env"]]
        return right, "PLIMSOLL_DRY_STARTS" in names

    assert given({}) == (False, False)
    assert given({"dryStart": {"enabled": True}}) == (True, True)
