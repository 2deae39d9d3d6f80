"""The versions that a row's ``engine_version`` may mean: one, a few, or any.

It must not pick one of several: what a text leaves open stays open.

    0.19.0, v0.9.2, 0.6.6.post1     that release
    0.9.2.dev364+g1, 0.6.5-dev      the release before it or that one: a state between the two
    0.8.x, 0.10                     every release of the line
    0.6-0.8, 0.11.x/0.12, 0.22+     every release from the first to the last
    0.13.0-ish                      the lines beside it too
    2026-08, a commit, nothing      any version; so does the V1 engine before 0.8: no figure
                                    of it is known

Of a range only those releases are kept that change a figure of the engine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

Version = tuple[int, int, int]

_NUMBER: Final = re.compile(
    r"(?<![\w.])v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}|x))?(?P<rest>(?:(?!-v?\d+\.\d)[a-z0-9.+\-])*)"
)
_DATE: Final = re.compile(r"20[2-9]\d(-\d\d)?(-\d\d)?")
_BETWEEN: Final = re.compile(r"(?:\.|-|rc\d*\.?)dev|^rc\d|^-?rc|^a\d|^b\d")
_UNTAGGED: Final = re.compile(r"^0\.[01]\.\d+.?dev")
_FORKS: Final = ("fork", "unsloth", "modified", "ascend", "windows", "patched", "custom")
_LAST: Final = 9999
_V1_FROM: Final = (0, 8, 0)


@dataclass(frozen=True, slots=True)
class Versions:
    """What a row says of its version.

    low, high: the first and the last release that it may be; None if it may be any.
    fork: the word by which it says that it is not the engine as released; empty if it is.
    """

    low: Version | None = None
    high: Version | None = None
    fork: str = ""

    @property
    def known(self) -> bool:
        """Whether the text bounds the version at all."""
        return self.low is not None


ANY: Final = Versions()


def read(text: str) -> Versions:
    """What a version text may mean; never raises. text: in lower case."""
    fork = next((word for word in _FORKS if word in text), "")
    plain = re.sub(r"\(.*?\)", " ", text)
    numbers = [] if _DATE.match(plain.strip()) else list(_NUMBER.finditer(plain[:256]))
    if not numbers or _UNTAGGED.match(plain.strip()):
        return Versions(fork=fork)
    bounds = [_bounds(match) for match in numbers]
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    if re.search(r"\d\s*\+(\s|$)", plain):
        high = (_LAST, _LAST, _LAST)
    if "ish" in plain or "about" in plain or "~" in plain:
        low, high = (low[0], max(0, low[1] - 1), 0), (high[0], high[1] + 1, _LAST)
    if "v1" in text.split() + re.findall(r"\((.*?)\)", text) and high < _V1_FROM:
        return Versions(fork=fork)
    return Versions(low, high, fork)


def _bounds(match: re.Match[str]) -> tuple[Version, Version]:
    major, minor, patch, rest = int(match[1]), int(match[2]), match[3], match["rest"]
    if patch is None or patch == "x":
        return (major, minor, 0), (major, minor, _LAST)
    version = (major, minor, int(patch))
    if not _BETWEEN.search(rest):
        return version, version
    if version[2]:
        return (major, minor, version[2] - 1), version
    return (major, max(0, minor - 1), _LAST), version


def candidates(engine: str, versions: Versions) -> tuple[str, ...]:
    """Versions that stand for all that are meant; empty if none is one that is known.

    For vLLM every release at which a figure changes; for another engine the text's own bounds.
    """
    if engine != "vllm":
        if versions.low is None or versions.high is None:
            return ("",)
        return tuple(
            dict.fromkeys(_text(v) for v in (versions.low, versions.high) if _LAST not in v)
        )
    from plimsoll.engines.vllm.options import TABLE

    steps = TABLE.steps()
    if versions.low is None or versions.high is None:
        return tuple(map(_text, steps))
    if versions.high < steps[0]:
        return ()
    low = max(versions.low, steps[0])
    inside = [step for step in steps if low < step <= versions.high]
    return tuple(map(_text, dict.fromkeys([low, *inside])))


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)
