"""The controller's resolver: what it asks a hub, how often, and what no answer can do to it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

import checkpoint_files
from checkpoint_files import Maker, base
from hub_server import Hub, serving
from plimsoll.models.checkpoint.profile import FORMAT, from_profile
from plimsoll.models.config import architecture
from plimsoll_operator.metrics import new_registry
from plimsoll_operator.resolving import resolver
from plimsoll_operator.resolving.resolver import MOST_WAITING, NotResolved, Resolver, ask_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from plimsoll_operator.cluster.client import Client

pytest.importorskip("huggingface_hub")

NAME: Final = "acme/tiny"
CONFIG: Final = base("llama")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = checkpoint_files.write(
        tmp_path / "tiny", CONFIG, checkpoint_files.dense(CONFIG, Maker())
    )
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving(Hub({NAME: files}, silent={"acme/silent"})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield found


async def test_a_process_apart_brings_the_profile_of_a_model(hub: Hub) -> None:
    profile = await ask_hub(NAME, 60)
    assert profile["format"] == FORMAT
    assert from_profile(profile).parameters == architecture(CONFIG).parameters


@pytest.mark.parametrize(
    ("model", "seconds", "why"),
    [("acme/nobody", 60.0, "a repository on http"), ("acme/silent", 3.0, "more than 3 s")],
)
async def test_a_model_that_is_not_there_or_does_not_come_is_said_so_in_time(
    hub: Hub, model: str, seconds: float, why: str
) -> None:
    start = time.monotonic()
    with pytest.raises(NotResolved, match=why):
        await ask_hub(model, seconds)
    assert time.monotonic() - start < 30


async def test_files_that_are_none_are_no_model(hub: Hub) -> None:
    hub.repositories["acme/bad"] = {
        "config.json": b"[" * 100_000,
        "model.safetensors": b"\xff" * 64,
    }
    with pytest.raises(NotResolved):
        await ask_hub("acme/bad", 60)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("while True: print('x' * 65536)", "bytes"),
        ("pass", "without an answer"),
        ("print('[]')", "no profile"),
        ("print('[' * 200000)", "without an answer"),
        ("""print('{"profile": {"format": "another"}}')""", "no profile"),
        ("""import json; print(json.dumps({"error": chr(27) + "[31m" + "no" * 4000}))""", "nono"),
        ("import os; os.kill(os.getpid(), 9)", "without an answer"),
    ],
)
async def test_whatever_the_process_says_or_does_not_say_is_an_error_in_words(
    code: str, why: str
) -> None:
    with pytest.raises(NotResolved, match=why) as caught:
        await ask_hub(NAME, 20, (sys.executable, "-c", code))
    assert len(str(caught.value)) <= 400
    assert str(caught.value).isprintable()


def test_the_process_takes_no_more_memory_than_it_is_given() -> None:
    code = (
        "from plimsoll_operator.resolving.fetch import MEMORY, bound\n"
        "bound()\n"
        "try:\n    bytearray(MEMORY)\nexcept MemoryError:\n    print('bounded')"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.strip() == "bounded"


class Asked:
    """Questions, and the answer to all of them: there is no such model."""

    def __init__(self) -> None:
        self.models: list[str] = []

    async def __call__(self, model: str, seconds: float) -> dict[str, Any]:
        self.models.append(model)
        raise NotResolved("there is none")


async def test_what_failed_is_not_asked_for_again_before_its_time_whoever_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "BETWEEN", 0.0)
    now, asked = [0.0], Asked()
    made = Resolver(
        cast("Client", None), "plimsoll-system", new_registry(), still_wanted=lambda model: True,
        seconds=1, ask=asked, clock=lambda: now[0],
    )  # fmt: skip
    working = asyncio.create_task(made.run())
    for at, times in ((0.0, 1), (599.0, 1), (600.0, 2), (1799.0, 2), (1800.0, 3)):
        now[0] = at
        for spelled in (NAME, NAME.upper()):
            made.want(spelled)
        await asyncio.sleep(0.05)
        assert len(asked.models) == times, at
    working.cancel()


async def test_only_so_many_wait_and_what_nobody_names_any_more_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "BETWEEN", 0.0)
    asked = Asked()
    made = Resolver(
        cast("Client", None), "plimsoll-system", new_registry(),
        still_wanted=lambda model: model == "acme/9", seconds=1, ask=asked,
    )  # fmt: skip
    for number in range(2 * MOST_WAITING):
        made.want(f"acme/{number}")
    assert len(made._waiting) == MOST_WAITING
    working = asyncio.create_task(made.run())
    await asyncio.sleep(0.3)
    assert asked.models == ["acme/9"]
    working.cancel()
