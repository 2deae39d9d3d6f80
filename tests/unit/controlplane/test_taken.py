"""Where the control plane's programs come from before any is built. With stand-ins for them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from controlplane import build, envtest
from controlplane.build import ETCD, KUBERNETES, ProgramSet, ensure_built, of_others
from controlplane.cache import cache_folder
from controlplane.taken import PROGRAMS, machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAYS = {
    "etcd": "etcd Version: 3.6.6",
    "kube-apiserver": "Kubernetes v{version}",
    "kubectl": "Client Version: v{version}",
}
VERSION = "1.36.2"


def program(name: str, version: str) -> str:
    """A stand-in that says its version and nothing else."""
    return f"#!/bin/sh\necho {SAYS[name].format(version=version)}\n"


def put(folder: Path, version: str = VERSION, names: tuple[str, ...] = PROGRAMS) -> Path:
    """A folder with stand-ins of a version."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(program(name, version))
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing on PATH, in folders or to download, and building is an error."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PLIMSOLL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PLIMSOLL_ENVTEST_URL", "off")
    for name in ("PLIMSOLL_KUBERNETES", "KUBEBUILDER_ASSETS"):
        monkeypatch.delenv(name, raising=False)

    def built(sets: list[ProgramSet]) -> None:
        raise AssertionError("built " + " ".join(each.source.name for each in sets))

    monkeypatch.setattr(build, "_build", built)
    of_others.cache_clear()
    yield
    of_others.cache_clear()


@pytest.fixture
def setup_envtest(tmp_path: Path) -> Path:
    """The folder of setup-envtest."""
    return tmp_path / "data" / "kubebuilder-envtest" / "k8s"


def archive(version: str = VERSION, names: tuple[str, ...] = PROGRAMS) -> bytes:
    """An archive laid out as the published ones are, with something beside the programs."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as made:
        for name in (*names, "README"):
            text = (program(name, version) if name in SAYS else "nobody runs this").encode()
            entry = tarfile.TarInfo(f"controller-tools/envtest/{name}")
            entry.size, entry.mode = len(text), 0o755
            made.addfile(entry, io.BytesIO(text))
    return held.getvalue()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that a server on loopback has in the place of the published archive.

    envtest.json names its hash at the time of this fixture.
    """
    folder = tmp_path / "releases" / f"envtest-v{VERSION}"
    folder.mkdir(parents=True)
    file = folder / f"envtest-v{VERSION}-{machine()}.tar.gz"
    file.write_bytes(archive())
    hashes = {machine(): hashlib.sha512(file.read_bytes()).hexdigest()}
    data = tmp_path / "envtest.json"
    data.write_text(json.dumps({"version": f"v{VERSION}", "sha512": hashes}))
    monkeypatch.setattr(envtest, "DATA", data)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "releases"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PLIMSOLL_ENVTEST_URL", f"http://127.0.0.1:{server.server_port}")
        yield file
        server.shutdown()


def test_assets_that_are_named_come_before_everything_else(
    tmp_path: Path,
    setup_envtest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(setup_envtest / f"1.36.0-{machine()}")
    on_path, assets = put(tmp_path / "on-path"), put(tmp_path / "assets")
    monkeypatch.setenv("PATH", f"{on_path}:/usr/bin:/bin")
    assert ensure_built() == {name: on_path / name for name in PROGRAMS}
    of_others.cache_clear()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert ensure_built() == {name: assets / name for name in PROGRAMS}
    told = capsys.readouterr().err
    assert f"v{VERSION}, on PATH" in told
    assert f"v{VERSION}, in {assets} (KUBEBUILDER_ASSETS)" in told


@pytest.mark.parametrize(
    ("version", "names", "why"),
    [
        ("1.29.4", PROGRAMS, "kube-apiserver 1.29.4, and 1.30 is needed"),
        (VERSION, ("etcd", "kubectl"), "no kube-apiserver that can be run"),
        ("nonsense", PROGRAMS, "kube-apiserver says no version, and 1.30 is needed"),
    ],
    ids=["old", "half", "nonsense"],
)
def test_what_will_not_do_is_passed_over_with_a_sentence(
    tmp_path: Path,
    setup_envtest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    version: str,
    names: tuple[str, ...],
    why: str,
) -> None:
    assets = put(tmp_path / "assets", version, names)
    newest = put(setup_envtest / f"1.36.2-{machine()}")
    put(setup_envtest / f"1.9.0-{machine()}", "1.9.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert ensure_built()["kubectl"] == newest / "kubectl"
    told = capsys.readouterr().err
    assert f"passed over what is in {assets} (KUBEBUILDER_ASSETS): {why}" in told
    assert f"v{VERSION}, in {newest} (setup-envtest)" in told


def test_a_kubectl_alone_on_path_is_nobodys_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_path = put(tmp_path / "on-path", names=("kubectl",))
    monkeypatch.setenv("PATH", f"{on_path}:/usr/bin:/bin")
    with pytest.raises(AssertionError, match="built etcd kubernetes"):
        ensure_built()
    assert "passed over" not in capsys.readouterr().err


def test_what_was_built_before_comes_before_other_peoples_folders(setup_envtest: Path) -> None:
    put(setup_envtest / f"1.36.2-{machine()}")
    for name in (ETCD, KUBERNETES):
        each = ProgramSet(name)
        put(each.folder, names=tuple(one.name for one in each.programs))
    assert ensure_built()["etcd"] == ProgramSet(ETCD).folder / "etcd"


def test_a_kubernetes_that_is_asked_for_is_built_whatever_else_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(put(tmp_path / "assets")))
    monkeypatch.setenv("PLIMSOLL_KUBERNETES", "newest")
    with pytest.raises(AssertionError, match="built etcd kubernetes"):
        ensure_built()
    monkeypatch.delenv("PLIMSOLL_KUBERNETES")
    of_others.cache_clear()
    with pytest.raises(AssertionError, match="built etcd kubernetes-oldest"):
        ensure_built(ETCD, "kubernetes-oldest")


def test_a_published_release_is_downloaded_once_and_kept(
    served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = ensure_built()
    folder = cache_folder() / "programs" / f"envtest-v{VERSION}-{machine()}"
    assert programs == {name: folder / name for name in PROGRAMS}
    assert sorted(path.name for path in folder.iterdir()) == sorted(PROGRAMS)
    assert programs["etcd"].stat().st_mode & 0o777 == 0o755
    told = capsys.readouterr().err
    assert f"{served.name} ..." in told
    assert "(published by Kubernetes, downloaded)" in told
    shutil.rmtree(served.parent)
    of_others.cache_clear()
    assert ensure_built() == programs
    assert [path.name for path in (cache_folder() / "programs").iterdir()] == [folder.name]


def test_a_download_with_another_hash_is_not_kept(
    served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.write_bytes(archive("1.36.3"))
    with pytest.raises(AssertionError, match="built etcd kubernetes"):
        ensure_built()
    assert "has another SHA-512 than envtest.json says" in capsys.readouterr().err
    assert list((cache_folder() / "programs").iterdir()) == []


def test_a_release_that_is_not_there_is_said_and_the_programs_are_built(
    served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.unlink()
    with pytest.raises(AssertionError, match="built etcd kubernetes"):
        ensure_built()
    assert "HTTP Error 404" in capsys.readouterr().err


def test_a_server_that_does_not_answer_costs_no_more_than_three_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PLIMSOLL_ENVTEST_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(AssertionError, match="built etcd kubernetes"):
            ensure_built()
        took = time.monotonic() - started
    assert "no answer within 2.5 s" in capsys.readouterr().err
    assert took < 2 * envtest.REACHED_WITHIN  # on a busy machine, too


def test_the_release_that_would_be_downloaded_is_one_that_is_supported() -> None:
    release = json.loads(envtest.DATA.read_text())
    oldest, newest = (
        ProgramSet(build.kubernetes_set(which)).version for which in ("oldest", "newest")
    )
    minors = [int(v.split(".")[1]) for v in (oldest, release["version"], newest)]
    assert minors == sorted(minors)
    assert {len(digest) for digest in release["sha512"].values()} == {128}
    assert {"linux-amd64", "linux-arm64"} <= set(release["sha512"])
