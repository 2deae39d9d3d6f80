"""Headers from a hub: range requests only, its cache, a mirror, offline; every failure a next step.

Against a hub of our own on loopback over real HTTP, and a cache in the layout of huggingface_hub.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import checkpoint_files
from checkpoint_files import Maker, base
from hub_server import COMMIT, Hub, ask_it, serving
from plimsoll.errors import Invalid, Unreadable
from plimsoll.models.checkpoint.profile import from_profile
from plimsoll.models.checkpoint.source import hub_profile, local_profile
from plimsoll.models.config import architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

huggingface_hub = pytest.importorskip("huggingface_hub")

NAME: Final = "acme/tiny"
CONFIG: Final = base("llama")


def checkpoint(shards: int = 2) -> dict[str, bytes]:
    """The files of a repository; every tensor is there, as zeros."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        at = checkpoint_files.write(
            Path(folder), CONFIG, checkpoint_files.dense(CONFIG, Maker()), shards=shards
        )
        return {path.name: path.read_bytes() for path in sorted(at.iterdir())}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub({NAME: checkpoint()})) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and the hub on loopback as the endpoint."""
    ask_it(hub, tmp_path, monkeypatch)
    return tmp_path


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 does."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def problem(ask: Callable[[], Any]) -> str:
    """The one problem that comes of it, as it is printed."""
    with pytest.raises(Invalid) as caught:
        ask()
    (found,) = caught.value.problems
    return str(found)


def test_a_repository_is_read_by_its_headers_alone(home: Path, hub: Hub) -> None:
    profile, notes = hub_profile(f"hf://{NAME}")
    assert from_profile(profile).parameters == architecture(CONFIG).parameters
    assert profile["name"] == NAME
    assert not notes
    weights = [a for a in hub.asked if a[1].endswith(".safetensors")]
    assert weights
    assert all(method == "GET" and wanted for method, _, wanted in weights)
    assert hub.sent < sum(map(len, hub.repositories[NAME].values())) / 4


def test_headers_that_were_read_once_are_not_fetched_again(home: Path, hub: Hub) -> None:
    first, _ = hub_profile(NAME)
    hub.asked.clear()
    again, _ = hub_profile(NAME)
    assert again == first
    assert not [a for a in hub.asked if a[1].endswith(".safetensors")]


def test_what_was_read_once_is_there_offline(
    home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = hub_profile(NAME)
    hub.asked.clear()
    go_offline(monkeypatch)
    again, notes = hub_profile(NAME)
    assert again == first
    assert not hub.asked
    assert notes == ("read from the cache: the hub is offline or cannot be reached",)


def test_a_repository_that_others_downloaded_is_read_from_their_cache(
    home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    for file in hub.repositories[NAME]:
        hf_hub_download(NAME, file)
    go_offline(monkeypatch)
    profile, _ = hub_profile(NAME)
    assert from_profile(profile).parameters == architecture(CONFIG).parameters
    assert not (home / "assets").exists() or not list((home / "assets").rglob("*.json"))


def test_a_hub_that_is_down_is_no_matter_for_what_is_in_the_cache(home: Path, hub: Hub) -> None:
    first, _ = hub_profile(NAME)
    hub.broken = True
    again, notes = hub_profile(NAME)
    assert again == first
    assert notes


def test_offline_and_not_in_the_cache_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch)
    said = problem(lambda: hub_profile(NAME))
    assert 'MODEL: Invalid value: "hf://acme/tiny"' in said
    assert "unset HF_HUB_OFFLINE" in said
    assert "local folder" in said


def test_a_name_that_no_hub_knows_says_so(home: Path) -> None:
    said = problem(lambda: hub_profile("acme/unknown"))
    assert "a repository on http://127.0.0.1" in said
    assert "check the name; for a private one set HF_TOKEN" in said


def test_a_gated_repository_says_where_its_terms_are(home: Path, hub: Hub) -> None:
    hub.gated.add(NAME)
    said = problem(lambda: hub_profile(NAME))
    assert "this one is gated" in said
    assert f"accept its terms at {hub.url}/{NAME} and set HF_TOKEN" in said


def test_a_token_opens_a_gated_repository(
    home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    profile, _ = hub_profile(NAME)
    assert from_profile(profile).parameters == architecture(CONFIG).parameters


def test_a_revision_that_is_not_there_says_so(home: Path) -> None:
    assert "check what is after the @" in problem(lambda: hub_profile(f"{NAME}@nowhere"))


def test_a_revision_is_read_at_its_commit(home: Path) -> None:
    profile, _ = hub_profile(f"hf://{NAME}@{COMMIT}")
    assert profile["checkpoint"]["tensors"] == len(checkpoint_files.dense(CONFIG, Maker()))


def test_no_network_at_all_says_so(home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = problem(lambda: hub_profile(NAME))
    assert "http://127.0.0.1:9" in said
    assert "check the network and HF_ENDPOINT" in said


def test_a_repository_without_a_config_says_what_is_missing(home: Path, hub: Hub) -> None:
    del hub.repositories[NAME]["config.json"]
    assert "a config.json beside the weights" in problem(lambda: hub_profile(NAME))


def test_a_repository_without_safetensors_is_refused(home: Path, hub: Hub) -> None:
    hub.repositories[NAME] = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    with pytest.raises(Unreadable, match="a folder with safetensors files"):
        hub_profile(NAME)


def test_a_repository_of_gguf_files_asks_which_one(home: Path, hub: Hub) -> None:
    hub.repositories[NAME] = {"m-Q4.gguf": b"", "m-Q8.gguf": b""}
    said = problem(lambda: hub_profile(NAME))
    assert "name it: hf://acme/tiny/m-Q4.gguf (2 files)" in said


def test_a_bad_header_on_a_hub_is_refused_and_not_kept(home: Path, hub: Hub) -> None:
    hub.repositories[NAME] = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": b"\xff" * 64,
    }
    with pytest.raises(Unreadable, match="safetensors"):
        hub_profile(NAME)


def test_a_name_without_an_owner_is_refused(home: Path) -> None:
    assert "hf://owner/name" in problem(lambda: hub_profile("hf://tiny"))


def test_copies_in_other_folders_are_passed_over(home: Path, hub: Hub) -> None:
    hub.repositories[NAME]["original/model.safetensors"] = b"x" * 100
    _, notes = hub_profile(NAME)
    assert notes == ("passed over original/: the same weights in another form",)


def test_a_gguf_file_on_a_hub_is_read_by_its_first_bytes(home: Path, hub: Hub) -> None:
    pytest.importorskip("gguf")
    import gguf_files

    path = gguf_files.write(
        home / "m.gguf", "llama", gguf_files.keys(CONFIG), gguf_files.dense(CONFIG), words=1000
    )
    hub.repositories["acme/gguf"] = {"m-Q8.gguf": path.read_bytes() + bytes(10 << 20)}
    profile, _ = hub_profile("hf://acme/gguf/m-Q8.gguf")
    assert profile == local_profile(str(path))[0] | {"name": "acme/gguf/m-Q8.gguf"}
    assert hub.sent <= 1 << 20


def test_the_command_line_obeys_the_environment_of_huggingface_hub(
    tmp_path: Path, hub: Hub
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def export(**more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "plimsoll.cli",
            "models",
            "export",
            "--from-hub",
            NAME,
            "-o",
            "json",
        ]
        return subprocess.run(
            command, env=environment | more, capture_output=True, text=True, check=False, timeout=60
        )

    first = export()
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["name"] == NAME
    assert [a for a in hub.asked if a[1].endswith(".safetensors")]
    hub.asked.clear()
    again = export(HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout
    assert not hub.asked
    lost = export(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "empty"))
    assert lost.returncode == 2
    assert "unset HF_HUB_OFFLINE" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'plimsoll-gpu[hub]'" in problem(lambda: hub_profile(NAME))


def test_local_checkpoints_need_neither_the_hub_package_nor_gguf(tmp_path: Path) -> None:
    folder = checkpoint_files.write(tmp_path / "m", CONFIG, checkpoint_files.dense(CONFIG, Maker()))
    program = (
        "import sys; from plimsoll.models.checkpoint import gguf, gguf_model; "
        "from plimsoll.models.checkpoint.source import local_profile; "
        f"local_profile({str(folder)!r}); "
        "print(sorted({'huggingface_hub', 'gguf', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
