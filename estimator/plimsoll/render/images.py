"""Which image serves an engine of a version on a vendor's GPUs, and how it is started.

The table is `data/images.json`, with sources; another registry takes the place of the first part.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from plimsoll.errors import Problem, shown

_DATA: Final = Path(__file__).parent / "data" / "images.json"
_NUMBERS: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?([.\w]*)")
_BUILD: Final = re.compile(r"b(\d+)")
_VENDORS: Final = (
    ("nvidia.com/", "nvidia"),
    ("gpu.nvidia.com", "nvidia"),
    ("mig.nvidia.com", "nvidia"),
    ("amd.com/", "amd"),
)
ENGINE_PATH: Final = "spec.engine.name"
VERSION_PATH: Final = "spec.engine.version"
IMAGE_PATH: Final = "spec.output.image"


@dataclass(frozen=True, slots=True)
class OverNodes:
    """Arguments with which an engine spans nodes: of every pod, and of those after the first."""

    since: tuple[int, ...]
    every: tuple[str, ...]
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Server:
    """How an engine's server is started in its image.

    model: the flag that names the model, empty: it is the first argument. file: the flag for a
    file, if it is another. revision, named: flags for a revision and for the name by which the
    model is served; empty: there is none. listen: where it listens. apart: whether flags and their
    values are words of their own. typed: whether the hub's name says which file is meant.
    start_environment: the variable for the seconds that a start may
    take. nonroot: whether it runs as another user than root.
    """

    command: tuple[str, ...]
    model: str
    file: str
    revision: str
    named: str
    listen: tuple[str, ...]
    port: int
    apart: bool
    typed: bool
    environment: tuple[tuple[str, str], ...]
    start_environment: str
    nonroot: bool
    over_nodes: OverNodes | None


@cache
def _engines() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_DATA.read_text("utf-8"))["engines"]
    return data


@cache
def server(engine: str) -> Server | None:
    """How an engine is started; None for one whose server is not known."""
    row = _engines().get(engine)
    if row is None:
        return None
    over = row.get("over_nodes")
    return Server(
        command=tuple(row["command"]),
        model=row["model"],
        file=row.get("file", row["model"]),
        revision=row["revision"],
        named=row["named"],
        listen=tuple(row["listen"]),
        port=row["port"],
        apart=bool(row.get("apart")),
        typed=bool(row.get("typed")),
        environment=tuple(row["environment"].items()),
        start_environment=row.get("start_environment", ""),
        nonroot=row["nonroot"],
        over_nodes=OverNodes(numbers(over["since"]), tuple(over["every"]), tuple(over["workers"]))
        if over
        else None,
    )


def vendor_of(resource: str) -> str:
    """Whose GPUs an extended resource or a DeviceClass stands for; empty if nobody's that images
    are known for."""
    return next((vendor for start, vendor in _VENDORS if resource.startswith(start)), "")


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that can be compared: ``0.19`` as 0, 19, 0, a build as its number."""
    build = _BUILD.fullmatch(version)
    if build:
        return (int(build[1]),)
    match = _NUMBERS.fullmatch(version)
    return tuple(int(part or 0) for part in match.groups()[:3]) if match else ()


def spelled(version: str) -> str:
    """A version as tags spell it: without v, with three numbers and what follows them."""
    match = _NUMBERS.fullmatch(version)
    if match is None:
        return version
    return f"{match[1]}.{match[2]}.{match[3] or 0}{match[4]}"


def image(engine: str, version: str, resource: str, registry: str = "") -> str | Problem:
    """The image for an engine on GPUs of an extended resource, or why there is none.

    registry: what stands in the place of the image's own registry, e.g. a mirror with a path.
    """
    fix = f"say {IMAGE_PATH}"
    row, vendor = _engines().get(engine), vendor_of(resource)
    if row is None:
        wanted = f"an engine whose image is known ({', '.join(_engines())})"
        return Problem(ENGINE_PATH, shown(engine), wanted, fix)
    entry = next((one for one in row["images"] if one["vendor"] == vendor), None)
    if entry is None:
        wanted = f"a known image of {engine} for {resource}"
        return Problem(IMAGE_PATH, "", wanted, f"name one that has {engine} for these GPUs")
    if numbers(version) < numbers(entry["since"]):
        wanted = f"{entry['since']} or later, from which on {entry['repository']} is known"
        return Problem(VERSION_PATH, shown(version), wanted, fix)
    repository = entry["repository"]
    if registry:
        repository = f"{registry.rstrip('/')}/{repository.partition('/')[2]}"
    return f"{repository}:{entry['tag'].format(version=spelled(version))}"
