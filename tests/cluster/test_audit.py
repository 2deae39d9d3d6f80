"""Claims about the controller's audit of what runs, on a real API server.

The garbage collector does not run here: that a report goes with its object is said by its owner
reference, and the next round removes it as well.
"""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from chart import render
from cluster.fixtures_operator import free_port, llm_deployment, operator_process, until
from cluster.plane import LLAMA, own_plane
from cluster.report_kinds import OPEN_REPORTS, POLICY_REPORTS
from cluster.workloads import deployment
from commands import run
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster.fixtures_operator import OperatorProcess
    from controlplane import ControlPlane

plane = own_plane(nodes=[gpu_node("a"), gpu_node("b", "l4")])
A100, L4 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4"
QWEN = ["--model=Qwen/Qwen2.5-7B-Instruct", "--max-model-len=8192"]
LARGE = ["--model=meta-llama/Llama-3.3-70B-Instruct"]
WIDE = [*QWEN, "--tensor-parallel-size=4"]
PRIVATE = ["--model=/models/ours"]


@pytest.fixture(scope="module", autouse=True)
def objects(plane: ControlPlane) -> None:
    """The rights of the chart with the audit, and what runs in two namespaces."""
    rights = render({"controller": {"audit": {"enabled": True}}})
    plane.apply([one for one in rights if one["metadata"]["name"] == "plimsoll-audit"])
    labels = {"plimsoll.dev/workloads": "audit"}
    plane.apply([namespace("watched", labels), namespace("other", {})])
    wide = deployment("wide", WIDE, 4, A100, "watched")
    plane.apply(
        [
            wide,
            deployment("large", LARGE, 1, L4, "watched"),
            deployment("fits", QWEN, 1, L4, "watched"),
            deployment("large", LARGE, 1, L4, "other"),
            deployment("web", [], 0, L4, "watched", image="nginx:1.29"),
        ]
    )
    uid = plane.get("deployment", "wide", "-n", "watched")["metadata"]["uid"]
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "wide", "uid": uid}
    made = {**wide, "kind": "ReplicaSet", "spec": {**wide["spec"], "replicas": 1}}
    made["metadata"] = {
        "name": "wide-1",
        "namespace": "watched",
        "ownerReferences": [{**owner, "controller": True}],
    }
    plane.apply([made])


def namespace(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@contextlib.contextmanager
def auditing(account: Path, folder: Path, **more: object) -> Iterator[OperatorProcess]:
    """A controller that audits every second, with the rights of the chart and no others."""
    settings = {"audit_seconds": 1, "controller_deciders": 1, **more}
    with operator_process("controller", account, folder, settings) as controller:
        until(audited(controller), 30, "an audit has ended")
        yield controller


def audited(controller: OperatorProcess) -> Callable[[], object]:
    """Whether an audit has ended."""
    return lambda: controller.metric("plimsoll_audit_last_timestamp_seconds")


def reports(plane: ControlPlane, kind: str) -> dict[str, dict[str, Any]]:
    """The reports of all namespaces by the object that they are on."""
    found = plane.get(kind, "-A")["items"]
    return {
        f"{r['scope']['kind']} {r['scope']['namespace']}/{r['scope']['name']}": r for r in found
    }


def test_without_a_kind_to_report_in_there_are_metrics_and_no_complaint(
    plane: ControlPlane, account: Path, tmp_path: Path
) -> None:
    with auditing(account, tmp_path) as controller:
        assert controller.metric('plimsoll_audit_engines{found="misfit"}') == 1
        assert controller.metric('plimsoll_audit_engines{found="fits"}') == 2
        assert controller.metric("plimsoll_audit_gpus") == 6
        assert controller.metric("plimsoll_audit_gpus_to_win") == 3
        assert controller.metric("plimsoll_audit_reports_written_total") == 0
        said = [line for line in controller.log().splitlines() if "controller.audit" in line]
        assert said
        assert not [line for line in said if " INFO " not in line]


def rows(page: str) -> dict[str, str]:
    """Each object of a page as it stands there, by its key."""
    return dict(re.findall(r'<li class=\S+ data-k="(.*?)"(.*?)</details>', page, re.DOTALL))


def test_the_controllers_page_shows_what_report_makes_of_the_same_cluster(
    plane: ControlPlane, account: Path, tmp_path: Path
) -> None:
    mine = [
        llm_deployment("small", "watched", {"engine": {"maxModelLen": 8192}}),
        llm_deployment("big", "watched", {"accelerator": {"allowed": ["nvidia-l4"]}}, uri=LLAMA),
    ]
    bound = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "SizingPolicy",
        "metadata": {"name": "small-teams"},
        "spec": {"maxGPUsPerReplica": 2},
    }
    plane.apply([*mine, bound])
    said = run(
        *("report", "--cluster", "--to", "-"),
        *("--kubectl", plane.kubectl_path, "--kubeconfig", plane.kubeconfig),
    )
    assert (said.exit_code, said.stderr) == (0, "")
    wanted = {key: row for key, row in rows(said.stdout).items() if " other/" not in key}
    assert {key.split("/")[1] for key in wanted} == {"small", "big", "wide", "large", "fits"}
    port = free_port()
    with auditing(account, tmp_path, page=True, page_port=port):
        with urllib.request.urlopen(f"http://localhost:{port}/", timeout=60) as answer:
            headers, page = answer.headers, answer.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(f"http://localhost:{port}/", data=b"x", timeout=10)
    assert rows(page) == wanted
    (wide,) = (row for key, row in wanted.items() if key.endswith("/wide"))
    assert "SizingPolicy small-teams allows at most 2 GPUs a replica" in wide
    assert "Not read" not in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    plane.kubectl("delete", "llmd", "--all", "-n", "watched")
    plane.kubectl("delete", "sizingpolicies", "--all")


def test_where_only_the_older_kind_is_there_reports_are_written_in_it(
    plane: ControlPlane, account: Path, tmp_path: Path
) -> None:
    plane.apply([POLICY_REPORTS])
    with auditing(account, tmp_path):
        wanted = until(lambda: reports(plane, "policyreports"), 30, "reports are there")
        assert "Deployment watched/large" in wanted
        (result,) = wanted["Deployment watched/large"]["results"]
        assert (result["result"], result["rule"]) == ("fail", "PL001")


@pytest.fixture(scope="module")
def open_reports(plane: ControlPlane) -> None:
    """With the kinds of both."""
    plane.apply([OPEN_REPORTS, POLICY_REPORTS])
    wait = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=5s")
    until(lambda: plane.kubectl(*wait, check=False).returncode == 0, 30)


@pytest.mark.usefixtures("open_reports")
def test_each_object_that_serves_an_llm_has_one_report_that_it_owns(
    plane: ControlPlane, account: Path, tmp_path: Path
) -> None:
    with auditing(account, tmp_path):
        until(lambda: len(reports(plane, "reports")) >= 3, 30, "reports are there")
        found = reports(plane, "reports")
    assert set(found) == {f"Deployment watched/{name}" for name in ("wide", "large", "fits")}
    large = found["Deployment watched/large"]
    (owner,) = large["metadata"]["ownerReferences"]
    there = plane.get("deployment", "large", "-n", "watched")["metadata"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Deployment", "large", there["uid"])
    assert large["source"] == "plimsoll"
    assert large["summary"] == {"pass": 0, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    (result,) = large["results"]
    assert (result["result"], result["severity"], result["rule"]) == ("fail", "high", "PL001")
    assert "meta-llama/Llama-3.3-70B-Instruct does not fit on 1 x nvidia-l4" in result["message"]
    assert result["timestamp"]["seconds"] > 0
    assert found["Deployment watched/fits"]["summary"]["pass"] == 1
    waste = {one["rule"]: one for one in found["Deployment watched/wide"]["results"]}
    assert waste["PL580"]["result"] == "warn"
    assert "1 x nvidia-a100-80gb a replica would do, it has 4" in waste["PL580"]["message"]


@pytest.mark.usefixtures("open_reports")
def test_a_report_is_written_again_only_if_it_says_something_else(
    plane: ControlPlane, account: Path, tmp_path: Path
) -> None:
    with auditing(account, tmp_path) as controller:
        until(lambda: len(reports(plane, "reports")) >= 3, 30)
        before = reports(plane, "reports")
        ended = controller.metric("plimsoll_audit_last_timestamp_seconds") or 0.0
        until(
            lambda: (controller.metric("plimsoll_audit_last_timestamp_seconds") or 0) > ended + 2,
            30,
            "two more rounds",
        )
        assert reports(plane, "reports") == before
        plane.apply([deployment("large", QWEN, 1, L4, "watched")])
        until(
            lambda: reports(plane, "reports")["Deployment watched/large"]["summary"]["pass"] == 1,
            30,
            "the report says that it fits",
        )


@pytest.mark.usefixtures("open_reports")
def test_reports_go_with_their_objects_and_with_the_label(
    plane: ControlPlane, account: Path, tmp_path: Path
) -> None:
    with auditing(account, tmp_path):
        until(lambda: len(reports(plane, "reports")) >= 3, 30)
        plane.kubectl("delete", "deployment", "fits", "-n", "watched")
        until(lambda: len(reports(plane, "reports")) == 2, 30, "the report is gone")
        plane.kubectl("label", "namespace", "watched", "plimsoll.dev/workloads-")
        until(lambda: not reports(plane, "reports"), 30, "all reports are gone")
        plane.kubectl("label", "namespace", "watched", "plimsoll.dev/workloads=warn")
        until(lambda: len(reports(plane, "reports")) == 2, 30, "reports are back")


@pytest.mark.usefixtures("open_reports")
def test_a_model_in_a_config_map_is_read_for_the_object_that_names_it(
    plane: ControlPlane, account: Path, tmp_path: Path
) -> None:
    private = deployment("private", PRIVATE, 1, L4, "watched")
    private["metadata"]["annotations"] = {"plimsoll.dev/config-map": "ours"}
    config = (
        '{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, '
        '"num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, '
        '"intermediate_size": 8192, "vocab_size": 128256, "max_position_embeddings": 8192, '
        '"torch_dtype": "bfloat16", "tie_word_embeddings": true, "head_dim": 64}'
    )
    plane.apply(
        [
            private,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "ours", "namespace": "watched"},
                "data": {"config.json": config},
            },
        ]
    )
    name = "Deployment watched/private"
    with auditing(account, tmp_path):
        until(lambda: name in reports(plane, "reports"), 30)
        (result,) = reports(plane, "reports")[name]["results"]
        assert result["result"] == "pass", result


def test_the_rights_of_the_audit_are_those_of_the_kinds_that_are_read() -> None:
    from plimsoll.workloads.kinds import KINDS

    (role,) = (
        one
        for one in render({"controller": {"audit": {"enabled": True}}})
        if one["kind"] == "ClusterRole" and one["metadata"]["name"] == "plimsoll-audit"
    )
    reading = {
        (group, plural)
        for rule in role["rules"]
        if rule["verbs"] == ["get", "list"]
        for group in rule["apiGroups"]
        for plural in rule["resources"]
    }
    assert reading == {(kind.group, kind.plural) for kind in KINDS if kind.reader is not None}
    assert not [one for one in render() if one["metadata"]["name"] == "plimsoll-audit"]
