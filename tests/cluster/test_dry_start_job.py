"""Claims about `plimsoll dry-start --job --run` on a real API server, in a restricted namespace.

No kubelet runs here and no engine is installed: `cluster.pod_runner` plays the node, and
`stub_engine` stands in vLLM's place under the real harness.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from cluster.fixtures_operator import until
from cluster.plane import own_plane
from cluster.pod_runner import Image, pod_runner
from plimsoll.cli import cli
from stub_engine import installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

    from cluster.pod_runner import PodRunner
    from controlplane import ControlPlane

MODEL = "Qwen/Qwen3-8B"
SOON = 120.0
GARBAGE = "#!/bin/sh\nprintf 'PLIMSOLL-FACTS {\\033[31m\\nhello\\n'; exit %s\n"

plane = own_plane("runs Jobs", installed=False)


@pytest.fixture(scope="module")
def runner(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodRunner]:
    folder = tmp_path_factory.mktemp("images")
    engine = Image((installed(folder),))
    programs = {
        "garbage": GARBAGE % 0,
        "garbage-fails": GARBAGE % 3,
        "sleeps": "#!/bin/sh\nsleep 600\n",
    }
    images = {
        "engine": engine,
        "bare": Image(),
        "nothing": Image(python=""),
        "killed": replace(engine, killed=True),
    }
    for name, text in programs.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
        images[name] = Image(python=str(path))
    with pod_runner(plane.kubeconfig, images) as playing:
        yield playing


@pytest.fixture
def restricted(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh namespace that takes no pod but one of the restricted profile."""
    name = f"dry-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", name)
    label = "pod-security.kubernetes.io/enforce=restricted"
    plane.kubectl("label", "namespace", name, label)
    monkeypatch.setattr("plimsoll.cli.dry_job._LOOK_EVERY", 0.3)
    return name


def words(plane: ControlPlane, space: str, image: str, *more: str) -> list[str]:
    base = ["dry-start", MODEL, "--gpu", "nvidia-l40s", "--job", "--run", "--image", image]
    where = ["-n", space, "--kubectl", str(plane.kubectl_path)]
    return [*base, *where, "--kubeconfig", str(plane.kubeconfig), *more]


def run(plane: ControlPlane, space: str, image: str, *more: str) -> Result:
    """The command, and that nothing of it is left."""
    result = CliRunner().invoke(cli, words(plane, space, image, *more))
    assert_nothing_is_left(plane, space)
    return result


def assert_nothing_is_left(plane: ControlPlane, space: str) -> None:
    every = ("jobs,pods,configmaps,networkpolicies", "-n", space)
    until(lambda: not plane.get(*every)["items"], SOON, "nothing is left")


def limit(plane: ControlPlane, space: str, what: str) -> None:
    """A quota of none of a kind, with the status that its controller would write."""
    hard = {what: "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    plane.kubectl(
        "create", "-n", space, "-f", "-", input=json.dumps(quota | {"spec": {"hard": hard}})
    )
    patch = json.dumps({"status": {"hard": hard, "used": {what: "0"}}})
    where = ("resourcequota", "none", "-n", space, "--subresource=status", "--type=merge")
    plane.kubectl("patch", *where, "-p", patch)


def test_what_the_engine_says_in_a_job_stands_beside_what_we_predict(
    plane: ControlPlane, runner: PodRunner, restricted: str
) -> None:
    result = run(plane, restricted, "engine", "--max-model-len", "8192")
    assert result.exit_code == 0, result.output
    assert "vLLM 0.33.0 starts, as far as can be seen without a GPU" in result.stdout
    lines = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    assert "8,192" in lines["max_model_len"]
    assert "14.659" in lines["weights, GiB"]
    assert "tokens of the cache" in lines
    assert "plimsoll: fits" in result.stdout


def test_a_refusal_of_the_engine_in_a_job_is_said_in_its_words(
    plane: ControlPlane, runner: PodRunner, restricted: str
) -> None:
    result = run(plane, restricted, "engine", "--max-model-len", "81920")
    assert result.exit_code == 1, result.output
    assert "refuses: User-specified max_model_len (81920) is greater" in result.stdout
    assert "at vllm/__init__.py" in result.stdout


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("bare", "it ended with exit code 2 and no facts, and last said: plimsoll_drystart:"),
        ("nothing", "the image could not run python3: exec"),
        ("garbage", "it ended with exit code 0 and no facts, and said nothing"),
        ("garbage-fails", "it ended with exit code 3 and no facts, and last said: hello"),
        ("killed", "it was killed: it took more memory than its limit"),
        ("nowhere:1", "its container cannot start: ImagePullBackOff"),
    ],
)
def test_where_nothing_was_learned_it_is_unknown_and_said_why(
    plane: ControlPlane, runner: PodRunner, restricted: str, image: str, sentence: str
) -> None:
    result = run(plane, restricted, image)
    assert result.exit_code == 2, result.output
    assert f"unknown: nothing was learned: {sentence}" in result.stdout
    assert "\x1b" not in result.output
    assert "plimsoll: fits" in result.stdout


def test_a_start_up_without_end_is_ended_by_the_harness_and_unknown(
    plane: ControlPlane, runner: PodRunner, restricted: str, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {"model_type": "llama", "vocab_size": 1000, "stub_seconds": 600, **sizes}
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    given = ("--config", str(tmp_path / "config.json"), "--seconds", "10")
    result = run(plane, restricted, "engine", *given)
    assert result.exit_code == 2, result.output
    assert "unknown" in result.stdout
    assert "the process ran out of its time" in result.stdout


def test_a_job_beyond_its_deadline_is_ended_and_unknown(
    plane: ControlPlane, runner: PodRunner, restricted: str
) -> None:
    runner.hurry = 200.0
    try:
        result = run(plane, restricted, "sleeps", "--seconds", "10")
    finally:
        runner.hurry = 1.0
    assert result.exit_code == 2, result.output
    assert "it did not end within 310 s, and was ended" in result.stdout


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("count/jobs.batch", "the cluster did not take its Job: (Forbidden)"),
        ("count/configmaps", "the cluster did not take its ConfigMap: (Forbidden)"),
        ("pods", "the cluster did not take its pod: Error creating"),
    ],
)
def test_what_a_quota_refuses_is_said_with_the_quota(
    plane: ControlPlane, runner: PodRunner, restricted: str, kind: str, sentence: str
) -> None:
    limit(plane, restricted, kind)
    result = run(plane, restricted, "engine")
    assert result.exit_code == 2, result.output
    assert f"unknown: nothing was learned: {sentence}" in result.stdout
    assert "exceeded quota: none" in result.stdout


def test_the_data_say_that_nothing_was_learned(
    plane: ControlPlane, runner: PodRunner, restricted: str
) -> None:
    result = run(plane, restricted, "bare", "-o", "json")
    data: dict[str, Any] = json.loads(result.stdout)
    assert (data["outcome"], data["version"], data["compared"]) == ("unknown", "", [])
    assert "no torch" in data["words"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_ends_the_command_leaves_nothing_in_the_cluster(
    plane: ControlPlane, runner: PodRunner, restricted: str, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "plimsoll.cli", *words(plane, restricted, "sleeps")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )
    try:
        until(lambda: runner.processes, SOON, "the container runs")
        process.send_signal(number)
        process.wait(SOON)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode not in (0, None)
    assert_nothing_is_left(plane, restricted)
    until(lambda: not runner.processes, SOON, "the container is ended")
