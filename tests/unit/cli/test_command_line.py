"""The command line as its users meet it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import gpu_node
from commands import as_json, run
from configs import LLAMA_8B
from plimsoll.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "deploy" / "samples"


def manifest(name: str = "m", namespace: str = "chat", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


FITS = manifest("fits", model={"uri": "hf://Qwen/Qwen2.5-7B-Instruct"})
REFUSED = manifest(
    "refused",
    model={"uri": "hf://meta-llama/Llama-3.3-70B-Instruct"},
    accelerator={"allowed": ["nvidia-l4"], "gpusPerReplica": 1},
)


# check


def test_check_of_what_fits_says_so_and_ends_with_0() -> None:
    result = run("check", "-", stdin=yaml.safe_dump(FITS))
    assert result.exit_code == 0
    assert "chat/fits" in result.stdout
    assert "fits" in result.stdout


def test_check_of_what_does_not_fit_says_why_and_what_would_and_ends_with_1() -> None:
    result = run("check", "-", stdin=yaml.safe_dump(REFUSED))
    assert result.exit_code == 1
    for words in (
        "REFUSED",
        "short by",
        "Any one of these fits:",
        "spec.accelerator.gpusPerReplica",
    ):
        assert words in result.stdout


def test_check_names_an_override_and_does_not_count_it() -> None:
    annotations = {"plimsoll.dev/override": "approved by the board"}
    overridden = {**REFUSED, "metadata": {**REFUSED["metadata"], "annotations": annotations}}
    text = yaml.safe_dump(overridden)
    result = run("check", "-", stdin=text)
    assert result.exit_code == 1
    assert "REFUSED" in result.stdout
    assert (
        "overridden by annotation (if whoever applies it may override): approved by the board"
    ) in result.stdout
    assert as_json("check", "-", stdin=text)["results"][0]["override"] == "approved by the board"
    assert "overridden by" not in run("check", "-", "--policy", "warn", stdin=text).stdout
    assert as_json("check", "-", stdin=yaml.safe_dump(REFUSED))["results"][0]["override"] is None


def test_check_of_a_folder_judges_every_document_of_every_file() -> None:
    result = run("check", str(SAMPLES))
    assert result.exit_code == 1
    for name in ("smallest", "llama-70b", "support-bot", "qwen3-moe", "in-house-70b", "too-small"):
        assert f"default/{name}" in result.stdout


def test_one_refused_document_among_several_in_a_file_ends_with_1() -> None:
    result = run("check", "-", stdin=yaml.safe_dump_all([FITS, REFUSED]))
    assert result.exit_code == 1
    assert "chat/fits" in result.stdout
    assert "chat/refused" in result.stdout


@pytest.mark.parametrize(("mode", "code"), [("enforce", 1), ("warn", 0), ("audit", 0)])
def test_a_namespace_among_the_manifests_sets_the_policy(mode: str, code: int) -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "chat", "labels": {"plimsoll.dev/policy": mode}},
    }
    assert run("check", "-", stdin=yaml.safe_dump_all([namespace, REFUSED])).exit_code == code


def test_the_policy_option_holds_if_no_namespace_says_otherwise() -> None:
    assert run("check", "--policy", "warn", "-", stdin=yaml.safe_dump(REFUSED)).exit_code == 0


def test_a_config_map_among_the_manifests_is_the_model() -> None:
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "mine", "namespace": "chat"},
        "data": {"config.json": json.dumps(LLAMA_8B)},
    }
    asks = manifest(model={"configMapRef": {"name": "mine"}})
    answer = as_json("check", "-", stdin=yaml.safe_dump_all([config_map, asks]))
    assert answer["results"][0]["model"]["parameters"] == 8030261248
    assert answer["otherObjects"] == 1


def test_a_saved_inventory_decides_where_it_goes(tmp_path: Path) -> None:
    saved = tmp_path / "nodes.json"
    saved.write_text(json.dumps({"kind": "List", "items": [gpu_node("l4-1", "l4")]}))
    answer = as_json("check", "-", "--inventory", str(saved), stdin=yaml.safe_dump(FITS))
    placed = answer["results"][0]["placement"]
    assert placed["accelerator"] == "nvidia-l4"
    assert placed["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo: [", "valid YAML"),
        ("- 1\n- 2\n", "a Kubernetes object"),
        ("hello", "a Kubernetes object"),
        ("apiVersion: plimsoll.dev/v9\nkind: LLMDeployment\n", "plimsoll.dev/v1alpha1"),
        ("", "a manifest"),
    ],
)
def test_what_is_no_manifest_ends_with_2_and_says_what_was_wanted(text: str, said: str) -> None:
    result = run("check", "-", stdin=text)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_that_is_not_there_ends_with_2() -> None:
    result = run("check", "no-such-file.yaml")
    assert result.exit_code == 2
    assert "no-such-file.yaml" in result.stderr


def test_bad_fields_are_refused_all_at_once() -> None:
    bad = manifest(model={"parameters": "999999999T"}, engine={"maxModelLen": -1, "tensor": 2})
    result = run("check", "-", stdin=yaml.safe_dump(bad))
    assert result.exit_code == 1
    for path in ("spec.model.parameters", "spec.engine.maxModelLen", "spec.engine.tensor"):
        assert path in result.stdout


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_no_bytes_make_check_crash(data: bytes) -> None:
    assert run("check", "-", stdin=data).exit_code in (0, 1, 2)


# estimate


def test_estimate_shows_every_term_and_what_it_is_known_from() -> None:
    result = run("estimate", "Qwen/Qwen3-32B", "--gpu", "nvidia-h100-80gb", "--tp", "2")
    assert result.exit_code == 0
    for words in (
        "weights",
        "KV cache",
        "activation peak",
        "non-torch",
        "CUDA graphs",
        "needs",
        "has",
        "exact",
        "modelled",
        "rule of thumb: 79 GB",
    ):
        assert words in result.stdout


def test_estimate_as_json_adds_up() -> None:
    answer = as_json("estimate", "Qwen/Qwen3-32B", "--gpu", "nvidia-h100-80gb", "--tp", "2")
    terms = answer["estimate"]["terms"]
    per_gpu = answer["estimate"]["perGPU"]
    assert sum(term["bytes"] for term in terms) == per_gpu["required"]
    assert per_gpu["usable"] - per_gpu["required"] == per_gpu["spare"]


def test_estimate_without_a_gpu_has_a_line_for_each_kind() -> None:
    result = run("estimate", "Qwen/Qwen3-8B", "--max-model-len", "8192")
    assert result.exit_code == 0
    for name in ("nvidia-l4", "nvidia-a100-80gb", "nvidia-b200"):
        assert name in result.stdout


def test_the_rule_of_thumb_is_168_gb_for_70b_at_16_bits_and_42_at_4() -> None:
    assert "168 GB" in run("estimate", "--parameters", "70B", "--bits", "16").stdout
    assert "42 GB" in run("estimate", "--parameters", "70B", "--bits", "4").stdout


def test_estimate_takes_a_config_file(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA_8B))
    answer = as_json("estimate", "--config", str(config), "--gpu", "nvidia-l4")
    assert answer["model"]["parameters"] == 8030261248


def test_estimate_names_the_nearest_gpus_for_an_unknown_one() -> None:
    result = run("estimate", "Qwen/Qwen3-8B", "--gpu", "nvidia-a100-90gb")
    assert result.exit_code == 2
    assert "did you mean nvidia-a100-80gb (80.0 GiB) or nvidia-a100-40gb" in result.stderr


@pytest.mark.parametrize(
    ("typed", "card"),
    [
        ("A100 80GB", "nvidia-a100-80gb"),
        ("NVIDIA A100 80 GB PCIe", "nvidia-a100-80gb"),
        ("H100 SXM5", "nvidia-h100-80gb"),
        ("NVIDIA H100 NVL 94GB", "nvidia-h100-nvl"),
        ("rtx4090", "nvidia-rtx-4090"),
        ("RTX 4090 48GB", "nvidia-rtx-4090-48gb"),
        ("RTX PRO 6000 Blackwell", "nvidia-rtx-pro-6000"),
        ("AMD Instinct MI300X", "amd-mi300x"),
        ("NVIDIA A10 Tensor Core GPU", "nvidia-a10"),
        ("nvidia-tesla-a100", "nvidia-a100-40gb"),
    ],
)
def test_a_gpu_is_known_by_what_makers_clouds_and_people_call_it(typed: str, card: str) -> None:
    assert as_json("estimate", "Qwen/Qwen3-8B", "--gpu", typed)["accelerator"] == card
    manifest = run("render", "Qwen/Qwen3-8B", "--gpu", typed, "--max-model-len", "4096")
    assert card in manifest.stdout + manifest.stderr


@pytest.mark.parametrize("typed", ["A100", "V100 SXM2", "RTX 4060 Ti", "RTX 3080 Laptop GPU"])
@pytest.mark.parametrize(
    "command",
    [
        ("estimate", "Qwen/Qwen3-8B"),
        ("render", "Qwen/Qwen3-8B"),
        ("dry-start", "Qwen/Qwen3-8B", "--show", "--image", "vllm/vllm-openai:v0.33.0"),
        ("calibrate", "rows.jsonl"),
        ("read-log", "-"),
    ],
    ids=lambda words: words[0],
)
def test_a_name_of_several_gpus_is_refused_with_the_choices(
    command: tuple[str, ...], typed: str
) -> None:
    result = run(*command, "--gpu", typed, stdin="")
    assert result.exit_code == 2
    assert f'--gpu: Invalid value: "{typed}": the name of one accelerator' in result.stderr
    assert re.search(r"write nvidia-[\w-]+ or nvidia-[\w-]+", result.stderr)


def test_estimate_refuses_a_tensor_parallel_size_that_does_not_divide_the_heads() -> None:
    result = run("estimate", "Qwen/Qwen3-32B", "--gpu", "nvidia-h100-80gb", "--tp", "3")
    assert result.exit_code == 2
    assert "64 attention heads" in result.stderr


def test_estimate_of_an_unknown_model_ends_with_2_and_names_the_nearest() -> None:
    result = run("estimate", "Qwen/Qwenn3-32B", "--gpu", "nvidia-l4")
    assert result.exit_code == 2
    assert "Qwen/Qwen3-32B" in result.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model_type": 7}', "nan", "\x00"])
def test_a_config_file_that_is_none_ends_with_2_in_words(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(text)
    result = run("estimate", "--config", str(config), "--gpu", "nvidia-l4")
    assert result.exit_code == 2
    assert result.stderr.startswith("plimsoll: ")


def test_a_config_file_that_is_not_there_ends_with_2() -> None:
    result = run("estimate", "--config", "nowhere.json")
    assert result.exit_code == 2
    assert "nowhere.json" in result.stderr


# models, accelerators, inventory, completion


def test_models_show_has_the_exact_parameter_count_as_an_integer() -> None:
    shown = as_json("models", "show", "META-LLAMA/llama-3.3-70b-instruct")
    assert shown["parameters"] == 70553706496


def test_models_show_reads_a_config_file_too(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA_8B))
    assert as_json("models", "show", "--config", str(config))["parameters"] == 8030261248


def test_models_show_names_the_nearest_for_an_unknown_id() -> None:
    result = run("models", "show", "unsloth/Qwen3-14B-Instruct")
    assert result.exit_code == 2
    assert "plimsoll models list" in result.stderr


def test_an_exported_config_map_is_the_same_model(tmp_path: Path) -> None:
    exported = run("models", "export", "openai/gpt-oss-20b", "--name", "mine", "-n", "chat").stdout
    asks = yaml.safe_dump(manifest(model={"configMapRef": {"name": "mine"}}))
    answer = as_json("check", "-", stdin=f"{exported}\n---\n{asks}")
    wanted = as_json("models", "show", "openai/gpt-oss-20b")["parameters"]
    assert answer["results"][0]["model"]["parameters"] == wanted
    assert answer["results"][0]["model"]["source"] == "FromProfile"


def test_models_list_finds_by_alias() -> None:
    assert "DeepSeek-V3" in run("models", "list", "v3-0324").stdout


def test_accelerators_show_what_drivers_report() -> None:
    found = {a["name"]: a for a in as_json("accelerators")}
    assert found["nvidia-h100-80gb"]["memory"] == 81559 << 20
    assert "nvidia-a100-80gb-mig-1g.10gb" in {a["name"] for a in as_json("accelerators", "--mig")}


def test_inventory_reads_nodes_from_standard_input_and_says_what_it_left_out() -> None:
    odd = gpu_node("odd", "a100-80gb", labels={"nvidia.com/gpu.count": "4"})
    nodes = {"kind": "List", "items": [gpu_node("l4-1", "l4"), odd]}
    result = run("inventory", "--from", "-", stdin=json.dumps(nodes))
    assert result.exit_code == 0
    assert "nvidia-l4" in result.stdout
    assert "odd: " in result.stdout


def test_inventory_asks_kubectl_and_says_what_kubectl_said(tmp_path: Path) -> None:
    fake = tmp_path / "kubectl"
    fake.write_text("#!/bin/sh\necho 'error: the server is down' >&2\nexit 1\n")
    fake.chmod(0o755)
    result = run("inventory", "--kubectl", str(fake))
    assert result.exit_code == 2
    assert "the server is down" in result.stderr


def test_what_inventory_saves_check_takes(tmp_path: Path) -> None:
    nodes = {"kind": "List", "items": [gpu_node("a", "a100-80gb"), gpu_node("b", "l4")]}
    saved = tmp_path / "cluster.json"
    saved.write_text(run("inventory", "--from", "-", "-o", "json", stdin=json.dumps(nodes)).stdout)
    answer = as_json("check", "-", "--inventory", str(saved), stdin=yaml.safe_dump(FITS))
    assert answer["results"][0]["capacity"]["reason"] == "NodesMatch"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    assert "_PLIMSOLL_COMPLETE" in run("completion", shell).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert run(command, "--help").exit_code == 0


# as a process


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "plimsoll.cli", *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, **options)


def test_the_process_ends_with_the_code_that_it_means() -> None:
    assert process("check", str(SAMPLES / "refused.yaml")).returncode == 1
    assert process("check", "nowhere").returncode == 2


def test_a_pipe_gets_plain_text_and_a_terminal_gets_bars() -> None:
    arguments = ["estimate", "Qwen/Qwen3-8B", "--gpu", "nvidia-l4"]
    assert b"\x1b" not in process(*arguments).stdout
    assert "█".encode() not in process(*arguments).stdout
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "plimsoll.cli", *arguments],
        stdout=follower,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "160"},
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert child.wait(30) == 0
    assert "█".encode() in shown


def test_a_model_type_that_nobody_knows_is_warned_about_and_never_refused(tmp_path: Path) -> None:
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "mine", "namespace": "chat"},
        "data": {"config.json": json.dumps(LLAMA_8B | {"model_type": "brand-new"})},
    }
    asks = manifest(
        model={"configMapRef": {"name": "mine"}},
        accelerator={"allowed": ["nvidia-l4"], "gpusPerReplica": 1},
        engine={"maxModelLen": 131072},
    )
    result = run("check", "-", stdin=yaml.safe_dump_all([config_map, asks]))
    assert result.exit_code == 0
    assert "warning" in result.stdout
    assert "its model type is not known in all its parts" in result.stdout
    assert "brand-new" not in result.stdout
    known = {**config_map, "data": {"config.json": json.dumps(LLAMA_8B)}}
    assert run("check", "-", stdin=yaml.safe_dump_all([known, asks])).exit_code == 1
