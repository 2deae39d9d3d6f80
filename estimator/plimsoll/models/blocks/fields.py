"""Reads the fields of an untrusted config, remembers every problem, and gives them all at once.

Nothing that is read is believed beyond its limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plimsoll.errors import Invalid, Problem, shown

MAX_LAYERS: Final = 512
"""Layers that are believed: no model has 300, and the cost of a decision grows with them."""
MAX_WIDTH: Final = 10**8
"""No width, vocabulary or number of experts above this is believed."""


class Fields:
    """A mapping read field by field. Names are tried in turn: configs spell things many ways."""

    def __init__(
        self,
        data: Mapping[str, Any],
        path: str = "config.json",
        problems: list[Problem] | None = None,
    ) -> None:
        """problems: the list that a parent's problems are in; path: of this mapping."""
        self._data, self.path = data, path
        self.problems: list[Problem] = [] if problems is None else problems

    def has(self, *names: str) -> bool:
        """Whether one of them is there and not null."""
        return any(self._data.get(name) is not None for name in names)

    def raw(self, name: str) -> Any:
        """The value as it is; None if it is missing."""
        return self._data.get(name)

    def _find(self, names: tuple[str, ...]) -> tuple[str, Any]:
        for name in names:
            value = self._data.get(name)
            if value is not None:
                return name, value
        return names[0], None

    def wrong(self, name: str, given: object, wanted: str, fix: str = "") -> None:
        """Remember a problem. given: None if the field is missing."""
        if given is None and not fix:
            fix = "give the model's own config.json, unabridged"
        try:
            shown_value = "" if given is None else shown(given)
        except ValueError:  # an integer of more digits than Python prints
            shown_value = "a huge number"
        self.problems.append(Problem(f"{self.path}: {name}", shown_value, wanted, fix))

    def integer(
        self, *names: str, default: int | None = None, low: int = 1, high: int = MAX_WIDTH
    ) -> int:
        """An integer between low and high; `default` if it is missing and has one."""
        name, value = self._find(names)
        if value is None:
            if default is None:
                self.wrong(name, None, "an integer")
                return low
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.wrong(name, value, f"an integer from {low} to {high}")
            return low
        return value

    def optional(self, *names: str, high: int = MAX_WIDTH) -> int | None:
        """An integer above 0, or None if it is missing or null."""
        return self.integer(*names, high=high) if self.has(*names) else None

    def flag(self, *names: str, default: bool = False) -> bool:
        """A flag."""
        name, value = self._find(names)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(name, value, "true or false")
            return default
        return value

    def number(self, *names: str, default: float) -> float:
        """A number above 0."""
        name, value = self._find(names)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            self.wrong(name, value, "a number above 0")
            return default
        return float(value)

    def text(self, *names: str, default: str = "") -> str:
        """A short text."""
        name, value = self._find(names)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > 4096:
            self.wrong(name, value, "a short text")
            return default
        return value

    def integers(self, *names: str) -> tuple[int, ...] | None:
        """A list of integers from 0; None if it is missing."""
        name, value = self._find(names)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) > MAX_LAYERS
            or not all(isinstance(i, int) and 0 <= i <= MAX_WIDTH for i in value)
        ):
            self.wrong(name, value, "a list of integers")
            return None
        return tuple(int(i) for i in value)

    def texts(self, *names: str) -> tuple[str, ...] | None:
        """A list of texts; None if it is missing."""
        name, value = self._find(names)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) > MAX_LAYERS
            or not all(isinstance(i, str) and len(i) < 512 for i in value)
        ):
            self.wrong(name, value, "a list of names")
            return None
        return tuple(value)

    def section(self, *names: str) -> Fields | None:
        """A mapping within this one; None if it is missing."""
        name, value = self._find(names)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.wrong(name, value, "a mapping")
            return None
        return Fields(value, f"{self.path}: {name}", self.problems)

    def empty(self) -> Fields:
        """No fields at all, with the same list of problems."""
        return Fields({}, self.path, self.problems)

    @property
    def data(self) -> Mapping[str, Any]:
        """The mapping itself."""
        return self._data

    def stop_if_wrong(self) -> None:
        """Raise `Invalid` with every problem so far, if there is any."""
        if self.problems:
            raise Invalid(*self.problems[:50])
