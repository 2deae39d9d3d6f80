"""A checkpoint on the command line: estimate, show, export; and admission without a network."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Final, NoReturn

import pytest
import yaml

import checkpoint_files
from checkpoint_files import Maker
from commands import as_json, run
from configs import LLAMA_8B

if TYPE_CHECKING:
    from pathlib import Path

LLAMA: Final = LLAMA_8B | {"max_position_embeddings": 8192}
AWQ: Final = {"quant_method": "awq", "bits": 4, "group_size": 128}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a socket fails."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def awq(tmp_path: Path) -> Path:
    """A checkpoint packed by AWQ, whose config says nothing of it."""
    return checkpoint_files.write(
        tmp_path / "tuned",
        LLAMA,
        checkpoint_files.dense(LLAMA, Maker("awq", ("lm_head",))),
        shards=2,
    )


@pytest.mark.usefixtures("no_network")
def test_estimate_of_a_folder_and_of_its_config_are_the_same(tmp_path: Path) -> None:
    folder = checkpoint_files.write(
        tmp_path / "m", LLAMA, checkpoint_files.dense(LLAMA, Maker()), shards=4
    )
    options = ("--gpu", "nvidia-l40s", "--tp", "1")
    by_headers = as_json("estimate", str(folder), *options)
    by_config = as_json("estimate", "--config", str(folder / "config.json"), *options)
    assert by_headers["estimate"] == by_config["estimate"]
    by_uri = as_json("estimate", f"file://{folder}", *options)
    assert by_uri["estimate"] == by_headers["estimate"]
    capitals = folder.rename(tmp_path / "My_Model 8B-v1.5")
    config = (capitals / "config.json").rename(tmp_path / "Llama_Config.json")
    assert (
        as_json("estimate", "--config", str(config), *options)["estimate"] == by_config["estimate"]
    )
    config.rename(capitals / "config.json")
    assert as_json("estimate", str(capitals), *options)["estimate"] == by_headers["estimate"]


@pytest.mark.usefixtures("no_network")
def test_what_headers_say_of_packed_weights_reaches_admission_in_a_configmap(
    awq: Path, tmp_path: Path
) -> None:
    exported = run("models", "export", str(awq), "--name", "tuned", "-n", "chat")
    assert exported.exit_code == 0
    wanted = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "tuned", "namespace": "chat"},
        "spec": {
            "model": {"configMapRef": {"name": "tuned"}},
            "accelerator": {"allowed": ["nvidia-l4"], "gpusPerReplica": 1},
            "engine": {"parallelism": {"tensor": 1}},
        },
    }
    manifest = tmp_path / "all.yaml"
    manifest.write_text(exported.stdout + "---\n" + yaml.safe_dump(wanted))
    checked = as_json("check", str(manifest))
    truth = tmp_path / "config.json"
    truth.write_text(json.dumps(LLAMA | {"quantization_config": AWQ}))
    estimated = as_json(
        "estimate", "--config", str(truth), "--gpu", "nvidia-l4", "--gpus", "1", "--tp", "1"
    )
    (found,) = checked["results"] if isinstance(checked, dict) else checked
    figures = [
        [(term["name"], term["bytes"], term["known"]) for term in said["estimate"]["terms"]]
        for said in (found, estimated)
    ]
    assert figures[0] == figures[1]


def test_notes_go_to_standard_error_and_not_into_the_profile(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", LLAMA, checkpoint_files.dense(LLAMA, Maker()))
    (folder / "original").mkdir()
    result = run("models", "export", str(folder), "-o", "json")
    assert "note: passed over original/" in result.stderr
    assert json.loads(result.stdout)["name"] == "m"


def test_show_of_a_checkpoint_counts_its_bytes(awq: Path) -> None:
    shown = as_json("models", "show", str(awq))
    size = checkpoint_files.size_of(checkpoint_files.dense(LLAMA, Maker("awq", ("lm_head",))))
    assert shown["checkpointBytes"] == size
    assert shown["quantization"] == "w4a16"


def test_a_gguf_file_needs_no_config(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    import gguf_files

    path = gguf_files.write(
        tmp_path / "m.gguf",
        "llama",
        gguf_files.keys(LLAMA),
        gguf_files.dense(LLAMA),
        words=128256,
        default="Q4_K",
    )
    shown = as_json("models", "show", str(path))
    assert shown["parameters"] == as_json("models", "show", "meta-llama/Llama-3.1-8B")["parameters"]
    result = run("estimate", str(path), "--gpu", "nvidia-l4")
    assert result.exit_code == 0
    assert "8.03B parameters" in result.stdout


@pytest.mark.parametrize("command", [("estimate",), ("models", "show"), ("models", "export")])
def test_a_bad_checkpoint_ends_with_2_and_one_sentence(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    result = run(*command, str(tmp_path))
    assert result.exit_code == 2
    assert "MODEL: Invalid value" in result.stderr
    assert "a safetensors file" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_that_nobody_knows_is_told_of_the_ways_in() -> None:
    result = run("estimate", "acme/unheard-of", "--gpu", "nvidia-l4")
    assert result.exit_code == 2
    assert "its folder, --from-hub, --config FILE" in result.stderr


@pytest.mark.usefixtures("no_network")
def test_an_id_alone_never_opens_a_socket() -> None:
    for command in (("estimate", "--gpu", "nvidia-l4"), ("models", "show"), ("models", "export")):
        assert run(*command, "acme/unheard-of").exit_code == 2
        assert run(*command, "hf://Qwen/Qwen3-8B").exit_code == 0


def test_from_hub_without_a_model_is_a_mistake() -> None:
    result = run("estimate", "--from-hub", "--parameters", "7B")
    assert result.exit_code == 2
    assert "--from-hub goes with MODEL" in result.stderr
