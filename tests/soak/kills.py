"""kill -9 at random points, again and again, under churn; afterwards nothing is lost.

A victim is the controller, admission, or a process that decides for one of them. Whoever is killed
is started again, as a kubelet does; what it had started must end by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cluster.fixtures_operator import STARTING, OperatorProcess, install
from controlplane import ControlPlane
from controlplane.nodes import gpu_node
from faults.both import Kubelet, both
from soak.churn import Churn
from soak.world import World, wrong_at_last

USERS: Final = "users"
SYSTEM: Final = "kube-system"
"""Whoever writes to it is not asked about by the API server: admission's end stops nobody there."""
STARTS: Final = 4.0
"""Seconds of a start in which those that are killed while they start are killed."""
LIVES: Final = 2.5
"""Seconds in which those are killed that were ready before."""
ORPHANS_END: Final = 10.0
PAUSE: Final = 0.1
"""Seconds between two requests of the churn."""


@dataclass
class Outcome:
    """What a run came to. kills: by whom they hit. orphans: processes that outlived whoever had
    started them. lost: objects that are not as they were left. wrong: statuses that are not what is
    decided now. answers, surprises: see `Churn`."""

    kills: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    objects: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing was lost and nobody was answered wrongly."""
        return not (self.orphans or self.lost or self.wrong or self.surprises)


async def run(kills: int, seed: int) -> Outcome:
    """So many kills, then what is left of it."""
    dice, outcome = random.Random(seed), Outcome()
    started = time.monotonic()
    with ControlPlane() as plane:
        install(plane)
        plane.kubectl("create", "namespace", USERS)
        plane.create([gpu_node(f"n{i}", kind) for i, kind in enumerate(("a100-80gb", "l4"))])
        world = World(plane)
        with both(plane) as kubelets:
            async with world.session() as session:
                for kubelet in kubelets:
                    await _ready(kubelet)
                churns = [
                    Churn(session, random.Random(dice.random()), USERS, most=200, refusing=True),
                    Churn(session, random.Random(dice.random()), SYSTEM, most=200, refusing=False),
                ]
                stop = asyncio.Event()
                users = [asyncio.create_task(churn.go_on(stop, PAUSE)) for churn in churns]
                halves = (kills - kills // 2, kills // 2)
                await asyncio.gather(
                    *(
                        _kill(kubelet, count, random.Random(dice.random()), outcome)
                        for kubelet, count in zip(kubelets, halves, strict=True)
                    )
                )
                stop.set()
                await asyncio.gather(*users)
                for kubelet in kubelets:
                    await _ready(kubelet)
                for churn in churns:
                    outcome.wrong += await wrong_at_last(session, churn.path)
                    outcome.lost += await churn.lost()
                    outcome.objects += len(churn.there)
                    outcome.answers += churn.answers
                    outcome.surprises += churn.surprises
    outcome.seconds = time.monotonic() - started
    return outcome


async def _ready(kubelet: Kubelet) -> None:
    """Wait until it is; whoever kills it kills it afterwards."""
    async with asyncio.timeout(STARTING * 2):
        while not await asyncio.to_thread(kubelet.running.ready):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def _kill(kubelet: Kubelet, kills: int, dice: random.Random, outcome: Outcome) -> None:
    """Kill it, or a process that it started, so many times."""
    for _ in range(kills):
        if dice.random() < 0.3:
            await asyncio.sleep(dice.uniform(0, STARTS))
        else:
            await _ready(kubelet)
            await asyncio.sleep(dice.uniform(0, LIVES))
        main, *others = await asyncio.to_thread(_processes, kubelet.running)
        victim = main if dice.random() < 0.7 or not others else dice.choice(others)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        done = sum(outcome.kills.values()) + 1
        if done % 50 == 0:
            print(f"{done} kills", file=sys.stderr, flush=True)
        outcome.kills[kubelet.command if victim == main else f"a decider of {kubelet.command}"] += 1
        if victim == main:
            await asyncio.to_thread(kubelet.running.process.wait, 10)
            outcome.orphans += await _left(others, kubelet.command)
            await asyncio.to_thread(kubelet.start)


def _processes(running: OperatorProcess) -> list[int]:
    """Itself and what it has started, however much of it ends meanwhile."""
    while True:
        with contextlib.suppress(OSError):
            return running.processes()


async def _left(processes: list[int], command: str) -> list[str]:
    """What still lives of these after a while."""
    deadline = time.monotonic() + ORPHANS_END
    while True:
        alive = [f"{process} of {command}" for process in processes if _lives(process)]
        if not alive or time.monotonic() > deadline:
            return alive
        await asyncio.sleep(0.05)


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
