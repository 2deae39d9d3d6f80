"""Claims about the floor on a real API server, with every process of ours down."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from cluster.fixtures_operator import DEPLOY, install, llm_deployment, until
from cluster.plane import LLAMA
from plimsoll.accelerators.catalogue import find
from plimsoll.decision.decide import decide
from plimsoll.decision.verdict import Decision
from plimsoll.models.catalogue import load as load_catalogue
from plimsoll.workloads.llmdeployment import NoDocuments, request
from plimsoll_operator.api.policy import checkpoints, mebibytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from controlplane import Cluster

A100 = "nvidia-a100-80gb"
NAME = "plimsoll-floor"


LONGER = '{"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "max_position_embeddings": 99}'
SHORTER = '{"rope_theta": 1, "num_hidden_layers": 2}'


def on(gpus: int | None, *allowed: str, **more: Any) -> dict[str, Any]:
    """A spec that asks for so many GPUs of these kinds. more: further parts of it."""
    accelerator: dict[str, Any] = {"allowed": list(allowed or (A100,))}
    if gpus is not None:
        accelerator["gpusPerReplica"] = gpus
    return {"model": {"uri": LLAMA}, "accelerator": accelerator, **more}


def refused(
    cluster: Cluster,
    namespace: str,
    spec: Mapping[str, Any],
    *,
    name: str = "it",
    annotations: Mapping[str, str] | None = None,
    user: Path | None = None,
) -> str:
    """What kubectl prints if the floor refuses; empty if it lets the object in."""
    obj = llm_deployment(name, namespace, spec)
    obj["metadata"]["annotations"] = dict(annotations or {})
    result = cluster.kubectl(
        "apply", "-f", "-", input=json.dumps(obj), check=False, kubeconfig=user
    )
    assert (result.returncode == 0) != (NAME in result.stderr), result.stderr
    return result.stderr


@pytest.fixture(autouse=True, scope="module")
def floor(control_plane: Cluster) -> Iterator[None]:
    """CRD and floor, in force; afterwards only the CRD."""
    install(control_plane)
    control_plane.kubectl("apply", "-f", str(DEPLOY / "floor.yaml"))
    probe = json.dumps(llm_deployment("probe", "default", on(1)))
    dry = ("create", "--dry-run=server", "-f", "-")
    until(lambda: NAME in control_plane.kubectl(*dry, input=probe, check=False).stderr, 30)
    yield
    control_plane.kubectl("delete", "-f", str(DEPLOY / "floor.yaml"))


def test_too_few_gpus_for_the_weights_are_refused_with_figures_and_a_way_out(
    control_plane: Cluster, namespace: str
) -> None:
    assert (
        "spec.accelerator.gpusPerReplica: Invalid value: 1: the weights alone are 131 GiB, more "
        "than all the memory of 1 x nvidia-a100-80gb; raise it, or leave it out and Plimsoll "
        "computes it"
    ) in refused(control_plane, namespace, on(1))
    assert not refused(control_plane, namespace, on(2))


@pytest.mark.parametrize(
    ("spec", "is_refused"),
    [
        (on(1), True),
        (on(1, A100, "nvidia-l4"), True),
        (on(1, "A100-80GB"), True),
        (on(1, A100, "nvidia-b200"), False),  # the larger of the two holds it
        (on(1, "nvidia-of-next-year"), False),  # nobody knows how much it has
        (on(None), False),
        ({"model": {"uri": LLAMA}, "accelerator": {"gpusPerReplica": 1}}, False),
        (on(None, engine={"parallelism": {"tensor": 1, "pipeline": 1}}), True),
        (on(None, engine={"parallelism": {"tensor": 1}}), False),
        (on(None, engine={"parallelism": {"tensor": 2, "pipeline": 1}}), False),
        (on(1, model={"uri": LLAMA.replace("meta-llama", "META-LLAMA")}), True),
        (on(1, model={"uri": LLAMA + "@main"}), True),
        (on(1, model={"uri": "s3://b/m", "baseModel": LLAMA[5:]}), True),
        (on(1, model={"uri": LLAMA, "quantization": "awq"}), True),
        (on(1, model={"uri": LLAMA, "configMapRef": {"name": "mine"}}), True),
        (on(1, model={"uri": LLAMA, "baseModel": "Qwen/Qwen3-0.6B"}), True),
        (on(1, model={"uri": LLAMA + "@awq", "quantization": "awq"}), False),
        (on(1, model={"uri": LLAMA, "revision": "awq", "baseModel": "Qwen/Qwen3-0.6B"}), False),
        (on(1, model={"uri": "s3://b/m", "baseModel": LLAMA[5:], "quantization": "awq"}), False),
        (on(1, engine={"dtype": "bfloat16"}), True),
        (on(1, workload={"imagesPerPrompt": 5}), True),
        (on(1, workload={"imagesPerPrompt": 0}), False),
        (on(1, engine={"extraArgs": ["--seed=1", "-O0", "--max-num-seqs", "-1", "word"]}), True),
        (on(1, engine={"extraArgs": ["--seed=1", "--quantiz=fp8"]}), False),
        (on(1, engine={"extraArgs": ["--hf_overrides.num_hidden_layers=1"]}), False),
        (on(1, engine={"extraArgs": ["--hf-overrides={}"]}), True),
        (on(1, engine={"extraArgs": ["--hf_overrides", LONGER, "--seed=1"]}), True),
        (on(1, engine={"extraArgs": [f"--hf-overrides={LONGER}"]}), True),
        (on(1, engine={"extraArgs": ["--hf-overrides.rope_theta=5"]}), True),
        (on(1, engine={"extraArgs": ["--hf-overrides", SHORTER]}), False),
        (on(1, engine={"extraArgs": [f"--hf-overrides={SHORTER}"]}), False),
        (on(1, engine={"extraArgs": ["--hf-overrides", "{}", "--hf-over", SHORTER]}), False),
        (on(1, engine={"extraArgs": ["--hf-overrides", "{}", "--hf-overrides", "$A"]}), False),
        (on(1, engine={"extraArgs": ["-q", "fp8"]}), False),
        (on(1, engine={"quantization": "fp8"}), False),
        (on(1, engine={"extraArgs": ["--cpu-offload-gb=100"]}), False),
        (on(1, model={"uri": "hf://acme/nobody-knows-70B"}), False),
        (on(1, model={"parameters": "70B", "bits": 16}), True),
        (on(1, model={"parameters": "70B"}), True),
        (on(1, model={"parameters": "70B", "bits": 8}), False),
        (on(2, model={"parameters": "70B", "bits": 16}), False),
        (on(1, model={"uri": "hf://acme/nobody-knows-70B", "parameters": "70B"}), True),
        (on(1, model={"parameters": "0.07T"}), True),
        (on(1, model={"parameters": "70000M"}), True),
        (on(1, model={"parameters": "70.5B", "bits": 4}), False),
        (on(1, model={"parameters": "494K"}), False),
        (on(1, model={"parameters": "999999T"}), True),
    ],
)
def test_the_floor_refuses_what_is_certain_and_nothing_else(
    control_plane: Cluster, namespace: str, spec: dict[str, Any], is_refused: bool
) -> None:
    assert bool(refused(control_plane, namespace, spec)) is is_refused


@pytest.mark.parametrize("mode", ["warn", "audit", "Warn"])
def test_a_relaxed_namespace_lets_it_in(control_plane: Cluster, namespace: str, mode: str) -> None:
    control_plane.kubectl("label", "namespace", namespace, f"plimsoll.dev/policy={mode}")
    until(lambda: not refused(control_plane, namespace, on(1)), 5)


def test_a_namespace_that_enforces_or_says_nonsense_does_not(
    control_plane: Cluster, namespace: str
) -> None:
    for mode in ("enforce", "off"):
        control_plane.kubectl(
            "label", "namespace", namespace, f"plimsoll.dev/policy={mode}", "--overwrite"
        )
        assert refused(control_plane, namespace, on(1))


def test_an_object_that_is_too_small_already_may_change_as_long_as_it_gets_no_worse(
    control_plane: Cluster, namespace: str
) -> None:
    big = "hf://deepseek-ai/DeepSeek-V3"
    control_plane.kubectl("label", "namespace", namespace, "plimsoll.dev/policy=warn")
    until(lambda: not refused(control_plane, namespace, on(2, model={"uri": big})), 5)
    control_plane.kubectl("label", "namespace", namespace, "plimsoll.dev/policy-")
    until(lambda: refused(control_plane, namespace, on(1, model={"uri": big})), 5)

    def change(gpus: int, **more: Any) -> str:
        return refused(control_plane, namespace, on(gpus, model={"uri": big}, **more))

    assert not change(2, replicas=3)
    assert not change(2, engine={"maxModelLen": 4096})
    assert not change(3, engine={"maxModelLen": 4096})
    assert change(2)
    assert change(3, workload={}, engine={"parallelism": {"tensor": 1, "pipeline": 2}})
    assert refused(control_plane, namespace, on(1, model={"uri": LLAMA}))
    assert not refused(control_plane, namespace, on(2, model={"uri": LLAMA}))


def test_a_status_can_be_written_and_an_object_deleted_whatever_the_floor_says(
    control_plane: Cluster, namespace: str
) -> None:
    control_plane.kubectl("label", "namespace", namespace, "plimsoll.dev/policy=warn")
    until(lambda: not refused(control_plane, namespace, on(1)), 5)
    control_plane.kubectl("label", "namespace", namespace, "plimsoll.dev/policy-")
    patch = ("patch", "llmd", "it", "-n", namespace, "--subresource=status", "--type=merge", "-p")
    control_plane.kubectl(*patch, '{"status": {"observedGeneration": 1}}')
    control_plane.kubectl("delete", "llmd", "it", "-n", namespace)


def test_an_override_counts_only_for_users_who_have_the_verb(
    control_plane: Cluster, namespace: str
) -> None:
    verbs = "get,list,create,patch,update"
    for role, granted in (("writer", verbs), ("overrider", "override")):
        control_plane.kubectl(
            "create",
            "role",
            role,
            "-n",
            namespace,
            f"--verb={granted}",
            "--resource=llmdeployments.plimsoll.dev",
        )
    control_plane.kubectl(
        "create",
        "rolebinding",
        "writer",
        "-n",
        namespace,
        "--role=writer",
        "--user=alice",
        "--user=bob",
    )
    control_plane.kubectl(
        "create", "rolebinding", "overrider", "-n", namespace, "--role=overrider", "--user=bob"
    )
    alice, bob = (control_plane.kubeconfig_for(user) for user in ("alice", "bob"))
    reason = {"plimsoll.dev/override": "measured by hand"}

    assert refused(control_plane, namespace, on(1), annotations=reason, user=alice)
    assert refused(control_plane, namespace, on(1), user=bob)
    blank = {"plimsoll.dev/override": "  "}
    assert refused(control_plane, namespace, on(1), annotations=blank, user=bob)
    assert not refused(control_plane, namespace, on(1), annotations=reason, user=bob)


def some_spec(dice: random.Random) -> dict[str, Any]:
    """A spec of parts that the floor reads, most often with little in it."""

    def sometimes(**values: list[Any]) -> dict[str, Any]:
        return {name: dice.choice(of) for name, of in values.items() if dice.random() < 0.08}

    uris = [
        LLAMA,
        LLAMA + "@main",
        LLAMA + "/",
        "hf://deepseek-ai/DeepSeek-V3",
        "hf://openai/gpt-oss-120b",
        "s3://meta-llama/Llama-3.3-70B-Instruct",
        "s3://b/m",
        "hf://acme/none",
    ]
    sizes = ["70B", "7B", "1.5T", "70553706496", "494M"]
    says = dice.choice([{"uri": dice.choice(uris)}, {"parameters": dice.choice(sizes)}])
    allowed = dice.sample([A100, "A100-80GB", "nvidia-l4", "nvidia-b200", "nonsense"], 2)
    return {
        "model": {
            **sometimes(
                uri=uris,
                baseModel=[LLAMA[5:], LLAMA, "Qwen/Qwen2.5-7B-Instruct"],
                parameters=sizes,
                bits=[4, 8, 16, 32],
                quantization=["none", "fp8", "awq"],
                configMapRef=[{"name": "mine"}],
            ),
            **says,
        },
        "accelerator": {
            "gpusPerReplica": dice.choice([1, 1, 2, 3, 8]),
            "allowed": allowed[: dice.choice([1, 1, 2])],
            **sometimes(minMemory=["20Gi", "90Gi"]),
        },
        "engine": sometimes(
            name=["vllm", "sglang", "tensorrt-llm", "llama.cpp", "tgi", "generic"],
            dtype=["auto", "float32", "bfloat16"],
            quantization=["fp8", "bitsandbytes"],
            extraArgs=[["--cpu-offload-gb=200"], ["--enforce-eager"]],
            parallelism=[{"tensor": 2}, {"data": 2}, {"tensor": 1, "pipeline": 1}],
        ),
    }


def tried(control_plane: Cluster, objects: Iterable[Mapping[str, Any]]) -> tuple[set[str], int]:
    """The names of the objects that the floor refuses, and how many it lets in."""
    result = control_plane.kubectl(
        "create",
        "--dry-run=server",
        "-f",
        "-",
        check=False,
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
    )
    denied = set(re.findall(r'"(m\d+)" is forbidden', result.stderr))
    return denied, len(result.stdout.splitlines())


def test_whatever_the_floor_refuses_the_decision_refuses_too(
    control_plane: Cluster, namespace: str
) -> None:
    dice = random.Random(5)
    objects = {
        f"m{n}": {**llm_deployment(f"m{n}", namespace), "spec": some_spec(dice)} for n in range(400)
    }
    denied, let_in = tried(control_plane, objects.values())
    assert len(denied) > 30
    assert let_in > 100
    for name in denied:
        verdict = decide(request(objects[name], NoDocuments()))
        assert verdict.decision is Decision.DENY, objects[name]["spec"]


def test_the_policy_computes_what_the_tables_say_for_every_model(
    control_plane: Cluster, namespace: str
) -> None:
    weights, kinds = checkpoints(), [a for a in map(find, mebibytes()) if a is not None]
    expected: dict[str, bool] = {}
    objects = []
    known = [entry for entry in load_catalogue() if entry.id.lower() in weights]
    assert len(known) > 300
    for index, entry in enumerate(known[::3]):
        need = weights[entry.id.lower()]
        kind = kinds[index % len(kinds)].name
        gpus = min(4096, need // mebibytes()[kind] + index % 2)
        if gpus:
            name = f"m{index}"
            spec = on(gpus, kind, model={"uri": f"hf://{entry.id}"})
            objects.append(llm_deployment(name, namespace, spec))
            expected[name] = need > gpus * mebibytes()[kind]
    denied, let_in = tried(control_plane, objects)
    assert denied == {name for name, refuse in expected.items() if refuse}
    assert len(denied) > 20
    assert let_in == len(expected) - len(denied)
