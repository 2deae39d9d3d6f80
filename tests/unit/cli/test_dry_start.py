"""`plimsoll dry-start` beside an environment that a script plays: what it asks, reads and says."""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from plimsoll.cli import cli

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

MODEL = "Qwen/Qwen3-8B"
GIB = 1 << 30
STARTED: dict[str, Any] = {
    "id": MODEL,
    "version": "0.33.0",
    "reached": "end",
    "resolved": {
        "max_model_len": 8192,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "gpu_memory_utilization": 0.92,
    },
    "weights": {"counted": 20 * GIB, "runner": GIB // 2},
    "profile": {"peak": GIB, "available": 30 * GIB},
    "cache": {"blocks": 1000, "tokens": 16000},
}
REFUSED: dict[str, Any] = {
    "version": "0.33.0",
    "reached": "config",
    "refused": {
        "class": "ValueError",
        "message": "torch.float32 is not supported\x1b[31m for fp8",
        "places": ["vllm/config/vllm.py:10 check"],
    },
}


def run(*words: str, given: str | None = None) -> Result:
    base = ["dry-start", MODEL, "--gpu", "nvidia-l40s"]
    return CliRunner().invoke(cli, [*base, *words], input=given)


def printed(facts: dict[str, Any]) -> str:
    return f"INFO engine says much\n\nPLIMSOLL-FACTS {json.dumps(facts)}\nand more\n"


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A script in place of an engine's Python: keeps what it was given, prints a file."""
    path = tmp_path / "python"
    path.write_text(
        f'#!/bin/sh\ncp "$1" {tmp_path}/archive; cp "$3" {tmp_path}/case; cat {tmp_path}/says\n'
    )
    path.chmod(0o755)
    return path


def test_what_the_engine_says_stands_beside_what_we_predict_and_differences_are_named(
    python: Path, tmp_path: Path
) -> None:
    (tmp_path / "says").write_text(printed(STARTED))
    result = run("--python", str(python), "--max-model-len", "8192")
    assert result.exit_code == 0
    assert "vLLM 0.33.0 starts, as far as can be seen without a GPU" in result.output
    lines = {line.split("  ")[0]: line for line in result.output.splitlines()}
    assert "differs" in lines["weights, GiB"]
    assert "20.000" in lines["weights, GiB"]
    assert "differs" not in lines["max_model_len"]
    assert "not seen: CUDA's own memory, CUDA graphs" in result.output


def test_the_engine_is_asked_with_the_flags_the_config_and_the_gpu(
    python: Path, tmp_path: Path
) -> None:
    (tmp_path / "says").write_text(printed(STARTED))
    run("--python", str(python), "--max-model-len", "8192", "--tp", "2")
    case = json.loads((tmp_path / "case").read_text())
    assert "--tensor-parallel-size=2" in case["command_line"]
    assert "--max-model-len=8192" in case["command_line"]
    assert case["config"]["model_type"] == "qwen3"
    assert case["device"]["capability"] == [8, 9]
    with zipfile.ZipFile(tmp_path / "archive") as archive:
        assert {"__main__.py", "plimsoll_drystart/seams.py"} <= set(archive.namelist())


def test_what_we_predict_is_of_the_release_that_answered() -> None:
    older = STARTED | {"version": "0.19.1"}
    older["resolved"] = STARTED["resolved"] | {"gpu_memory_utilization": 0.9}
    for facts in (older, STARTED, STARTED | {"version": "nightly"}):
        result = run("--read", "-", given=printed(facts))
        line = next(x for x in result.output.splitlines() if x.startswith("gpu_memory"))
        assert "differs" not in line


def test_a_refusal_is_said_in_the_engines_words_with_its_place_and_ends_with_one() -> None:
    result = run("--read", "-", given=printed(REFUSED))
    assert result.exit_code == 1
    assert "refuses: torch.float32 is not supported [31m for fp8" in result.output
    assert "at vllm/config/vllm.py:10 check" in result.output


def test_a_failure_of_the_harness_is_unknown_and_no_refusal() -> None:
    failed = {"version": "0.33.0", "reached": "model", "unknown": {"message": "no shape function"}}
    result = run("--read", "-", given=printed(failed))
    assert result.exit_code == 2
    assert "unknown: the dry start ended at model: no shape function" in result.output


def test_facts_that_stop_before_the_end_are_unknown() -> None:
    result = run("--read", "-", given=printed({"version": "0.33.0", "reached": "cache"}))
    assert result.exit_code == 2
    assert "unknown" in result.output


@pytest.mark.parametrize(
    "text",
    ["", "garbage", "PLIMSOLL-FACTS", "PLIMSOLL-FACTS []", 'PLIMSOLL-FACTS {"reached": 7}',
     "PLIMSOLL-FACTS " + "[" * 100_000, "PLIMSOLL-FACTS \x00\xff"],
)  # fmt: skip
def test_what_is_no_facts_is_said_to_be_none(text: str) -> None:
    result = run("--read", "-", given=text)
    assert result.exit_code == 2
    assert "plimsoll: the dry start:" in result.output


@pytest.mark.parametrize("value", [None, "many", [], {}, {"counted": "x"}, {"counted": True}])
def test_facts_of_another_shape_say_less_and_break_nothing(value: object) -> None:
    facts = {"reached": "end", "version": 3, "weights": value, "profile": value, "resolved": value}
    result = run("--read", "-", given=printed(facts))
    assert result.exit_code == 0
    assert "weights, GiB" not in result.output


def test_an_environment_without_the_engine_is_bad_input(python: Path, tmp_path: Path) -> None:
    python.write_text("#!/bin/sh\necho 'ModuleNotFoundError: no vllm' >&2; exit 2\n")
    result = run("--python", str(python))
    assert result.exit_code == 2
    assert "no vllm" in result.output
    assert "an environment in which vLLM is installed" in result.output
    assert run("--python", str(tmp_path / "none")).exit_code == 2


def test_an_endless_start_up_is_ended_and_nothing_stays(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll.cli.dry_start._SLACK", -9)
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid; sleep 60\n")
    result = run("--python", str(python), "--seconds", "10")
    assert result.exit_code == 2
    assert "an answer within 10 s" in result.output
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_job_asks_for_no_gpu_passes_the_restricted_profile_and_speaks_to_nobody() -> None:
    result = run("--job", "--image", "my/vllm:1", "-n", "chat")
    documents = [one for one in yaml.safe_load_all(result.stdout) if one]
    config, policy, job = documents
    assert {one["metadata"]["namespace"] for one in documents} == {"chat"}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy["spec"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "my/vllm:1"
    assert "nvidia.com/gpu" not in json.dumps(container["resources"])
    assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["automountServiceAccountToken"] is False
    assert (job["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert job["spec"]["activeDeadlineSeconds"] > 600
    archive = base64.b64decode(config["binaryData"]["drystart.pyz"])
    assert zipfile.ZipFile(io.BytesIO(archive)).testzip() is None
    assert len(archive) < 200_000
    assert json.loads(config["data"]["case.jsonl"])["id"] == MODEL
    assert "&id" not in result.stdout


def test_the_command_of_a_container_has_no_network_no_rights_and_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--image", "my/vllm:1", "--show")
    assert result.exit_code == 0
    for flag in ("--network=none", "--read-only", "--cap-drop=ALL", "--memory=8g", "--rm"):
        assert flag in result.stdout
    assert "--gpus" not in result.stdout
    assert (tmp_path / "plimsoll-dry-start" / "drystart.pyz").is_file()


def test_a_manifest_is_read_as_check_reads_it(tmp_path: Path) -> None:
    manifest = tmp_path / "model.yaml"
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.33.0",
        "args": ["--model", MODEL, "--max-num-seqs", "77"],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    manifest.write_text(yaml.safe_dump(pod | {"spec": {"containers": [container]}}))
    words = ["dry-start", str(manifest), "--gpu", "nvidia-l40s", "--job", "--image", "x"]
    result = CliRunner().invoke(cli, words)
    config = next(yaml.safe_load_all(result.stdout))
    assert "--max-num-seqs=77" in json.loads(config["data"]["case.jsonl"])["command_line"]


def test_a_model_that_is_not_known_needs_its_config_and_is_asked_with_it(tmp_path: Path) -> None:
    words = ["dry-start", "me/day-zero", "--gpu", "nvidia-l40s", "--read", "-"]
    result = CliRunner().invoke(cli, words, input=printed(STARTED))
    assert result.exit_code == 2
    assert "--config" in result.output


def test_one_way_of_asking_must_be_said() -> None:
    assert "say one of --python PATH, --image IMAGE or --read FILE" in run().output
    assert "--job goes with --image" in run("--job", "--read", "-").output
    assert "a known accelerator" in CliRunner().invoke(
        cli, ["dry-start", MODEL, "--gpu", "nvidia-l44", "--read", "-"]
    ).output.replace("\n", " ")


def test_another_engine_is_said_not_to_be_dry_started_yet() -> None:
    result = run("--engine", "sglang", "--read", "-", given="")
    assert result.exit_code == 2
    assert "no other engine can be dry started yet" in result.output
