"""One object, one answer: the command line, admission and the controller agree on every kind.

The same manifests go through `plimsoll check`, through `kubectl apply` against a namespace that
enforces, and through the controller, which reports on other people's kinds and writes the status of
ours. Verdict, sentences and request hash are held to be the same. Admission's hashes are read where
an auditor would read them: in the API server's audit log.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from chart import render
from cluster.fixtures_operator import (
    CONTROLLER_ACCOUNT,
    SYSTEM_NAMESPACE,
    admission_asked,
    conditions,
    install,
    operator_process,
    until,
)
from cluster.report_kinds import OPEN_REPORTS
from commands import run
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from definitions import definition
from plimsoll.accelerators import catalogue as accelerators
from plimsoll.cli.check import command
from plimsoll.decision.decide import decide
from plimsoll.engines.calibrated import likeness
from plimsoll.models.catalogue import load
from plimsoll.start_ups import Calibration, Kept, written
from plimsoll.workloads import llmdeployment
from plimsoll.workloads.resolved import config_map
from plimsoll.workloads.roles import NothingBeside
from plimsoll_operator.admission.review import MAX_WARNING
from plimsoll_operator.api.webhook import webhook_configuration, workloads_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE, PROFILES = "doors", "plimsoll-system"
KEPT = f"{PROFILES}/plimsoll-calibration"
ALL: list[dict[str, Any]] = list(
    yaml.safe_load_all((Path(__file__).parent / "manifests" / "doors.yaml").read_text())
)
BESIDE = [one for one in ALL if "labels" not in one["metadata"]]
OBJECTS = [one for one in ALL if "labels" in one["metadata"]]
LABELS = {"plimsoll.dev/workloads": "enforce", "plimsoll.dev/policy": "enforce"}
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": SPACE, "labels": LABELS},
}
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
OWN, SURPLUS = "LLMDeployment", "GPUs that could come back"


def named(obj: dict[str, Any]) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


@dataclass
class Said:
    """What one door says of one object, of several engines together.

    lines: as they are printed; ruled: what is said in one line each, with its rule.
    """

    decision: str
    lines: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    ruled: set[tuple[str, str]] = field(default_factory=set)


def profile() -> dict[str, Any]:
    """The ConfigMap of a model that somebody resolved."""
    entry = load().find("meta-llama/Llama-3.3-70B-Instruct")
    assert entry is not None
    model = "acme/our-70b"
    made = entry.profile() | {"name": model}
    return config_map(model, made, by="controller", namespace=PROFILES)


def calibration() -> Calibration:
    """Start-ups like those of our own objects that somebody measured and keeps."""
    found = []
    for obj in OBJECTS:
        if obj["kind"] != OWN:
            continue
        request = llmdeployment.request(obj, NothingBeside())
        verdict = decide(request)
        e, model = verdict.estimate, request.model.architecture
        accelerator = accelerators.find(verdict.accelerator)
        if e is not None and model is not None and accelerator is not None:
            name = request.engine.name
            like = likeness(name, e.version, model, request.engine, e.parallelism, accelerator)
            found.append(Kept(named(obj), like, (("activation", 0.3), ("nonTorch", 0.1))))
    assert found
    return Calibration(tuple(found))


def definitions() -> list[dict[str, Any]]:
    """The kinds of other projects that the manifests are of."""
    core = ("apps", "batch", "v1", "plimsoll.dev")
    found = {}
    for obj in ALL:
        group, _, version = obj["apiVersion"].rpartition("/")
        if group and group not in core:
            found[named(obj)] = definition(group, obj["kind"], ANYTHING, version=version)
    return list({one["metadata"]["name"]: one for one in found.values()}.values())


@pytest.fixture(scope="module")
def plane(control_plane: object) -> Iterator[ControlPlane]:
    """A cluster whose API server keeps an audit log, with all that the manifests need."""
    with ControlPlane().keep_audit_log() as plane:
        install(plane)
        plane.create([gpu_node("a"), gpu_node("b", "l4")])
        plane.apply([*definitions(), OPEN_REPORTS, NAMESPACE, profile()])
        kept = plane.folder / "calibration.json"
        kept.write_text(written(calibration()))
        made = yaml.safe_load(run("calibrate", "--to", kept, "-o", "configmap").stdout)
        made["metadata"]["namespace"] = PROFILES
        plane.apply([made])
        kinds = ("crd", "--all", "--timeout=5s")
        until(
            lambda: (
                not plane.kubectl(
                    "wait", "--for=condition=Established", *kinds, check=False
                ).returncode
            ),
            30,
            "the kinds are there",
        )
        plane.apply(BESIDE)
        yield plane


@pytest.fixture(scope="module")
def checked(plane: ControlPlane) -> dict[str, Said]:
    """What the command line says, of the manifests as they were written."""
    inventory = plane.folder / "nodes.json"
    inventory.write_text(plane.kubectl("get", "nodes", "-o", "json").stdout)
    text = yaml.safe_dump_all([NAMESPACE, profile(), *ALL])
    kept = plane.folder / "calibration.json"
    words = ["-", "--inventory", str(inventory), "--calibration", str(kept)]
    told, data, sarif = (
        CliRunner().invoke(command, [*words, *more], input=text)
        for more in ((), ("-o", "json"), ("-o", "sarif"))
    )
    assert (told.exit_code, data.exit_code, sarif.exit_code) == (1, 1, 1), told.output
    found: dict[str, Said] = {}
    for one in json.loads(data.stdout)["results"]:
        name = one["name"].rpartition("/")[2]
        said = found.setdefault(f"{one['kind']} {name}", Said("allow"))
        said.hashes.append(one["requestHash"])
        said.decision = max(said.decision, one["decision"], key=("allow", "warn", "deny").index)
        said.lines += one["message"].splitlines()
    for line in told.stdout.splitlines():
        where, _, warning = line.partition("): ")
        if where.startswith(f"{SPACE}/") and warning:
            name = where.removeprefix(f"{SPACE}/").partition(" (")[0]
            (kind,) = (one["kind"] for one in OBJECTS + BESIDE if one["metadata"]["name"] == name)
            found[f"{kind} {name}"].lines.append(warning)
    for result in json.loads(sarif.stdout)["runs"][0]["results"]:
        (place,) = result["locations"][0]["logicalLocations"]
        kind, _, name = place["fullyQualifiedName"].partition(":")[0].partition(f" {SPACE}/")
        if result["level"] != "note":
            first = result["message"]["text"].splitlines()[0]
            found[f"{kind} {name.partition(' ')[0]}"].ruled.add((result["ruleId"], first))
    return found


def both(name: str, client: dict[str, Any]) -> dict[str, Any]:
    """The registrations of admission for our kind and for others, in one."""
    made = workloads_configuration(name, client)
    made["webhooks"] += webhook_configuration(name, client)["webhooks"]
    return made


@pytest.fixture(scope="module")
def reviewed(plane: ControlPlane) -> dict[str, Said]:
    """What kubectl prints when each is applied, and what the audit log keeps of it."""
    found = {}
    settings = {"resolved_namespace": PROFILES, "calibration": KEPT}
    with admission_asked(plane, "plimsoll-doors", both, settings):

        def refused() -> bool:
            large = next(one for one in OBJECTS if named(one) == "LLMDeployment ours-too-large")
            return "denied the request" in apply(plane, large)

        until(refused, 30, "admission is asked")
        for obj in OBJECTS:
            found[named(obj)] = read_kubectl(apply(plane, obj))
    for event in plane.audited():
        notes = event.get("annotations") or {}
        hashes = next((v for k, v in notes.items() if k.endswith("/request-hash")), "")
        about = event.get("objectRef") or {}
        for obj in OBJECTS:
            name = str(obj["metadata"]["name"])
            if hashes and name == (about.get("name") or name_in(event)):
                found[named(obj)].hashes = hashes.split()
    return found


def name_in(event: dict[str, Any]) -> str:
    """The name of an object that was to be created: its URL does not say it."""
    status = event.get("responseStatus") or {}
    return str((status.get("details") or {}).get("name") or "")


def apply(plane: ControlPlane, obj: dict[str, Any]) -> str:
    """`kubectl apply` as a dry run: what it printed.

    Server-side: its URL names the object, and so does the audit log.
    """
    done = plane.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "-f",
        "-",
        input=json.dumps(obj),
        check=False,
    )
    return done.stdout + done.stderr


def read_kubectl(text: str) -> Said:
    """The decision and the sentences in what kubectl printed."""
    before, _, denial = text.partition(" denied the request: ")
    warnings = [
        line.removeprefix("Warning: ")
        for line in before.splitlines()
        if line.startswith("Warning: ")
    ]
    if denial:
        return Said("deny", denial.strip().splitlines())
    assert "serverside-applied" in text, text
    return Said("warn" if warnings else "allow", warnings)


@pytest.fixture(scope="module")
def controlled(plane: ControlPlane, reviewed: object) -> dict[str, dict[str, Any]]:
    """The reports of the controller on other people's kinds and its status of ours, by object."""
    rights = render({"controller": {"audit": {"enabled": True}}})
    plane.apply([one for one in rights if one["metadata"]["name"] == "plimsoll-audit"])
    plane.create(OBJECTS)
    account = plane.kubeconfig_for_service_account(SYSTEM_NAMESPACE, CONTROLLER_ACCOUNT)
    settings = {"audit_seconds": 1, "controller_deciders": 1, "resolved_namespace": PROFILES}
    settings["calibration"] = KEPT
    with operator_process("controller", account, plane.folder, settings) as controller:
        until(
            lambda: controller.metric("plimsoll_audit_last_timestamp_seconds"),
            180,
            "it has audited",
        )
        ours: dict[str, dict[str, Any]] = until(lambda: statuses(plane), 60, "every status")
        found = {
            f"{r['scope']['kind']} {r['scope']['name']}": r
            for r in plane.get("reports", "-n", SPACE)["items"]
        }
    return found | ours


def statuses(plane: ControlPlane) -> dict[str, dict[str, Any]]:
    """Our objects by name, once the controller has decided each."""
    found = {named(one): one for one in plane.get("llmd", "-n", SPACE)["items"]}
    assert all("Fits" in conditions(one) for one in found.values())
    return found


OTHERS = [one for one in OBJECTS if one["kind"] != OWN]
OURS = [one for one in OBJECTS if one["kind"] == OWN]


@pytest.mark.parametrize("obj", OBJECTS, ids=named)
def test_the_command_line_says_what_is_expected(
    obj: dict[str, Any], checked: dict[str, Said]
) -> None:
    expected = obj["metadata"]["labels"]["expected"]
    said = checked.get(named(obj))
    assert (said.decision if said else "nothing") == expected


@pytest.mark.parametrize("obj", OBJECTS, ids=named)
def test_kubectl_prints_what_the_command_line_says_and_the_audit_log_keeps_the_same_hash(
    obj: dict[str, Any], checked: dict[str, Said], reviewed: dict[str, Said]
) -> None:
    said, there = reviewed[named(obj)], checked.get(named(obj), Said("allow"))
    assert said.hashes == there.hashes
    if there.decision == "deny":
        assert said.decision == "deny"
        assert said.lines == there.lines
        return
    assert said.decision == ("warn" if there.lines else "allow")
    assert [cut(line) for line in said.lines] == [cut(line) for line in there.lines]


def cut(line: str) -> str:
    """A warning as far as the API server passes it on."""
    return line[: MAX_WARNING - 1].removesuffix("…")


@pytest.mark.parametrize("obj", OTHERS, ids=named)
def test_the_controller_reports_what_the_command_line_says(
    obj: dict[str, Any], checked: dict[str, Said], controlled: dict[str, Any]
) -> None:
    there, report = checked.get(named(obj)), controlled.get(named(obj))
    if there is None:
        assert report is None
        return
    assert report is not None
    results = report["results"]
    hashes = [one["properties"]["requestHash"] for one in results]
    assert list(dict.fromkeys(hashes)) == list(dict.fromkeys(there.hashes))
    assert ("fail" in {one["result"] for one in results}) == (there.decision == "deny")
    # what an audit alone says, and what it says in other words: GPUs that could come back
    surplus = {one["rule"] for one in results if one.get("category") == SURPLUS}
    said = {
        (one["rule"], one["message"].splitlines()[0])
        for one in results
        if one["result"] != "pass" and one["rule"] not in surplus
    }
    assert said == {one for one in there.ruled if one[0] not in surplus}


@pytest.mark.parametrize("obj", OURS, ids=named)
def test_the_status_says_what_the_command_line_says(
    obj: dict[str, Any], checked: dict[str, Said], controlled: dict[str, Any]
) -> None:
    there, found = checked[named(obj)], controlled[named(obj)]
    fits = conditions(found)["Fits"]
    assert fits["status"] == {"allow": "True", "warn": "Unknown", "deny": "False"}[there.decision]
    estimate = found["status"].get("estimate")
    assert estimate is None or estimate["requestHash"] == there.hashes[0]


def test_kept_start_ups_narrow_ranges_in_the_cluster_as_they_do_on_the_command_line(
    controlled: dict[str, Any],
) -> None:
    notes = [
        note
        for obj in OURS
        for note in (controlled[named(obj)]["status"].get("estimate") or {}).get("notes", ())
    ]
    assert any("are narrowed by what start-ups of yours like this one" in one for one in notes)


def test_the_manifests_are_of_many_kinds_and_every_verdict_is_among_them() -> None:
    assert len(OTHERS) >= 12
    assert len({one["kind"] for one in OTHERS}) >= 10
    expected = {one["metadata"]["labels"]["expected"] for one in OTHERS}
    assert expected == {"allow", "warn", "deny", "nothing"}
