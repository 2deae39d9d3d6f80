"""Users who create, change and delete LLMDeployments all the time, and what must be there then."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from perf import requests
from soak.world import listed, objects_of, send

if TYPE_CHECKING:
    import random

    import aiohttp

    from soak.world import Answer, Json

BLAMES_WEBHOOK: Final = "failed calling webhook"


class Churn:
    """One namespace that is written to. Run `go_on` as a task.

    answers: how many, by what became of the request: allowed, denied, or closed where admission
    did not answer and failurePolicy decided. surprises: what must never be answered.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        dice: random.Random,
        namespace: str,
        *,
        most: int,
        refusing: bool,
    ) -> None:
        """dice: says what comes next. most: objects at once. refusing: whether admission is there
        to refuse what does not fit."""
        self._session, self._dice, self._most = session, dice, most
        self._refusing, self._namespace = refusing, namespace
        self._numbers = 0
        self.path = objects_of(namespace)
        self.there: dict[str, Json] = {}
        self.answers: Counter[str] = Counter()
        self.surprises: list[str] = []

    async def _one(self) -> None:
        """One request of one user: mostly creates, until there are enough, and then as many
        deletes."""
        what = self._dice.random()
        names = list(self.there)
        if len(names) >= self._most or (what < 0.1 and names):
            await self._delete(self._dice.choice(names))
        elif what < 0.3 and names:
            await self._change(self._dice.choice(names))
        elif what < 0.4 and self._refusing:
            await self._refused()
        else:
            await self._create()

    async def go_on(self, stop: asyncio.Event, pause: float) -> None:
        """One request after another, with a pause between them, until told to stop."""
        while not stop.is_set():
            await self._one()
            await asyncio.sleep(pause * self._dice.uniform(0.5, 1.5))

    async def lost(self) -> list[str]:
        """What is not as it was left: objects that are gone, came back, or are of another spec."""
        found = {item["metadata"]["name"]: item async for item in listed(self._session, self.path)}
        return sorted(
            name
            for name in found.keys() | self.there.keys()
            if name not in found
            or name not in self.there
            or found[name]["spec"] != self.there[name]["spec"]
        )

    async def _create(self) -> None:
        self._numbers += 1
        body = requests.allowed(self._numbers, self._namespace)
        answer = await send(self._session, "POST", self.path, body)
        if self._let_in(answer):
            self.there[body["metadata"]["name"]] = body

    async def _change(self, name: str) -> None:
        tokens = self._dice.randrange(256, 512)
        changed = {"spec": {"workload": {"outputTokens": tokens}}}
        answer = await send(self._session, "PATCH", f"{self.path}/{name}", changed)
        if self._let_in(answer):
            self.there[name]["spec"]["workload"]["outputTokens"] = tokens

    async def _delete(self, name: str) -> None:
        answer = await send(self._session, "DELETE", f"{self.path}/{name}")
        if answer.status != 200:
            self.surprises.append(f"delete of {name}: {answer}")
        del self.there[name]
        self.answers["deleted"] += 1

    async def _refused(self) -> None:
        self._numbers += 1
        body = requests.refused(self._numbers, self._namespace)
        answer = await send(self._session, "POST", self.path, body)
        if answer.status == 422 and "does not fit" in answer.message:
            self.answers["denied"] += 1
        elif BLAMES_WEBHOOK in answer.message:
            self.answers["closed"] += 1
        else:
            self.surprises.append(f"what cannot fit was answered with {answer}")

    def _let_in(self, answer: Answer) -> bool:
        """Whether a request that is to be let in was, or only failurePolicy kept it out."""
        if answer.status in (200, 201):
            self.answers["allowed"] += 1
            return True
        if BLAMES_WEBHOOK in answer.message:
            self.answers["closed"] += 1
        else:
            self.surprises.append(f"what fits was answered with {answer}")
        return False
