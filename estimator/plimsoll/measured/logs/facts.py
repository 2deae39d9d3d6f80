"""What is known of one start-up while its log is read.

It must not decide which of several ranks counts; `plimsoll.measured.logs.row` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class StartUp:
    """One start-up of an engine.

    engine: ``vllm`` or ``sglang``, empty until a line tells. said: inputs by the name that a row
    has for them, as written; the first that says one counts. args: settings as the engine printed
    them. whole: what `args` lacks is at its default. ranks: for each process that wrote any, the
    figures that it measured. started: requests could be served. failure: an outcome and the words
    of the log; empty where none was met before it started. notes: what else is worth keeping.
    """

    engine: str = ""
    said: dict[str, object] = field(default_factory=dict)
    args: dict[str, object] = field(default_factory=dict)
    whole: bool = False
    ranks: dict[str, dict[str, float]] = field(default_factory=dict)
    started: bool = False
    failure: tuple[str, str] = ("", "")
    notes: list[str] = field(default_factory=list)

    def say(self, name: str, value: object) -> None:
        """Take an input; what an earlier line said stays."""
        if value is not None and value != "":
            self.said.setdefault(name, value)

    def measure(
        self, rank: str, name: str, value: float, *, again: bool = False, least: bool = False
    ) -> None:
        """Take a figure of a rank; the first counts.

        again: a later line is better informed. least: the least counts.
        """
        own = self.ranks.setdefault(rank, {})
        if again or name not in own:
            own[name] = value
        elif least:
            own[name] = min(own[name], value)

    def fail(self, outcome: str, words: str) -> None:
        """Take the first failure, unless it had already started."""
        if not self.started and not self.failure[0]:
            self.failure = (outcome, words)

    def note(self, text: str) -> None:
        """Keep a remark once."""
        if text not in self.notes and len(self.notes) < _MOST_NOTES:
            self.notes.append(text)

    @property
    def told(self) -> bool:
        """Whether anything was measured or went wrong."""
        return bool(self.ranks) or bool(self.failure[0])


_MOST_NOTES = 12
