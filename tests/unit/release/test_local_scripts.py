"""Claims about `make image` and `make kind`, run with stand-ins for the programs they call.

The stand-ins record their arguments and do nothing: no image is built here and no cluster made.
What docker, kind and the others do with such arguments is theirs, and was not tried where this was
written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NEEDED = ("bash", "cat", "dirname", "env", "grep", "mktemp", "rm", "seq", "sleep")
REFUSAL = "Error from server: ... does not fit on 2 x nvidia-a100-80gb"


class Bench:
    """A folder that is the whole PATH of a script, and the log of what the script called."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "called"
        self.log.touch()
        for name in NEEDED:
            found = shutil.which(name)
            assert found is not None, name
            (self.bin / name).symlink_to(found)

    def has(self, *names: str, does: str = "") -> None:
        """Put stand-ins on the PATH. does: lines of shell after the arguments are recorded."""
        for name in names:
            program = self.bin / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.log}"\n{does}\n')
            program.chmod(0o755)

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "TMPDIR": str(self.bin.parent), "PAUSE": "0"}
        return subprocess.run(
            [str(self.bin / "bash"), str(ROOT / "deploy/local" / script)],
            env=environment | variables,
            capture_output=True,
            text=True,
            cwd=self.bin.parent,
            timeout=60,
            check=False,
        )

    @property
    def called(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def refusing(bench: Bench) -> None:
    """The programs that both clusters and images need; kubectl says what a refusal says."""
    bench.has("docker", "helm")
    bench.has("kubectl", does=f'echo "{REFUSAL}" >&2; exit 1')


def test_without_a_program_that_builds_images_it_says_which_would_do(bench: Bench) -> None:
    result = bench.run("image.sh")
    assert result.returncode != 0
    assert "nothing here builds images: install docker, podman or buildah" in result.stderr


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_the_image_is_built_by_what_is_there_from_the_bases_of_a_release(
    bench: Bench, engine: str
) -> None:
    bench.has(engine)
    result = bench.run("image.sh", IMAGE="registry.example/plimsoll:1")
    assert result.returncode == 0, result.stderr
    (build,) = [call for call in bench.called if call.startswith(f"{engine} build")]
    release = (ROOT / ".github/workflows/release.yml").read_text()
    for name in ("BASE", "BUILD_BASE"):
        (base,) = re.findall(rf"^  {name}: (\S+)$", release, re.MULTILINE)
        assert f"--build-arg {name}={base}" in build
    assert build.endswith("--tag registry.example/plimsoll:1 .")
    assert ("--format docker" in build) == (engine != "docker")
    assert result.stdout == f"registry.example/plimsoll:1, built with {engine}\n"


def test_a_docker_whose_daemon_is_silent_gives_way_to_podman_and_is_told_of(bench: Bench) -> None:
    bench.has("docker", does='test "$1" != info')
    bench.has("podman")
    result = bench.run("image.sh")
    assert result.returncode == 0
    assert "docker is here, but its daemon does not answer" in result.stderr
    assert [c for c in bench.called if " build " in c and not c.startswith("podman")] == []
    assert any(call.startswith("podman build") for call in bench.called)


def test_a_build_that_fails_fails_the_target(bench: Bench) -> None:
    bench.has("podman", does="exit 3")
    assert bench.run("image.sh").returncode == 3


def test_without_a_program_that_makes_clusters_it_says_what_to_install(bench: Bench) -> None:
    result = bench.run("kind.sh")
    assert result.returncode != 0
    for name in ("kind ", "k3d ", "minikube ", "make demo"):
        assert name in result.stderr
    assert bench.called == []


@pytest.mark.parametrize("missing", ["kubectl", "helm"])
def test_a_missing_kubectl_or_helm_is_named_before_anything_is_made(
    bench: Bench, missing: str
) -> None:
    bench.has("kind", *({"kubectl", "helm"} - {missing}))
    result = bench.run("kind.sh")
    assert result.returncode != 0
    assert f"{missing} is not on the PATH" in result.stderr
    assert bench.called == []


@pytest.mark.parametrize(
    ("tool", "absent", "made", "loaded", "context"),
    [
        ("kind", "true", "create cluster --name plimsoll", "load image-archive", "kind-plimsoll"),
        ("k3d", "exit 1", "cluster create plimsoll", "image import", "k3d-plimsoll"),
        ("minikube", "exit 1", "start --profile plimsoll", "image load", "plimsoll"),
    ],
)
def test_a_cluster_is_made_the_image_loaded_the_chart_installed_and_an_apply_refused(
    bench: Bench, tool: str, absent: str, made: str, loaded: str, context: str
) -> None:
    refusing(bench)
    bench.has(
        tool, does=f'case "$1 $2" in "get clusters"|"cluster get"|"status "*) {absent};; esac'
    )
    result = bench.run("kind.sh")
    assert result.returncode == 0, result.stderr
    assert "refused, as it must be" in result.stdout
    order = [f"{tool} {made}", f"{tool} {loaded}", "helm upgrade --install plimsoll", "kubectl"]
    calls = bench.called
    places = [next(n for n, call in enumerate(calls) if call.startswith(one)) for one in order]
    assert places == sorted(places)
    (install,) = [call for call in calls if call.startswith("helm")]
    assert f"--kube-context {context}" in install
    assert (
        "image.registry=localhost --set image.repository=plimsoll --set image.tag=local" in install
    )
    assert any(call.startswith("docker save") for call in calls)
    assert calls[-1] == f"kubectl --context {context} apply -f deploy/samples/refused.yaml"


def test_a_cluster_of_that_name_is_used_again(bench: Bench) -> None:
    refusing(bench)
    bench.has("kind", does='test "$1" != get || echo plimsoll')
    assert bench.run("kind.sh").returncode == 0
    assert [call for call in bench.called if "create" in call and call.startswith("kind")] == []


def test_an_apply_that_is_let_in_fails_the_target(bench: Bench) -> None:
    bench.has("kind", "docker", "helm", "kubectl")
    result = bench.run("kind.sh")
    assert result.returncode == 1
    assert "it was let in, and must not be" in result.stderr


def test_a_refusal_for_another_reason_is_none(bench: Bench) -> None:
    bench.has("kind", "docker", "helm")
    bench.has("kubectl", does='echo "Unable to connect" >&2; exit 1')
    result = bench.run("kind.sh")
    assert result.returncode == 1
    assert "another reason" in result.stderr


def test_it_waits_until_the_api_server_trusts_the_webhook(bench: Bench) -> None:
    bench.has("kind", "docker", "helm")
    waiting = f'test -e "{bench.bin}/seen" || ' + (
        f'{{ : > "{bench.bin}/seen"; echo "failed calling webhook" >&2; exit 1; }}; '
        f'echo "{REFUSAL}" >&2; exit 1'
    )
    bench.has("kubectl", does=waiting)
    result = bench.run("kind.sh")
    assert result.returncode == 0, result.stderr
    assert sum(call.startswith("kubectl") for call in bench.called) == 2


def test_scripts_can_be_run_and_say_what_they_are_for() -> None:
    for path in (ROOT / "deploy/local").glob("*.sh"):
        assert os.access(path, os.X_OK)
        first, second = path.read_text().splitlines()[:2]
        assert first == "#!/usr/bin/env bash"
        assert second.startswith("# ")
