"""Claims about `plimsoll render`: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from builders import gpu_node
from commands import as_json, run

if TYPE_CHECKING:
    from pathlib import Path

LLAMA = """
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: llama, namespace: chat}
spec:
  model: {uri: "hf://meta-llama/Llama-3.1-8B-Instruct"}
  engine: {maxModelLen: 8192}
  accelerator: {allowed: [nvidia-l40s]}
"""


def test_it_prints_what_runs_each_manifest_with_the_reasons_as_comments(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LLAMA)
    (tmp_path / "b.yaml").write_text(LLAMA.replace("name: llama", "name: other"))
    made = run("render", tmp_path)
    assert made.exit_code == 0
    kinds = [(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(made.stdout)]
    assert kinds == [
        ("Deployment", "llama"),
        ("Service", "llama"),
        ("Deployment", "other"),
        ("Service", "other"),
    ]
    assert "# chat/llama: 1 x nvidia-l40s per replica" in made.stdout
    assert "# CPU 3: a process for each of 1 GPU, and those beside them" in made.stdout
    assert "&id" not in made.stdout


def test_a_pod_for_which_no_node_of_the_inventory_has_the_disk_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text(LLAMA)
    node = gpu_node("l40s-0", "l40s")
    node["status"]["allocatable"]["ephemeral-storage"] = "8Gi"
    (tmp_path / "nodes.json").write_text(json.dumps({"kind": "List", "items": [node]}))
    given = ("render", tmp_path / "it.yaml", "--inventory", tmp_path / "nodes.json")
    made = run(*given)
    assert made.exit_code == 0
    assert "GiB of ephemeral-storage, and no node has more than 8.0 GiB" in made.stderr
    assert "cacheClaim: NAME" in made.stderr
    assert "ephemeral-storage" not in run(*given, "--cache-claim", "models").stderr


def test_a_model_with_options_is_the_same_as_its_manifest(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(LLAMA)
    options = ("--gpu", "nvidia-l40s", "--max-model-len", 8192, "--name", "llama", "-n", "chat")
    by_options = as_json("render", "meta-llama/Llama-3.1-8B-Instruct", *options)
    assert by_options == as_json("render", file)


def test_a_card_that_is_stated_is_planned_on_and_selected_by_nothing_that_is_guessed() -> None:
    stated = ("--gpu-memory", "47.5GiB", "--compute-capability", "8.9", "--in-use", "2GiB")
    made = as_json("render", "meta-llama/Llama-3.1-8B-Instruct", *stated, "--max-model-len", 8192)
    pod = made["items"][0]["spec"]["template"]["spec"]
    assert "affinity" not in pod
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_options_of_a_model_beside_a_manifest_are_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(LLAMA)
    made = run("render", file, "--gpu", "nvidia-l4")
    assert made.exit_code == 2
    assert "go with MODEL: a manifest says them" in made.stderr


def test_options_win_over_the_manifest_and_are_read_as_its_fields(tmp_path: Path) -> None:
    file, template = tmp_path / "it.yaml", tmp_path / "pod.yaml"
    file.write_text(LLAMA + "  output: {image: example.com/vllm:1, queueName: a}\n")
    template.write_text("spec: {priorityClassName: high}\n")
    workload = as_json("render", file, "--queue", "b", "--template", template)["items"][0]
    assert workload["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "b"
    pod = workload["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == "high"
    assert pod["containers"][0]["image"] == "example.com/vllm:1"
    wrong = run("render", file, "--read-rate", "fast")
    assert wrong.exit_code == 1
    assert 'spec.output.readRate: Invalid value: "fast"' in wrong.stderr


def test_what_is_refused_renders_nothing_of_all_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "fine.yaml").write_text(LLAMA)
    refused = LLAMA.replace("nvidia-l40s", "nvidia-l4").replace("8192", "131072")
    refused = refused.replace("[nvidia-l4]", "[nvidia-l4], gpusPerReplica: 1")
    (tmp_path / "large.yaml").write_text(refused.replace("name: llama", "name: large"))
    made = run("render", tmp_path)
    assert made.exit_code == 1
    assert made.stdout == ""
    assert "plimsoll: chat/large is not rendered:" in made.stderr
    assert "Any one of these fits" in made.stderr


def test_a_template_with_which_it_would_be_refused_is_not_printed(tmp_path: Path) -> None:
    file, template = tmp_path / "it.yaml", tmp_path / "pod.yaml"
    file.write_text(LLAMA)
    args = "[meta-llama/Llama-3.1-8B-Instruct, --max-model-len=131072, --max-num-seqs=8192, "
    args += "--gpu-memory-utilization=0.2]"
    template.write_text(f"spec: {{containers: [{{name: engine, args: {args}}}]}}\n")
    made = run("render", file, "--template", template)
    assert made.exit_code == 1
    assert "with the pod template it would be refused:" in made.stderr


def test_there_must_be_something_to_render(tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    made = run("render", tmp_path)
    assert made.exit_code == 2
    assert "an LLMDeployment" in made.stderr
