"""What real kubectl prints when admission speaks, asked by a real API server over TLS.

The process runs with the rights of deploy/rbac.yaml and no others.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.fixtures_operator import (
    OperatorProcess,
    admission_asked,
    until,
)
from configs import LLAMA_70B
from controlplane import Cluster, ControlPlane
from controlplane.nodes import gpu_node
from plimsoll_operator.api.webhook import webhook_configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "samples"
NAME = "plimsoll-test"
TOO_SMALL = {
    "model": {"uri": "hf://meta-llama/Llama-3.3-70B-Instruct"},
    "engine": {"maxModelLen": 32768, "parallelism": {"tensor": 2}},
    "workload": {"concurrentSequences": 8},
    "accelerator": {"allowed": ["nvidia-a100-80gb"]},
}


@dataclass
class Admission:
    """Admission in front of a cluster."""

    cluster: Cluster
    process: OperatorProcess
    namespace: str

    def kubectl(
        self, *args: str, stdin: Any = None, kubeconfig: Path | None = None
    ) -> tuple[int, str]:
        """Exit code and everything that kubectl prints."""
        text = None if stdin is None else yaml.safe_dump(stdin)
        done = self.cluster.kubectl(
            "-n", self.namespace, *args, input=text, check=False, kubeconfig=kubeconfig
        )
        return done.returncode, done.stdout + done.stderr

    def apply(
        self,
        spec: dict[str, Any],
        name: str = "m",
        *,
        kubeconfig: Path | None = None,
        flags: tuple[str, ...] = (),
        **metadata: Any,
    ) -> tuple[int, str]:
        """`kubectl apply` an LLMDeployment."""
        return self.kubectl(
            "apply", "-f", "-", *flags, stdin=obj(name, spec, **metadata), kubeconfig=kubeconfig
        )

    def mode(self, mode: str | None) -> None:
        """Set the namespace's policy, and wait until admission has heard of it."""
        label = f"plimsoll.dev/policy={mode}" if mode else "plimsoll.dev/policy-"
        self.kubectl("label", "namespace", self.namespace, label, "--overwrite")
        time.sleep(0.5)


def obj(name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """An LLMDeployment."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def process(control_plane: Cluster) -> Iterator[OperatorProcess]:
    """Admission as a process of its own, registered with the API server."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane that trusts our certificates")
    with admission_asked(control_plane, NAME, webhook_configuration) as running:
        yield running


@pytest.fixture
def admission(process: OperatorProcess, control_plane: Cluster, namespace: str) -> Admission:
    """Admission, asked already: the API server takes a moment to know a webhook."""
    made = Admission(control_plane, process, namespace)

    def refuses() -> bool:
        return made.apply(TOO_SMALL, "probe", flags=("--dry-run=server",))[0] != 0

    until(refuses, 15, "the API server asks admission")
    return made


@pytest.fixture
def user(admission: Admission, own_control_plane: ControlPlane) -> Callable[[str, bool], Path]:
    """Make a user who may edit LLMDeployments here, and perhaps override."""

    def make(name: str, may_override: bool) -> Path:
        verbs = [
            "get",
            "list",
            "create",
            "update",
            "patch",
            *(["override"] if may_override else []),
        ]
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name, "namespace": admission.namespace},
            "rules": [
                {"apiGroups": ["plimsoll.dev"], "resources": ["llmdeployments"], "verbs": verbs}
            ],
        }
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": admission.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        }
        own_control_plane.apply([role, binding])
        kubeconfig = own_control_plane.kubeconfig_for(name)

        def known() -> bool:
            asked = own_control_plane.kubectl(
                "auth",
                "can-i",
                "create",
                "llmdeployments.plimsoll.dev",
                "-n",
                admission.namespace,
                kubeconfig=kubeconfig,
                check=False,
            )
            return asked.stdout.strip() == "yes"

        until(known, 10, f"{name} has the rights")
        return kubeconfig

    return make


def test_kubectl_prints_the_breakdown_and_the_fixes_of_a_denial(admission: Admission) -> None:
    code, said = admission.apply(TOO_SMALL)
    assert code == 1
    lines = said.splitlines()
    assert 'admission webhook "fit.llmdeployments.plimsoll.dev" denied the request:' in lines[0]
    assert "spec.engine.parallelism.tensor: Invalid value: 2" in said
    assert any(line.startswith("  needs ") and "weights" in line for line in lines)
    assert any(line.startswith("  has ") for line in lines)
    assert any(line.startswith("  short by ") for line in lines)
    assert "Any one of these fits:" in lines
    assert admission.kubectl("get", "llmd", "m")[0] == 1


def test_each_fix_that_kubectl_prints_is_accepted_when_made(admission: Admission) -> None:
    _, said = admission.apply(TOO_SMALL)
    fixes = said.split("Any one of these fits:\n")[1].split("\nRule of thumb")[0].splitlines()
    assert fixes
    for number, line in enumerate(fixes):
        changed = json.loads(json.dumps(TOO_SMALL))
        for change in line.split("  leaves")[0].strip().split(" and "):
            path, _, value = change.partition(": ")
            *parents, last = path.split(".")[1:]
            place: Any = changed
            for part in parents:
                place = place.setdefault(part, {})
            place[last] = yaml.safe_load(value.strip())
        code, answer = admission.apply(changed, f"fix-{number}")
        assert code == 0, f"{line}\n{answer}"


def test_kubectl_prints_every_error_at_once(admission: Admission) -> None:
    spec = {
        "model": {"uri": "hf://Qwen/Qwen2.5-7B-Instruct"},
        "engine": {"parallelism": {"tensor": 3}, "extraArgs": ["--tensor-parallel-size=2"]},
        "accelerator": {"allowed": ["nvidia-a100-80gbb"]},
    }
    code, said = admission.apply(spec)
    assert code == 1
    for path in ("spec.engine.extraArgs[0]", "spec.engine.parallelism.tensor"):
        assert path in said


def test_a_warn_namespace_admits_with_a_warning_that_kubectl_prints(admission: Admission) -> None:
    admission.mode("warn")
    code, said = admission.apply(TOO_SMALL)
    assert code == 0
    assert "Warning: " in said
    assert "GiB usable" in said
    assert "llmdeployment.plimsoll.dev/m created" in said


def test_an_audit_namespace_admits_without_a_word(admission: Admission) -> None:
    admission.mode("audit")
    assert admission.apply(TOO_SMALL) == (0, "llmdeployment.plimsoll.dev/m created\n")


def test_a_policy_label_that_is_taken_away_enforces_again(admission: Admission) -> None:
    admission.mode("audit")
    admission.mode(None)
    assert admission.apply(TOO_SMALL)[0] == 1


def test_a_server_side_dry_run_is_refused_in_the_same_words(admission: Admission) -> None:
    code, said = admission.apply(TOO_SMALL, flags=("--dry-run=server",))
    assert code == 1
    assert "short by" in said


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_samples_do_what_they_say(admission: Admission, sample: Path) -> None:
    code, said = admission.kubectl("apply", "-f", str(sample))
    assert code == (1 if sample.stem == "refused" else 0), said


def test_an_unknown_model_is_admitted_with_a_warning_that_says_what_to_add(
    admission: Admission,
) -> None:
    code, said = admission.apply({"model": {"uri": "hf://nobody/knows-this-one"}})
    assert code == 0
    assert "Warning: " in said
    assert "model.baseModel" in said


def test_a_model_in_a_config_map_is_judged_by_it(admission: Admission) -> None:
    spec = {**TOO_SMALL, "model": {"configMapRef": {"name": "mine"}}}
    code, said = admission.apply(spec, "early")
    assert code == 0
    assert "mine" in said
    admission.kubectl(
        "create", "configmap", "mine", f"--from-literal=config.json={json.dumps(LLAMA_70B)}"
    )

    def judged() -> bool:
        code, said = admission.apply(spec, "late")
        return code == 1 and "short by" in said

    until(judged, 10, "the model of the ConfigMap is known")


def test_an_object_that_came_in_unfit_may_be_made_better_and_not_worse(
    admission: Admission,
) -> None:
    admission.mode("audit")
    assert admission.apply(TOO_SMALL)[0] == 0
    admission.mode("enforce")
    code, said = admission.kubectl("label", "llmd", "m", "team=a")
    assert code == 0, said
    better = {**TOO_SMALL, "workload": {"concurrentSequences": 7}}
    assert admission.apply(better)[0] == 0
    worse = {**TOO_SMALL, "workload": {"concurrentSequences": 16}}
    code, said = admission.apply(worse)
    assert code == 1
    assert "short by" in said


def test_an_override_needs_the_verb_and_cannot_slip_past(
    admission: Admission, user: Callable[[str, bool], Path]
) -> None:
    plain, trusted = user("plain", False), user("trusted", True)
    note: dict[str, Any] = {"annotations": {"plimsoll.dev/override": "load test, ends friday"}}
    code, said = admission.apply(TOO_SMALL, kubeconfig=plain, **note)
    assert code == 1
    assert "may not override" in said
    fitting = {**TOO_SMALL, "engine": {"maxModelLen": 4096}}
    code, said = admission.apply(fitting, "stored", kubeconfig=plain, **note)
    assert code == 1, "an override may not be laid in store"
    assert admission.apply(fitting, "stored", kubeconfig=plain)[0] == 0
    code, _ = admission.kubectl(
        "annotate", "llmd", "stored", "plimsoll.dev/override=later", kubeconfig=plain
    )
    assert code == 1
    code, said = admission.apply(TOO_SMALL, "allowed", kubeconfig=trusted, **note)
    assert code == 0, said
    assert "overridden by trusted: load test, ends friday" in said
    worse = {**TOO_SMALL, "workload": {"concurrentSequences": 64}}
    code, said = admission.apply(worse, "allowed", kubeconfig=plain, **note)
    assert code == 1, "somebody else's override does not cover a worse spec"
    assert "short by" in said


def test_nodes_that_admission_watches_may_say_what_no_table_knows(
    admission: Admission, own_control_plane: ControlPlane
) -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-Z900", "nvidia.com/gpu.memory": "204800"}
    own_control_plane.create([gpu_node("z900", "h100-80gb", labels=labels)])
    spec = {**TOO_SMALL, "accelerator": {"allowed": ["nvidia-z900"]}}
    try:
        until(lambda: admission.apply(spec)[0] == 0, 10, "the new kind of GPU is known")
    finally:
        own_control_plane.kubectl("delete", "node", "z900")


def test_metrics_count_what_was_judged(admission: Admission) -> None:
    line = 'plimsoll_admission_total{reason="NotEnoughMemory",result="denied"}'
    before = admission.process.metric(line) or 0
    admission.apply(TOO_SMALL)
    assert (admission.process.metric(line) or 0) >= before + 1
