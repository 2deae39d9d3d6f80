"""Claims about what the chart renders: who runs what, with which rights, under which names.

Needs the real helm and no API server; test_chart_objects.py shows the objects to one.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import plimsoll
from chart import CHART, by_name, find, one, render, settings
from plimsoll_operator.api.webhook import webhook_configuration, workloads_configuration
from plimsoll_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chart import Manifest

CA = "LS0tLS1CRUdJTg=="
DIGEST = "sha256:" + "a" * 64
GIVEN = {"tls": {"mode": "secret", "secret": {"name": "mine", "caBundle": CA}}}


def test_the_network_policy_lets_in_reviews_and_metrics_and_out_only_what_is_needed() -> None:
    given = {"egress": True, "apiServerCidrs": ["10.0.0.1/32"], "apiServerPorts": [6443]}
    policies = find(render({"networkPolicy": given}), "NetworkPolicy")
    ports = {}
    for policy in policies:
        component = policy["metadata"]["labels"]["app.kubernetes.io/component"]
        spec = policy["spec"]
        assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
        ports[component] = [
            {port["port"] for rule in spec[way] for port in rule["ports"]}
            for way in ("ingress", "egress")
        ]
        assert spec["egress"][-1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    assert ports == {"webhook": [{9443, 8080}, {53, 6443}], "controller": [{8080}, {53, 6443}]}


def test_by_default_nothing_comes_in_but_reviews_and_metrics() -> None:
    api_server = [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    for values, peers in (({}, None), ({"networkPolicy": {"webhookFrom": api_server}}, api_server)):
        policies = find(render(values), "NetworkPolicy")
        assert [policy["spec"]["policyTypes"] for policy in policies] == [["Ingress"]] * 2
        (rule,) = [
            rule
            for policy in policies
            for rule in policy["spec"]["ingress"]
            if rule["ports"][0]["port"] == 9443
        ]
        assert rule.get("from") == peers
    assert find(render({"networkPolicy": {"enabled": False}}), "NetworkPolicy") == []


def test_the_authorities_of_clients_are_mounted_and_asked_for_if_they_are_named() -> None:
    given = {"webhook": {"clientCA": {"configMap": "api-server-ca", "key": "authority.crt"}}}
    for values, wanted in ((given, 1), ({}, 0)):
        pod = one(render(values), "Deployment", "plimsoll-webhook")["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        asked = [
            variable["value"]
            for variable in container["env"]
            if variable["name"] == "PLIMSOLL_CLIENT_CA_FILE"
        ]
        assert asked == ["/client-ca/authority.crt"] * wanted
        mounts = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "client-ca"]
        assert mounts == ["/client-ca"] * wanted
        volumes = [v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "client-ca"]
        assert volumes == ["api-server-ca"] * wanted


def test_the_registration_is_the_one_that_tests_and_dev_use() -> None:
    service = {"name": "plimsoll-webhook", "namespace": "plimsoll-system", "path": "/fit"}
    client = {"service": service | {"port": 443}}
    for name, make in (
        ("plimsoll", webhook_configuration),
        ("plimsoll-workloads", workloads_configuration),
    ):
        made = one(render(), "ValidatingWebhookConfiguration", name)
        assert made["webhooks"] == make(name, client)["webhooks"]


def test_who_does_not_want_other_kinds_guarded_has_no_registration_for_them() -> None:
    objects = render({"guard": {"enabled": False}})
    assert one(objects, "ValidatingWebhookConfiguration")["metadata"]["name"] == "plimsoll"
    assert settings(objects, "controller")["webhook_configuration"] == "plimsoll"
    assert "plimsoll-workloads" not in json.dumps(objects)


def test_who_says_of_which_namespaces_reviews_of_other_kinds_are_sent() -> None:
    given = {"guard": {"namespaceSelector": {"matchExpressions": [], "matchLabels": {"a": "b"}}}}
    hooks = one(render(given), "ValidatingWebhookConfiguration", "plimsoll-workloads")["webhooks"]
    for hook in hooks:
        (names,) = hook["namespaceSelector"]["matchExpressions"]
        assert names["operator"] == "NotIn"
        assert hook["namespaceSelector"]["matchLabels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("given", "client"),
    [
        ({}, {"service"}),
        ({"tls": {"mode": "cert-manager"}}, {"service"}),
        (GIVEN, {"service", "caBundle"}),
        ({"webhook": {"url": {"host": "there.example:8443"}}}, {"url"}),
        (GIVEN | {"webhook": {"url": {"host": "there.example:8443"}}}, {"url", "caBundle"}),
    ],
)
def test_the_authority_is_rendered_only_if_nobody_else_writes_it(
    given: Mapping[str, Any], client: set[str]
) -> None:
    hooks = [
        h for one in find(render(given), "ValidatingWebhookConfiguration") for h in one["webhooks"]
    ]
    assert len(hooks) == 3
    for webhook in hooks:
        assert set(webhook["clientConfig"]) == client
        assert webhook["clientConfig"].get("url") in (None, "https://there.example:8443/fit")


def test_a_webhook_elsewhere_is_certified_under_the_name_that_it_is_asked_by() -> None:
    for host, part in (("there.example:8443", "dnsNames"), ("10.0.0.1", "ipAddresses")):
        given = {"webhook": {"url": {"host": host}}}
        assert settings(render(given), "controller")["webhook_dns_names"] == host
        certificate = find(render(given | {"tls": {"mode": "cert-manager"}}), "Certificate")[-1]
        assert host.partition(":")[0] in certificate["spec"][part]


def test_the_same_values_render_the_same_objects() -> None:
    assert render(hooks=True) == render(hooks=True)
    for path in (CHART / "templates").rglob("*.*"):
        actions = " ".join(re.findall(r"\{\{.*?\}\}", path.read_text(), re.DOTALL))
        unstable = re.findall(r"\b(lookup|gen[A-Z]\w+|rand\w+|now|uuidv4)\b", actions)
        assert unstable == [], path.name
    hooks = [
        o for o in render(hooks=True) if "helm.sh/hook" in o["metadata"].get("annotations", {})
    ]
    assert {o["metadata"]["annotations"]["helm.sh/hook"] for o in hooks} == {"test"}


def test_webhook_and_controller_run_what_the_image_has_with_settings_that_exist() -> None:
    known = {f"PLIMSOLL_{field.name.upper()}": field for field in dataclasses.fields(Settings)}
    objects = render({"webhook": {"url": {"host": "there.example"}}})
    for deployment, command in (("webhook", "admission"), ("controller", "controller")):
        (container,) = _pod(objects, deployment)["containers"]
        for variable in container["env"]:
            assert known[variable["name"]].metadata["used_by"] in (command, "both")
        mounted = {mount["mountPath"] for mount in container.get("volumeMounts", ())}
        assert mounted == ({str(Path(Settings().tls_cert).parent)} if mounted else set())
        assert container["args"] == [command]
        assert container["image"] == f"ghcr.io/plimsoll/plimsoll:{plimsoll.__version__}"


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ({"tag": "1.2.3"}, "ghcr.io/plimsoll/plimsoll:1.2.3"),
        ({"registry": "mirror.example:5000"}, "mirror.example:5000/plimsoll/plimsoll:0.1.0"),
        ({"registry": "", "repository": "mine"}, "mine:0.1.0"),
        ({"tag": "x", "digest": DIGEST}, f"ghcr.io/plimsoll/plimsoll@{DIGEST}"),
    ],
)
def test_the_image_comes_from_where_the_values_say(image: dict[str, str], wanted: str) -> None:
    pods = find(render({"image": image}, hooks=True), "Pod")
    images = {
        _pod(render({"image": image}), name)["containers"][0]["image"]
        for name in ("webhook", "controller")
    }
    assert images | {pod["spec"]["containers"][0]["image"] for pod in pods} == {wanted}


def test_two_webhooks_keep_apart_and_one_stays_up() -> None:
    objects = render()
    assert one(objects, "Deployment", "plimsoll-webhook")["spec"]["replicas"] == 2
    budget = one(objects, "PodDisruptionBudget")["spec"]
    pod = one(objects, "Deployment", "plimsoll-webhook")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert budget["minAvailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    assert pod["spec"]["affinity"]["podAntiAffinity"]
    service = one(objects, "Service")["spec"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] in {
        p["name"] for p in pod["spec"]["containers"][0]["ports"]
    }


def test_a_single_webhook_never_blocks_the_drain_of_its_node() -> None:
    assert not find(render({"webhook": {"replicas": 1}}), "PodDisruptionBudget")


def test_a_controller_without_a_lease_is_never_there_twice() -> None:
    alone = render({"controller": {"leaderElection": {"enabled": False}}})
    deployment = one(alone, "Deployment", "plimsoll-controller")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert "leases" not in json.dumps(find(alone, "Role"))


def test_labels_of_the_user_reach_every_object_and_pod() -> None:
    given = {
        "commonLabels": {"team": "gpu"},
        "networkPolicy": {"enabled": True},
        "tls": {"mode": "cert-manager"},
        "metrics": {
            part: {"enabled": True}
            for part in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")
        },
    }
    for obj in render(given, hooks=True):
        assert obj["metadata"]["labels"]["team"] == "gpu", obj["kind"]
        if obj["kind"] == "Deployment":
            assert obj["spec"]["template"]["metadata"]["labels"]["team"] == "gpu"
            assert "team" not in obj["spec"]["selector"]["matchLabels"]


def test_each_process_has_only_its_own_rights_and_secrets_only_if_it_issues_them() -> None:
    objects = render()
    webhook = one(objects, "ClusterRole", "plimsoll-webhook")["rules"]
    assert {verb for rule in webhook for verb in rule["verbs"]} == {"list", "watch", "create"}
    for given in ({"tls": {"mode": "cert-manager"}}, GIVEN, {"webhook": {"enabled": False}}):
        rules = json.dumps([o.get("rules") for o in render(given)])
        assert "secrets" not in rules, given
        assert "validatingwebhookconfigurations" not in rules, given
    for obj in objects:
        for rule in obj.get("rules", ()) if "Role" in obj["kind"] else ():
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            if obj["kind"] == "ClusterRole":
                assert "secrets" not in rule["resources"]
            if {"secrets", "leases"} & set(rule["resources"]):
                assert (rule["verbs"] == ["create"]) != ("resourceNames" in rule)


def test_rights_are_bound_to_the_accounts_that_the_pods_use() -> None:
    names = {"webhook": {"serviceAccount": {"create": False, "name": "mine"}}}
    for given in ({}, names, {"fullnameOverride": "other"}):
        objects = render(given)
        accounts = {o["metadata"]["name"] for o in find(objects, "ServiceAccount")}
        for deployment in find(objects, "Deployment"):
            account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
            assert account in accounts | {"mine"}
            bindings = find(objects, "ClusterRoleBinding") + find(objects, "RoleBinding")
            assert account in {binding["subjects"][0]["name"] for binding in bindings}


def test_another_release_name_collides_with_nothing() -> None:
    first = by_name(render())
    second = by_name(render({"crds": {"enabled": False}}, release="two", namespace="two"))
    assert not first.keys() & second.keys()


def test_without_the_webhook_nothing_of_it_is_there() -> None:
    text = json.dumps(render({"webhook": {"enabled": False}}, hooks=True))
    for word in ("plimsoll-webhook", "ValidatingWebhookConfiguration", "PLIMSOLL_WEBHOOK", "/tls"):
        assert word not in text


def test_the_definitions_stay_unless_they_are_told_to_go() -> None:
    kind = "CustomResourceDefinition"
    kept = find(render(), kind)
    assert kept
    for one_of_them in kept:
        assert one_of_them["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for one_of_them in find(render({"crds": {"keep": False}}), kind):
        assert "annotations" not in one_of_them["metadata"]
    assert not find(render({"crds": {"enabled": False}}), kind)


def _pod(objects: list[Manifest], component: str) -> dict[str, Any]:
    deployment = one(objects, "Deployment", f"plimsoll-{component}")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def test_models_are_resolved_only_if_it_is_wanted_and_with_no_more_rights_than_that() -> None:
    def of(values: dict[str, Any]) -> tuple[dict[str, Any], list[Any], list[Any]]:
        objects = render({"networkPolicy": {"enabled": True, "egress": True}, **values})
        by = {(o["kind"], o["metadata"]["name"]): o for o in objects}
        (container,) = by["Deployment", "plimsoll-controller"]["spec"]["template"]["spec"][
            "containers"
        ]
        environment = {one["name"]: one for one in container["env"]}
        rules = by["Role", "plimsoll-controller"]["rules"]
        creates = [r for r in rules if "configmaps" in r["resources"]]
        egress = by["NetworkPolicy", "plimsoll-controller"]["spec"]["egress"]
        assert by["NetworkPolicy", "plimsoll-webhook"]["spec"]["egress"] == egress[:2]
        return environment, creates, egress[2:]

    environment, creates, egress = of({})
    assert "PLIMSOLL_RESOLVE_MODELS" not in environment
    assert (creates, egress) == ([], [])
    environment, creates, egress = of(
        {
            "resolver": {
                "enabled": True,
                "endpoint": "https://mirror.example",
                "proxy": "http://proxy.example:3128",
                "tokenSecret": {"name": "hub"},
                "egressPorts": [3128],
                "egressCidrs": ["10.1.0.0/16"],
            }
        }
    )
    assert environment["HF_ENDPOINT"]["value"] == "https://mirror.example"
    assert environment["HTTPS_PROXY"]["value"] == "http://proxy.example:3128"
    assert environment["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    assert creates == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]
    assert egress == [
        {
            "ports": [{"port": 3128, "protocol": "TCP"}],
            "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        }
    ]
    offline = of({"resolver": {"enabled": True, "offline": True, "cache": {"existingClaim": "c"}}})
    assert offline[0]["HF_HUB_OFFLINE"]["value"] == "1"
    assert offline[2] == []
