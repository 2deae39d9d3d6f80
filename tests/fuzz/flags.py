"""Command lines: every flag of every engine with odd values, and a real argparse as the oracle.

`FLAGS` holds decisions with such flags against what must be true of all. `ARGUMENTS` builds a
parser of Python's own from an engine's table of flags and holds what we read against what it reads:
the same values, or something is said.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from flag_tables import FLAG_TABLES
from fuzz import values
from fuzz.harness import Target
from fuzz.promises import Texts, broken_promises, decided, llmdeployment
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings
from plimsoll.engines.registry import engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

MODELS: Final = ("Qwen/Qwen3-8B", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen2.5-VL-7B-Instruct")
OBJECTS: Final = (
    "{}",
    "[]",
    '{"a": 1}',
    '{"image": 3, "video": 0}',
    '{"method": "ngram", "num_speculative_tokens": 5}',
    '{"model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3}',
    '{"cudagraph_capture_sizes": [1, 2, 1000000000]}',
    '{"level": 3}',
    '{"a":' * 3000,
    "1,2,4",
    "[1,2,4]",
    "a=1,b=2",
    "blk.*=CPU",
    "0-1000000000",
)


@dataclass(frozen=True, slots=True)
class Line:
    """What is written for an engine beside a model."""

    engine: str
    model: str
    words: tuple[str, ...]


@lru_cache(maxsize=8)
def table(name: str) -> dict[str, Any]:
    """An engine's table of flags as it is kept."""
    kept: dict[str, Any] = json.loads(FLAG_TABLES[name].read_text("utf-8"))
    return kept


@lru_cache(maxsize=8)
def every_flag(name: str) -> tuple[str, ...]:
    """All flags of an engine, in whatever part of its table."""
    found: set[str] = set()
    waiting: list[Any] = [table(name)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            found |= {key for key in one if key.startswith("-")}
            waiting += one.values()
        elif isinstance(one, list):
            found |= {text for text in one if isinstance(text, str) and text.startswith("-")}
            waiting += [inside for inside in one if isinstance(inside, dict | list)]
    return tuple(sorted(found))


def value(random: Random) -> str:
    """A value that a flag may be given, or hardly."""
    kind = random.random()
    if kind < 0.4:
        return str(values.number(random))
    return random.choice(OBJECTS) if kind < 0.6 else values.text(random)


def line(random: Random) -> Line:
    """One flag in one of its forms, now and then a second."""
    name = random.choice(list(FLAG_TABLES))
    words: list[str] = []
    for _ in range(random.choice((1, 1, 1, 2))):
        flag, given = random.choice(every_flag(name)), value(random)
        words += random.choice(([f"{flag}={given}"], [flag, given], [flag], [f"{flag} {given}"]))
    return Line(name, random.choice(MODELS), tuple(words))


def line_faults(case: Line) -> Iterator[str]:
    """What breaks a promise of a decision with such flags."""
    spec = {
        "model": {"uri": f"hf://{case.model}"},
        "engine": {"name": case.engine, "extraArgs": list(case.words)},
        "accelerator": {"allowed": ["nvidia-h200-141gb"]},
    }
    yield from broken_promises(*decided(llmdeployment(spec), Texts()))


FLAGS: Final = Target("flags", line, line_faults, few=80)


class Refused(Exception):
    """What argparse would have ended the process with."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process."""

    def error(self, message: str) -> Any:
        """Raise `Refused`."""
        raise Refused(message)


@lru_cache(maxsize=2)
def oracle(name: str) -> Parser:
    """Python's own parser of an engine's flags; every value is a text."""
    parser, kept = Parser(add_help=False), table(name)
    aliases: dict[str, list[str]] = {}
    for alias, flag in kept.get("aliases", {}).items():
        aliases.setdefault(flag, []).append(alias)
    for flag, shape in _shapes(kept).items():
        names = [*aliases.get(flag, ()), flag]
        if shape == "switch" and name == "vllm":
            parser.add_argument(*names, action=argparse.BooleanOptionalAction, dest=flag)
        elif shape in ("switch", "off"):
            parser.add_argument(*names, action="store_true", dest=flag)
        else:
            count = {"many": "+", "words": "+", "optional": "?"}.get(shape)
            parser.add_argument(*names, nargs=count, dest=flag)
    return parser


def _shapes(kept: dict[str, Any]) -> dict[str, str]:
    """Flag -> switch, value, many or optional."""
    shapes = {
        flag: kind for part in ("fields", "options") for flag, (_, kind) in kept[part].items()
    }
    for role in ("memory", "harmless"):
        for shape, names in kept.get(role, {}).items():
            shapes |= dict.fromkeys(names, shape)
    # Flags that cannot stand in one parser of Python's beside `--no-x` of another.
    return {flag: kind for flag, kind in shapes.items() if not flag.startswith("--no-")}


PLAIN: Final = ("1", "8", "2048", "0.9", "auto", "x", "-1", "-0.5", "a b", "-x", "--seed", "")


def argparse_line(random: Random) -> Line:
    """Flags in every form that argparse has: prefixes, `=`, `--`, values of switches, lists."""
    name = random.choice(("vllm", "sglang"))
    words: list[str] = []
    for _ in range(random.choice((1, 1, 2, 3))):
        flag, given = random.choice(every_flag(name)), random.choice(PLAIN)
        if random.random() < 0.3:
            flag = _beginning(random, flag)
        words += random.choice(
            ([f"{flag}={given}"], [flag, given], [flag], [flag, given, given], [f"{flag} {given}"])
        )
        if random.random() < 0.05:
            words.append("--")
    return Line(name, MODELS[0], tuple(words))


def _beginning(random: Random, flag: str) -> str:
    """A beginning of a long flag; of short ones Python reads them by its version."""
    return flag[: random.randrange(3, len(flag) + 1)] if flag.startswith("--") else flag


def argparse_faults(case: Line) -> Iterator[str]:
    """The cases in which we read something else than argparse and say nothing."""
    reading = engine(case.engine).read_arguments(
        list(case.words), EngineSettings(case.engine), NOTHING_ASKED
    )
    if reading.problems or reading.warnings or reading.settings.unread:
        return
    try:
        read, stray = oracle(case.engine).parse_known_args(list(case.words))
    except (Refused, argparse.ArgumentError) as refusal:
        if _one_flag(case.engine, str(refusal)):
            return
        switch = "ignored explicit argument" in str(refusal)
        what = "a value of a switch" if switch else "what argparse refuses"
        yield f"{case.engine} reads in silence {what}: {refusal}"
        return
    if stray:
        yield f"{case.engine} reads in silence what argparse does not know: {stray}"
        return
    yield from _differences(case, vars(read), reading.settings)


def _one_flag(engine_name: str, refusal: str) -> bool:
    """Whether a beginning is ambiguous only because one flag has several names in our table."""
    begun, _, matches = refusal.partition(" could match ")
    aliases = table(engine_name).get("aliases", {})
    names = {aliases.get(name.strip(), name.strip()) for name in matches.split(",")}
    return begun.startswith("ambiguous option") and len(names) == 1


def _differences(case: Line, read: dict[str, Any], settings: EngineSettings) -> Iterator[str]:
    """Flags of fields whose value we read otherwise than it is written."""
    for flag, (field, _) in table(case.engine)["fields"].items():
        wanted = read.get(flag)
        if not isinstance(wanted, str) or not hasattr(settings, field):
            continue  # not given, a switch, or a part of the split
        ours = getattr(settings, field)
        if str(ours).lower() != str(wanted).strip().lower():
            yield f"{case.engine} reads otherwise than argparse: {flag}: {ours!r}, not {wanted!r}"


ARGUMENTS: Final = Target("arguments", argparse_line, argparse_faults, few=300)
