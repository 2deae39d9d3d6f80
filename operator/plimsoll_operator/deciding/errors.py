"""Why there is no decision. Nothing here needs a loop, so that workers can know it too."""

from __future__ import annotations

from enum import StrEnum

from plimsoll.errors import PlimsollError


class Cause(StrEnum):
    """Why a job has no result."""

    BUDGET = "budget"
    MEMORY = "memory"
    DIED = "died"
    BUSY = "busy"


class NotDecided(PlimsollError):
    """There is no result, and trying again at once would most likely give none either."""

    def __init__(self, cause: Cause, message: str) -> None:
        self.cause = cause
        super().__init__(message)


class TaskFault(Exception):
    """The task raised something. kind: its type's name; the message is its traceback."""

    def __init__(self, kind: str, traceback: str) -> None:
        self.kind = kind
        super().__init__(traceback)
