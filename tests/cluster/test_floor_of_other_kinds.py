"""Claims about the floor for other people's kinds on a real API server, with no process of ours.

Every object goes in one dry run of kubectl, which prints each refusal by the object's name.
"""

from __future__ import annotations

import copy
import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from cluster.fixtures_operator import until
from cluster.workloads import deployment
from definitions import definition
from plimsoll.cli.check import command
from plimsoll_operator.api.policy import checkpoints
from plimsoll_operator.api.workloads_floor import NAME, cards, floor_bindings, floor_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from controlplane import Cluster

A100, L4 = "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4"
LLAMA = "meta-llama/Llama-3.3-70B-Instruct"
BIG = "meta-llama/Llama-3.1-405B-Instruct"
LABEL = "plimsoll.dev/workloads"
MODES = {"enforce": "enforce", "warn": "warn", "other": "off", "audit": "audit", "silent": None}
"""Namespaces of the tests, and their label."""


def vllm(*more: str, gpus: int = 1, product: str = A100, **container: Any) -> dict[str, Any]:
    """A Deployment of the 70B model. more: arguments; container: what else its container says."""
    made = deployment("it", ["--model", LLAMA, *more], gpus, product)
    made["spec"]["template"]["spec"]["containers"][0] |= container
    return made


def of(kind: str, version: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "it"}, "spec": spec}


TEMPLATE = vllm()["spec"]["template"]
POD = TEMPLATE["spec"]
ONCE = {**TEMPLATE, "spec": {**POD, "restartPolicy": "Never"}}
SELECTOR = vllm()["spec"]["selector"]
TGI = "ghcr.io/huggingface/text-generation-inference:3.3.4"
MODEL_ID = {"name": "MODEL_ID", "value": LLAMA}
SIDECAR = {"name": "proxy", "image": "envoyproxy/envoy:v1.35.0"}


def with_pod(**pod: Any) -> dict[str, Any]:
    made = vllm()
    made["spec"]["template"]["spec"] |= pod
    return made


def group(size: int, *more: str) -> dict[str, Any]:
    """A LeaderWorkerSet of pods with 8 GPUs each that serves 405B."""
    pod = vllm(command=["vllm", "serve", BIG], args=["-tp=8", *more], gpus=8)["spec"]["template"]
    pod["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": 8}}
    spec = {"replicas": 1, "leaderWorkerTemplate": {"size": size, "workerTemplate": pod}}
    return of("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", spec)


def service(**predictor: Any) -> dict[str, Any]:
    return of("InferenceService", "serving.kserve.io/v1beta1", {"predictor": predictor})


CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "too-few": (vllm(), True),
    "enough": (vllm("--tensor-parallel-size=2", gpus=2), False),
    "smaller-card": (vllm("-tp", "4", gpus=4, product=L4), True),
    "equals-sign": (vllm(args=[f"--model={LLAMA}"]), True),
    "positional": (vllm(args=[LLAMA, "--max-model-len", "4096"]), True),
    "serve": (vllm(command=["vllm", "serve", LLAMA], args=[]), True),
    "module": (
        vllm(
            command=["python3", "-m", "vllm.entrypoints.openai.api_server"], args=["--model", LLAMA]
        ),
        True,
    ),
    "upper-case": (vllm(args=["--model", LLAMA.upper()]), True),
    "sidecar": (with_pod(containers=[SIDECAR, *POD["containers"]]), True),
    "gke": (with_pod(nodeSelector={"cloud.google.com/gke-accelerator": "nvidia-l4"}), True),
    "prefix-caching": (vllm("--enable-prefix-caching", "--max-num-seqs=4"), True),
    "lower-dtype": (vllm("--dtype=bfloat16"), True),
    "quantized": (vllm("--quantization", "fp8"), False),
    "abbreviated": (vllm("--quantiz=fp8"), False),
    "offloaded": (vllm("--cpu-offload-gb", "100"), False),
    "overridden-config": (vllm("--hf_overrides.num_hidden_layers=1"), False),
    "longer-context": (vllm("--hf-overrides", '{"rope_theta": 1e7}'), True),
    "longer-context-in-one": (vllm('--hf-overrides={"rope_theta": 1e7}'), True),
    "fewer-layers": (vllm("--hf-overrides", '{"num_hidden_layers": 1}'), False),
    "another-revision": (vllm("--revision=awq"), False),
    "pipeline": (vllm("-pp", "2"), False),
    "more-ranks-than-gpus": (vllm("-tp", "8"), False),
    "over-nodes": (vllm("--nnodes=2"), False),
    "ray": (vllm("--distributed-executor-backend=ray"), False),
    "two-models": (vllm("--model", "Qwen/Qwen3-8B"), False),
    "unknown-model": (vllm(args=["--model", "acme/nobody-knows-70B"]), False),
    "a-path": (vllm(args=["--model", f"/models/{LLAMA}"]), False),
    "variable": (vllm("$(MORE)"), False),
    "script": (vllm(command=["sh", "-c"], args=[f"vllm serve {LLAMA}"]), False),
    "another-program": (vllm(command=["vllm", "bench", "serve"], args=["--model", LLAMA]), False),
    "another-image": (vllm(image="acme/vllm:1"), False),
    "no-selector": (with_pod(nodeSelector={}), False),
    "unknown-card": (vllm(product="NVIDIA-OF-NEXT-YEAR"), False),
    "no-gpu": (vllm(gpus=0), False),
    "two-engines": (
        with_pod(containers=[*POD["containers"], {**POD["containers"][0], "name": "b"}]),
        False,
    ),
    "no-llm": (vllm(image="nginx:1.29", args=[]), False),
    "tgi": (vllm(image=TGI, args=[], env=[MODEL_ID]), True),
    "tgi-flag": (vllm(image=TGI, args=["--model-id", LLAMA]), True),
    "tgi-quantized": (
        vllm(image=TGI, args=[], env=[MODEL_ID, {"name": "QUANTIZE", "value": "awq"}]),
        False,
    ),
    "tgi-elsewhere": (
        vllm(image=TGI, args=[], env=[MODEL_ID], envFrom=[{"configMapRef": {"name": "more"}}]),
        False,
    ),
    "not-of-vllm": (vllm(args=["--port=80"], env=[MODEL_ID]), False),
    "sglang": (
        vllm(
            image="lmsysorg/sglang:v0.5.3-cu129",
            command=["python3", "-m", "sglang.launch_server"],
            args=["--model-path", LLAMA],
        ),
        True,
    ),
    "pod": (of("Pod", "v1", POD), True),
    "group-of-one": (group(1), True),
    "group-of-two": (group(2), False),
    "predictor": (service(**POD), True),
    "predictor-of-a-runtime": (
        service(model={"modelFormat": {"name": "vLLM"}, "storageUri": f"hf://{LLAMA}"}),
        False,
    ),
    "stateful": (
        of(
            "StatefulSet",
            "apps/v1",
            {"serviceName": "it", "selector": SELECTOR, "template": TEMPLATE},
        ),
        True,
    ),
    "daemon": (of("DaemonSet", "apps/v1", {"selector": SELECTOR, "template": TEMPLATE}), True),
    "job": (of("Job", "batch/v1", {"template": ONCE}), True),
    "cron": (
        of(
            "CronJob",
            "batch/v1",
            {"schedule": "0 1 * * *", "jobTemplate": {"spec": {"template": ONCE}}},
        ),
        True,
    ),
}


def named(name: str, obj: dict[str, Any], namespace: str) -> dict[str, Any]:
    metadata = {**obj["metadata"], "name": name, "namespace": namespace}
    return {**copy.deepcopy(obj), "metadata": metadata}


def tried(cluster: Cluster, objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the floor says of each object that it refuses, by name: one dry run of kubectl."""
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    said = cluster.kubectl("create", "--dry-run=server", "-f", "-", input=listed, check=False)
    found = {}
    for line in said.stderr.splitlines():
        if line.startswith(("Error", "The ")):
            match = re.search(rf"\"([a-z0-9.-]+)\" is \w+: .*'{NAME}' .* request: (.*)", line)
            assert match, line
            found[match[1]] = match[2]
    return found


@pytest.fixture(scope="module", autouse=True)
def floor(control_plane: Cluster) -> Iterator[None]:
    """The floor in force over the namespaces of `MODES`."""
    spaces = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": f"floor-{name}", "labels": {LABEL: mode} if mode else {}},
        }
        for name, mode in MODES.items()
    ]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    kinds = [
        definition("leaderworkerset.x-k8s.io", "LeaderWorkerSet", anything),
        definition("serving.kserve.io", "InferenceService", anything, version="v1beta1"),
    ]
    made = [floor_policy(), *floor_bindings()]
    control_plane.apply([*spaces, *kinds, *made])
    waits = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=5s")
    until(lambda: not control_plane.kubectl(*waits, check=False).returncode, 60)
    until(lambda: tried(control_plane, [named("probe", vllm(), "floor-enforce")]), 60)
    yield
    for one in made:
        control_plane.kubectl("delete", one["kind"], one["metadata"]["name"])


@pytest.fixture(scope="module")
def refused(control_plane: Cluster, floor: None) -> dict[str, str]:
    """What is said of each of the cases."""
    objects = [named(name, obj, "floor-enforce") for name, (obj, _) in CASES.items()]
    return tried(control_plane, objects)


@pytest.mark.parametrize("name", CASES)
def test_what_is_certain_is_refused_and_nothing_else(name: str, refused: dict[str, str]) -> None:
    assert (name in refused) is CASES[name][1]


def test_the_message_says_how_many_gpus_it_takes_at_least_and_how_to_see_the_ways_out(
    refused: dict[str, str],
) -> None:
    assert refused["too-few"] == (
        f"the weights of {LLAMA} alone are 131 GiB, more than all the memory of the 1 GPU asked "
        "for (at most 82 GiB each, by its nodeSelector): it takes at least 2; "
        "`plimsoll check FILE` shows the ways out"
    )
    assert "the 4 GPUs asked for (at most 23 GiB each" in refused["smaller-card"]
    assert "it takes at least 6;" in refused["smaller-card"]


def test_the_command_line_refuses_all_that_the_floor_refuses(control_plane: Cluster) -> None:
    draw = random.Random(7)
    models, products = sorted(checkpoints()), sorted(cards())
    objects = []
    for number in range(120):
        key, _, value = draw.choice(products).partition("=")
        gpus = draw.choice((1, 1, 2, 4, 8))
        arguments = ["--model", draw.choice(models), f"--tensor-parallel-size={gpus}"]
        one = named(f"n{number}", deployment("it", arguments, gpus, ""), "floor-enforce")
        one["spec"]["template"]["spec"]["nodeSelector"] = {key: value}
        objects.append(one)
    refused = tried(control_plane, objects)
    assert 10 <= len(refused) <= 110
    denied = [one for one in objects if one["metadata"]["name"] in refused]
    answer = CliRunner().invoke(command, ["-", "-o", "json"], input=yaml.safe_dump_all(denied))
    verdicts = {one["name"]: one["decision"] for one in json.loads(answer.stdout)["results"]}
    assert [name for name, said in verdicts.items() if said == "allow"] == []
    assert sorted(verdicts) == sorted(refused)


def test_each_mode_of_a_namespace_does_what_it_says(control_plane: Cluster) -> None:
    def said(mode: str) -> tuple[bool, bool]:
        """Whether it is refused, and whether kubectl prints a warning."""
        text = json.dumps(named("it", vllm(), f"floor-{mode}"))
        done = control_plane.kubectl(
            "create", "--dry-run=server", "-f", "-", input=text, check=False
        )
        return done.returncode != 0, "Warning: " in done.stderr and "at least 2" in done.stderr

    expected = {
        "enforce": (True, False),
        "warn": (False, True),
        "other": (False, True),
        "audit": (False, False),
        "silent": (False, False),
    }
    assert {mode: said(mode) for mode in MODES} == expected


def test_what_a_controller_made_for_a_kind_that_is_read_is_passed(control_plane: Cluster) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "it", "uid": "1"}
    pod = named("made", of("Pod", "v1", POD), "floor-enforce")
    pod["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    assert not tried(control_plane, [pod])


def test_an_object_that_is_too_small_already_may_be_scaled_and_made_better_but_not_worse(
    control_plane: Cluster,
) -> None:
    control_plane.kubectl("label", "ns", "floor-enforce", f"{LABEL}-")
    name = "before"

    def change(**changed: Any) -> bool:
        """Whether an update of the object is refused."""
        text = json.dumps(named(name, vllm(**changed), "floor-enforce"))
        done = control_plane.kubectl("apply", "-f", "-", input=text, check=False)
        assert (done.returncode == 0) != (NAME in done.stderr), done.stderr
        return done.returncode != 0

    until(lambda: not change(product=L4), 30, "nobody looks")
    control_plane.kubectl("label", "ns", "floor-enforce", f"{LABEL}=enforce")
    probe = [named("probe", vllm(), "floor-enforce")]
    until(lambda: tried(control_plane, probe), 30, "the floor is in force")
    scale = ("scale", "deployment", name, "-n", "floor-enforce", "--replicas=3")
    control_plane.kubectl(*scale)
    assert not change(product=L4, env=[{"name": "A", "value": "b"}])
    assert not change(product=L4, gpus=2)
    assert change(product=L4, gpus=1)
    assert change(product=L4, gpus=2, args=["--model", BIG])
    assert not change(gpus=2)


def test_the_api_server_finds_no_fault_with_the_policy(control_plane: Cluster) -> None:
    shown = control_plane.get("validatingadmissionpolicy", NAME)
    assert not (shown.get("status") or {}).get("typeChecking", {}).get("expressionWarnings")
    assert len(json.dumps(floor_policy())) < 128 << 10
