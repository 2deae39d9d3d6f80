"""Claims about the chart's values: what is refused, and that each is documented.

Needs the real helm and no API server.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import plimsoll
from chart import CHART, HelmError, find, one, render
from chart.readme import values
from controlplane.build import HELM, ProgramSet

if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({"replicaCount": 2}, "'replicaCount' not allowed"),
    ({"crds": {"install": True}}, "at '/crds': additional properties 'install' not allowed"),
    ({"webhook": {"replica": 2}}, "at '/webhook': additional properties 'replica' not allowed"),
    ({"webhook": {"replicas": "two"}}, "at '/webhook/replicas': got string, want integer"),
    ({"webhook": {"replicas": -1}}, "at '/webhook/replicas': minimum"),
    ({"webhook": {"failurePolicy": "fail"}}, "at '/webhook/failurePolicy': value must be one of"),
    ({"webhook": {"timeoutSeconds": 31}}, "at '/webhook/timeoutSeconds': maximum"),
    ({"webhook": {"port": 443}}, "at '/webhook/port': minimum"),
    ({"webhook": {"url": {"host": "https://x"}}}, "at '/webhook/url/host'"),
    ({"webhook": {"tolerations": [{"key": 1}]}}, "at '/webhook/tolerations/0/key'"),
    ({"webhook": {"extraEnv": [{"value": "x"}]}}, "at '/webhook/extraEnv/0': missing property"),
    ({"webhook": {"resources": {"limits": {"memory": "lots"}}}}, "/webhook/resources/limits"),
    ({"tls": {"mode": "letsencrypt"}},
     "at '/tls/mode': value must be one of 'self-managed', 'cert-manager', 'secret'"),
    ({"tls": {"secret": {"caBundle": "-----BEGIN"}}}, "at '/tls/secret/caBundle'"),
    ({"tls": {"certManager": {"issuerRef": {"kind": "ClusterIssuer"}}}},
     "at '/tls/certManager/issuerRef'"),
    ({"tls": {"certManager": {"duration": "90d"}}}, "at '/tls/certManager/duration'"),
    ({"image": {"digest": "sha256:abc"}}, "at '/image/digest'"),
    ({"image": {"pullPolicy": "always"}}, "at '/image/pullPolicy'"),
    ({"commonLabels": {"team": "a b"}}, "at '/commonLabels/team'"),
    ({"floor": {"validationActions": []}}, "at '/floor/validationActions'"),
    ({"networkPolicy": {"apiServerCidrs": ["10.0.0.1"]}}, "/networkPolicy/apiServerCidrs/0"),
    ({"helmTest": {"namespace": ""}}, "at '/helmTest/namespace'"),
    # what a schema cannot say
    ({"tls": {"mode": "secret"}}, "tls.secret.name: needed with tls.mode=secret"),
    ({"tls": {"mode": "secret", "secret": {"name": "mine"}}}, "tls.secret.caBundle: needed"),
    ({"controller": {"replicas": 2, "leaderElection": {"enabled": False}}},
     "controller.replicas: 2 without controller.leaderElection.enabled"),
    ({"controller": {"page": {"enabled": True, "port": 8080}}},
     "controller.page.port: 8080 is controller.metricsPort too"),
    ({"webhook": {"podDisruptionBudget": {"maxUnavailable": 1}}},
     "webhook.podDisruptionBudget: give minAvailable or maxUnavailable"),
    ({"floor": {"validationActions": ["Deny", "Warn"]}}, "floor.validationActions: Deny and Warn"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"), REFUSED, ids=[json.dumps(given) for given, _ in REFUSED]
)
def test_wrong_values_are_refused_by_a_sentence_that_names_them(
    given: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(HelmError, match=re.escape(said)):
        render(given)


HARDENED: Mapping[str, Any] = {
    "securityProfile": "hardened",
    "image": {"digest": "sha256:" + "a" * 64},
    "networkPolicy": {
        "webhookFrom": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
        "metricsFrom": [{"podSelector": {}}],
        "apiServerCidrs": ["10.0.0.1/32"],
    },
}


def test_the_hardened_profile_names_everything_at_once_that_it_cannot_know() -> None:
    loose = {
        "securityProfile": "hardened",
        "webhook": {"replicas": 1, "failurePolicy": "Ignore", "hostNetwork": True},
        "floor": {"enabled": False},
        "networkPolicy": {"enabled": False},
    }
    with pytest.raises(HelmError) as refused:
        render(loose)
    for value in (
        "image.digest", "webhook.replicas: 1", "webhook.failurePolicy: Ignore",
        "webhook.hostNetwork", "floor.enabled=true", "networkPolicy.enabled",
        "networkPolicy.webhookFrom", "networkPolicy.metricsFrom", "networkPolicy.apiServerCidrs",
    ):  # fmt: skip
        assert value in str(refused.value)


def test_the_hardened_profile_asks_for_the_api_servers_certificate_and_lets_little_out() -> None:
    objects = render(HARDENED)
    pod = one(objects, "Deployment", "plimsoll-webhook")["spec"]["template"]["spec"]
    environment = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    assert environment["PLIMSOLL_CLIENT_CA_FILE"] == "/client-ca/ca.crt"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["client-ca"]["configMap"]["name"] == "plimsoll-client-ca"
    for policy in (o for o in objects if o["kind"] == "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert policy["spec"]["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


def test_kube_system_is_no_place_for_a_release() -> None:
    with pytest.raises(HelmError, match="release namespace kube-system"):
        render(namespace="kube-system")


def test_every_value_is_in_the_schema_and_every_value_has_a_description() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    for value in values():
        node = schema
        for part in value.path.split("."):
            while "$ref" in node:
                node = schema["definitions"][node["$ref"].rpartition("/")[2]]
            assert node["additionalProperties"] is False, value.path
            node = node["properties"][part]
        assert value.text.endswith("."), value.path


def test_the_schema_knows_no_value_that_is_not_documented() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    documented = {value.path for value in values()}

    def check(node: dict[str, Any], path: str) -> None:
        if path in documented or path == "global":
            return
        if "$ref" in node:
            node = schema["definitions"][node["$ref"].rpartition("/")[2]]
        assert node.get("properties"), f"{path}: is in no comment of values.yaml"
        for name, inner in node["properties"].items():
            check(inner, f"{path}.{name}".lstrip("."))

    check(schema, "")


def variables(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a process's container, as far as it is plain text."""
    pod = one(render(values), "Deployment", name)["spec"]["template"]["spec"]
    return {v["name"]: v.get("value", "") for v in pod["containers"][0]["env"]}


def test_both_processes_read_the_same_kept_start_ups() -> None:
    for name in ("plimsoll-controller", "plimsoll-webhook"):
        told = variables(name, {"calibration": {"configMap": "ours"}})
        assert told["PLIMSOLL_CALIBRATION"] == "plimsoll-system/ours"
        assert "PLIMSOLL_CALIBRATION" not in variables(name, {})


def test_the_page_is_off_and_needs_no_right_and_no_port_of_the_pod() -> None:
    assert "PLIMSOLL_PAGE" not in variables("plimsoll-controller", {})
    wanted = {"controller": {"page": {"enabled": True, "port": 9000}}}
    told = variables("plimsoll-controller", wanted)
    assert (told["PLIMSOLL_PAGE"], told["PLIMSOLL_PAGE_PORT"]) == ("true", "9000")

    def but_pods(values: Mapping[str, Any]) -> list[Any]:
        return [made for made in render(values) if made["kind"] != "Deployment"]

    assert but_pods(wanted) == but_pods({})
    pod = one(render(wanted), "Deployment", "plimsoll-controller")["spec"]["template"]["spec"]
    assert [port["name"] for port in pod["containers"][0]["ports"]] == ["metrics"]


def test_older_kubernetes_is_refused_and_a_providers_suffix_is_not() -> None:
    assert render(arguments=["--kube-version", "1.30.4-gke.1129000"])
    with pytest.raises(HelmError, match=r"kubeVersion: >=1\.30\.0-0"):
        render(arguments=["--kube-version", "1.29.8"])


def test_one_version_everywhere() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == plimsoll.__version__
    assert f":{plimsoll.__version__}\n" in chart["annotations"]["artifacthub.io/images"]


def test_what_artifact_hub_reads_is_yaml_and_the_example_is_a_real_one() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    for name in ("images", "crds", "crdsExamples", "changes"):
        assert isinstance(yaml.safe_load(annotations[f"artifacthub.io/{name}"]), list), name
    listed = {crd["name"]: crd for crd in yaml.safe_load(annotations["artifacthub.io/crds"])}
    rendered = find(render(), "CustomResourceDefinition")
    assert set(listed) == {crd["metadata"]["name"] for crd in rendered}
    for crd in rendered:
        said = listed[crd["metadata"]["name"]]
        assert said["kind"] == crd["spec"]["names"]["kind"]
        assert [version["name"] for version in crd["spec"]["versions"]] == [said["version"]]


def test_helm_is_pinned_to_one_version() -> None:
    assert ProgramSet(HELM).version.startswith("v4.")
