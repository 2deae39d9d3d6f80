"""Claims about which fields of a rendered workload are applied onto somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll.errors import Problem
from plimsoll.render.onto import PARTS, onto, templates_of
from unit.render.test_objects import of


def target(kind: str = "Deployment", *names: str, size: int = 2) -> dict[str, Any]:
    """A workload with containers of these names."""
    containers = [{"name": name} for name in names or ("engine",)]
    template = {"spec": {"containers": containers}}
    spec: dict[str, Any] = {"template": template}
    if kind == "LeaderWorkerSet":
        spec = {"leaderWorkerTemplate": {"size": size, "workerTemplate": template}}
    return {"apiVersion": "apps/v1", "kind": kind, "spec": spec}


def applied(parts: tuple[str, ...]) -> dict[str, Any]:
    """The pod's spec that is applied of so many parts, of a model on two GPUs."""
    both = {"allowed": ["nvidia-h100-80gb"], "gpusPerReplica": 2}
    made = onto(target(), of(accelerator=both).objects[0], parts=parts)
    assert isinstance(made, dict)
    spec: dict[str, Any] = made["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize(
    ("part", "of_container", "of_pod"),
    [
        ("Resources", {"resources"}, set()),
        ("Flags", {"command", "args"}, set()),
        ("Probe", {"startupProbe"}, set()),
        ("SharedMemory", {"volumeMounts"}, {"volumes"}),
        ("Nodes", set(), {"affinity", "tolerations"}),
    ],
)
def test_each_part_has_its_own_fields_and_no_others(
    part: str, of_container: set[str], of_pod: set[str]
) -> None:
    pod = applied((part,))
    assert set(pod["containers"][0]) == {"name"} | of_container
    assert set(pod) == {"containers"} | of_pod


def test_the_probe_asks_a_port_by_its_number_as_the_targets_names_are_its_own() -> None:
    assert applied(("Probe",))["containers"][0]["startupProbe"]["httpGet"]["port"] == 8000


def test_the_image_and_the_security_of_the_target_are_never_touched() -> None:
    pod = applied(PARTS)
    assert not {"image", "env", "securityContext"} & set(pod["containers"][0])
    assert "securityContext" not in pod


@pytest.mark.parametrize(
    ("kind", "names", "container", "said"),
    [
        ("Deployment", ("a", "b"), "", "spec.output.targetRef.container: Required"),
        ("Deployment", ("a", "b"), "c", "one of its containers: a, b"),
        (
            "LeaderWorkerSet",
            ("a",),
            "",
            "a Deployment or a StatefulSet: a replica lies on one node",
        ),
    ],
)
def test_what_cannot_be_applied_says_why(
    kind: str, names: tuple[str, ...], container: str, said: str
) -> None:
    found = onto(target(kind, *names), of().objects[0], container)
    assert isinstance(found, Problem)
    assert said in str(found)


def test_a_replica_over_nodes_needs_a_leader_worker_set_of_as_many() -> None:
    large = {"uri": "hf://deepseek-ai/DeepSeek-V3"}
    group = of(model=large, engine={"maxModelLen": 8192}).objects[0]
    assert "a LeaderWorkerSet: a replica lies on several nodes" in str(onto(target(), group))
    assert "a LeaderWorkerSet of size 2" in str(onto(target("LeaderWorkerSet", size=4), group))
    made = onto(target("LeaderWorkerSet"), group)
    assert isinstance(made, dict)
    (template,) = templates_of({"kind": "LeaderWorkerSet", **made})
    assert "--headless" in template["spec"]["containers"][0]["args"]
