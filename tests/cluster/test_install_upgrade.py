"""Claims about the chart's life: upgraded from an older one, rolled back, upgraded, uninstalled.

The older one is frozen under tests/chart/frozen: its CRD lies in crds/, which Helm installs once
and then never owns. So the upgrade that brings it into the release needs `--take-ownership`, once.
That objects are unharmed is read where they lie: byte by byte in etcd.
"""

from __future__ import annotations

import base64
import functools
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chart import CHART, NAMESPACE, RELEASE, HelmError, helm
from cluster.fixtures_install import (
    SERVING,
    SOON,
    TOO_SMALL,
    Installed,
    create,
    elsewhere,
    is_decided,
    is_refused,
    merged,
    mount,
)
from cluster.fixtures_operator import free_port, llm_deployment, until
from cluster.plane import LLAMA
from controlplane import ControlPlane
from controlplane.nodes import gpu_node

if TYPE_CHECKING:
    from collections.abc import Iterator

FROZEN = Path(__file__).resolve().parents[1] / "chart" / "frozen" / "plimsoll-0.0.9"
SPACE = "teams-own"
STATUS = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Fits",
            "message": "as 0.0.9 put it",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}
OLD = ("decided", "undecided", "annotated")
"""Objects that were made under the old CRD."""
NEWER = "newer"
"""One that says what only the new CRD knows."""
ALLOWED = {"accelerator": {"allowed": ["nvidia-a100-80gb"]}}


def stored(plane: ControlPlane, path: str) -> bytes:
    """What etcd holds of a resource, byte by byte; through etcd's own gateway for JSON."""
    key = base64.b64encode(f"/registry/{path}".encode()).decode()
    (found,) = plane.etcd("kv/range", {"key": key})["kvs"]
    return base64.b64decode(found["value"])


@dataclass(frozen=True)
class Moment:
    """The cluster at one time.

    bytes: of each object in etcd. shown: as the API server serves it. fields: of the CRD's spec.
    left: objects of ours by kind and name, whoever owns them.
    """

    bytes: dict[str, bytes]
    shown: dict[str, dict[str, Any]]
    crd: dict[str, Any]
    left: set[str]

    @property
    def fields(self) -> set[str]:
        """What the CRD's spec knows."""
        (version,) = self.crd["spec"]["versions"]
        return set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])


KINDS = (
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "clusterroles",
    "clusterrolebindings",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "crds",
)
NAMESPACED = (
    "deployments",
    "services",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "secrets",
    "leases",
    "poddisruptionbudgets",
    "configmaps",
)


def moment(plane: ControlPlane) -> Moment:
    """The cluster now."""
    objects = plane.get("llmd", "-A", "--show-managed-fields")["items"]
    names = [o["metadata"]["name"] for o in objects]
    left = set()
    for kinds, where in ((KINDS, ()), (NAMESPACED, ("-n", NAMESPACE))):
        for obj in plane.get(",".join(kinds), *where)["items"]:
            name = obj["metadata"]["name"]
            if "plimsoll" in name and not name.startswith("sh.helm.release"):
                left.add(f"{obj['kind']}/{name}")
    return Moment(
        {name: stored(plane, f"plimsoll.dev/llmdeployments/{SPACE}/{name}") for name in names},
        dict(zip(names, objects, strict=True)),
        plane.get("crd", "llmdeployments.plimsoll.dev"),
        left,
    )


@dataclass
class Life:
    """What was seen after each of helm's commands. said: by helm."""

    plane: ControlPlane
    said: dict[str, str] = field(default_factory=dict)
    at: dict[str, Moment] = field(default_factory=dict)

    def note(self, when: str, said: str = "") -> None:
        """Look at the cluster after a command."""
        self.said[when], self.at[when] = said, moment(self.plane)


@pytest.fixture(scope="module")
def life(control_plane: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """An older chart installed, upgraded, rolled back, upgraded again, used, and uninstalled."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("installs and removes the CRD: needs a control plane of our own")
    with ControlPlane() as plane:
        yield live(plane, tmp_path_factory.mktemp("life") / "tls")


def live(plane: ControlPlane, tls: Path) -> Life:
    """The commands, in the order in which a user gives them."""
    life, release = Life(plane), Installed(plane, free_port())
    quiet = merged(elsewhere(release.port), {"webhook": {"failurePolicy": "Ignore"}})
    plane.create([gpu_node("a100-0"), gpu_node("a100-1")])
    plane.kubectl("create", "namespace", SPACE)
    release.helm("install", str(FROZEN), "--create-namespace")
    make_old_objects(plane)
    life.note("installed 0.0.9")

    with pytest.raises(HelmError) as refused:
        release.helm("upgrade", str(CHART), values=quiet)
    life.note("upgrade refused", str(refused.value))
    life.note("upgraded", release.helm("upgrade", str(CHART), "--take-ownership", values=quiet))
    newer = llm_deployment(NEWER, SPACE, {"workload": {"concurrentSequences": 4}})
    until(lambda: create(plane, newer) == "", SOON, "the new field is served")
    life.note("used")

    life.note("rolled back", release.helm("rollback", "1"))
    life.note("upgraded again", release.helm("upgrade", str(CHART), values=elsewhere(release.port)))
    with release.controller(), release.webhook(mount(plane, SERVING, tls)):
        until(lambda: is_refused(plane, SPACE), SOON, "refused")
        for name in (*OLD, NEWER):
            until(functools.partial(is_decided, plane, SPACE, name), SOON, f"{name} is decided")
    life.note(
        "decided",
        helm("get", "notes", RELEASE, "-n", NAMESPACE, kubeconfig=plane.kubeconfig).stdout,
    )
    life.note("uninstalled", release.helm("uninstall"))
    return life


def make_old_objects(plane: ControlPlane) -> None:
    """Objects as 0.0.9 left them: with its status, with none, and with things of the user's own."""
    decided, undecided, annotated = (llm_deployment(name, SPACE, ALLOWED) for name in OLD)
    annotated["metadata"] |= {"labels": {"team": "a"}, "annotations": {"example.com/note": "mine"}}
    until(lambda: create(plane, decided) == "", SOON, "the CRD of 0.0.9 is served")
    plane.create([undecided, annotated])
    for name in ("decided", "annotated"):
        plane.kubectl(
            "patch",
            "llmd",
            name,
            "-n",
            SPACE,
            "--subresource=status",
            "--type=merge",
            "-p",
            json.dumps({"status": STATUS}),
        )
    said = create(plane, llm_deployment(NEWER, SPACE, {"workload": {"concurrentSequences": 4}}))
    assert 'unknown field "spec.workload"' in said, "the old CRD does not know it"


def test_helm_does_not_take_a_crd_that_it_does_not_own_unless_told(life: Life) -> None:
    said = life.said["upgrade refused"]
    assert "exists and cannot be imported into the current release" in said
    assert 'CustomResourceDefinition "llmdeployments.plimsoll.dev"' in said
    before, after = life.at["installed 0.0.9"], life.at["upgrade refused"]
    assert after.crd == before.crd
    assert after.left == before.left, "a refused upgrade changes nothing"


def test_an_upgrade_brings_the_newer_crd_in_place_of_the_old_one(life: Life) -> None:
    before, after = life.at["installed 0.0.9"], life.at["upgraded"]
    assert before.fields == {"model", "engine", "accelerator"}
    assert after.fields > before.fields
    assert after.crd["metadata"]["uid"] == before.crd["metadata"]["uid"], "never deleted"
    assert "concurrentSequences" in life.at["used"].bytes[NEWER].decode()


def test_objects_are_the_same_bytes_after_upgrade_rollback_and_upgrade(life: Life) -> None:
    before = life.at["installed 0.0.9"].bytes
    assert set(before) == set(OLD)
    for when in ("upgraded", "used", "rolled back", "upgraded again"):
        after = life.at[when].bytes
        assert {name: after[name] for name in OLD} == before, when
    assert life.at["upgraded again"].bytes[NEWER] == life.at["used"].bytes[NEWER]


def test_they_are_served_as_before_except_the_status_of_one_that_has_none(life: Life) -> None:
    """The newer CRD has a default for it, -1, so that Flux waits; it is in no object's bytes."""
    before, after = life.at["installed 0.0.9"].shown, life.at["upgraded"].shown
    assert after["decided"] == before["decided"]
    assert after["annotated"] == before["annotated"]
    assert "status" not in before["undecided"]
    assert after["undecided"] == {**before["undecided"], "status": {"observedGeneration": -1}}


def test_the_new_controller_writes_nothing_but_their_status(life: Life) -> None:
    before, after = life.at["installed 0.0.9"].shown, life.at["decided"].shown
    for name in OLD:
        assert after[name]["spec"] == before[name]["spec"]
        assert after[name]["status"] != before[name].get("status")
        for same in ("uid", "generation", "creationTimestamp", "labels", "annotations"):
            assert after[name]["metadata"].get(same) == before[name]["metadata"].get(same)


def test_nothing_of_the_older_chart_is_left_after_the_upgrade(life: Life) -> None:
    old = {o for o in life.at["installed 0.0.9"].left if not o.startswith("CustomResource")}
    assert old == {
        "Deployment/plimsoll",
        "Service/plimsoll-admission",
        "ServiceAccount/plimsoll-admission",
        "ClusterRole/plimsoll-admission",
        "ClusterRoleBinding/plimsoll-admission",
        "ValidatingWebhookConfiguration/plimsoll-admission",
    }
    assert not old & life.at["upgraded"].left
    assert "ValidatingWebhookConfiguration/plimsoll" in life.at["upgraded"].left


def test_a_rollback_keeps_the_newer_crd_and_takes_the_newer_webhook_away(life: Life) -> None:
    newer, after = life.at["upgraded"], life.at["rolled back"]
    assert after.crd["spec"] == newer.crd["spec"]
    assert after.crd["metadata"]["uid"] == newer.crd["metadata"]["uid"]
    of_then = life.at["installed 0.0.9"].left
    assert after.left == of_then | {
        "CustomResourceDefinition/acceleratorpools.plimsoll.dev",
        "CustomResourceDefinition/sizingpolicies.plimsoll.dev",
    }
    assert life.at["upgraded again"].left == newer.left, "and no --take-ownership a second time"


def test_uninstall_leaves_what_the_notes_and_the_readme_say_and_nothing_else(life: Life) -> None:
    after = life.at["uninstalled"]
    assert after.left == {
        "CustomResourceDefinition/acceleratorpools.plimsoll.dev",
        "CustomResourceDefinition/llmdeployments.plimsoll.dev",
        "CustomResourceDefinition/sizingpolicies.plimsoll.dev",
        f"Secret/{SERVING}",
        f"Secret/{SERVING}-ca",
        f"Lease/{RELEASE}-controller",
    }
    assert "These resources were kept due to the resource policy" in life.said["uninstalled"]
    notes = life.said["decided"].partition("`helm uninstall` leaves no webhook")[2]
    assert (
        "the CustomResourceDefinitions with every LLMDeployment, AcceleratorPool and SizingPolicy"
        in notes
    )
    assert f"the Secrets {SERVING} and {SERVING}-ca" in notes
    assert f"the Lease {RELEASE}-controller" in notes
    readme = (CHART / "README.md").read_text().partition("## Upgrade and removal")[2]
    assert f"delete secret {SERVING} {SERVING}-ca" in readme
    assert f"delete lease {RELEASE}-controller" in readme
    assert "--take-ownership" in readme


def test_uninstall_leaves_every_object_as_it_was_and_no_finalizer(life: Life) -> None:
    assert life.at["uninstalled"].bytes == life.at["decided"].bytes
    for obj in (*life.at["uninstalled"].shown.values(), life.at["uninstalled"].crd):
        assert "finalizers" not in obj["metadata"]
        assert "deletionTimestamp" not in obj["metadata"]


def test_after_uninstall_nothing_stands_in_the_way_of_users(life: Life) -> None:
    assert create(life.plane, llm_deployment("after", SPACE, TOO_SMALL, uri=LLAMA)) == ""
    life.plane.kubectl("delete", "llmd", "--all", "-n", SPACE, "--timeout=5s")
    assert life.plane.get("llmd", "-A")["items"] == []


def test_the_chart_can_be_installed_again_over_what_stayed(life: Life) -> None:
    before = life.plane.get("crd", "llmdeployments.plimsoll.dev")["metadata"]["uid"]
    release = Installed(life.plane, free_port())
    assert "STATUS: deployed" in release.helm("install", str(CHART))
    assert life.plane.get("crd", "llmdeployments.plimsoll.dev")["metadata"]["uid"] == before


SAID = (
    "\n              workload:\n"
    "                type: object\n"
    "                description: What must be held at once.\n"
)


@pytest.fixture(scope="module")
def next_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart as of a later version: its CRD has one field more."""
    folder = tmp_path_factory.mktemp("next") / "plimsoll"
    shutil.copytree(CHART, folder)
    for name, before, after in (
        ("Chart.yaml", "\nversion: ", "\nversion: 99"),
        (
            "templates/crd.yaml",
            SAID,
            f"\n              later: {{type: string}}{SAID}",
        ),
    ):
        text = (folder / name).read_text()
        assert text.count(before) == 1
        (folder / name).write_text(text.replace(before, after))
    return folder


def test_the_older_chart_without_its_crd_keeps_the_newer_one_as_the_readme_has_it(
    life: Life, next_chart: Path
) -> None:
    plane, release = life.plane, Installed(life.plane, free_port())
    values = merged(elsewhere(release.port), {"webhook": {"failurePolicy": "Ignore"}})
    obj = llm_deployment("later", SPACE)
    obj["spec"]["later"] = "what only the newer version knows"

    def knows_it() -> bool:
        return "later" in moment(plane).fields

    release.helm("upgrade", "--install", str(CHART), values=values)
    release.helm("upgrade", str(next_chart), values=values)
    assert knows_it()
    until(lambda: create(plane, obj) == "", SOON, "the new field is served")
    before = stored(plane, f"plimsoll.dev/llmdeployments/{SPACE}/later")
    release.helm("upgrade", str(CHART), "--reuse-values", "--set", "crds.enabled=false")
    assert knows_it()
    assert stored(plane, f"plimsoll.dev/llmdeployments/{SPACE}/later") == before
    assert plane.get("llmd", "later", "-n", SPACE)["spec"]["later"] == obj["spec"]["later"]
    release.helm("upgrade", str(next_chart), "--reuse-values", "--set", "crds.enabled=true")
    release.helm("rollback")
    assert knows_it(), "the revision that is gone back to does not have it"
    release.helm("rollback", "1")
    assert not knows_it(), "and this one does: why the README says to go back by an upgrade"
