"""Where a field of an object stands in the text that states it: line and column, for YAML and JSON.

A text is composed a second time for this, so it is only done for a file that something is said of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from plimsoll.report.results import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.workloads.files import Manifest

_PART: Final = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")
"""A part of a path: a name after a dot, or an index or a key in brackets."""
_SOURCE: Final = re.compile(r"# Source: (\S.*?)\s*")
"""What `helm template` writes above each document: the template that it is from."""


@dataclass(frozen=True, slots=True)
class PathStep:
    """One part of a path that is there. key: of a mapping, None in a list; node: the value."""

    key: yaml.Node | None
    node: yaml.Node


@dataclass(frozen=True, slots=True)
class Way:
    """How far a path can be followed. steps: what is there, the root first; missing: the rest."""

    steps: tuple[PathStep, ...]
    missing: tuple[str, ...]


class Text:
    """A text of one or more documents whose fields can be found."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._documents = tuple(_composed(text))

    def root(self, manifest: Manifest) -> yaml.Node | None:
        """The node of an object, which may be an item of a list; None if it is not here."""
        if not 0 < manifest.document <= len(self._documents):
            return None
        metadata = manifest.obj.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        wanted = tuple(_text(metadata.get(key)) for key in ("name", "namespace"))
        kind = _text(manifest.obj.get("kind"))
        return _object(self._documents[manifest.document - 1], kind, wanted)

    def way(self, root: yaml.Node, path: str) -> Way:
        """Follow a path from an object's root as far as it goes."""
        parts = [name or key for name, key in _PART.findall(path)]
        steps = [PathStep(None, root)]
        for index, part in enumerate(parts):
            step = _step(steps[-1].node, part)
            if step is None:
                return Way(tuple(steps), tuple(parts[index:]))
            steps.append(step)
        return Way(tuple(steps), ())

    def span(self, file: str, root: yaml.Node, path: str) -> Span:
        """Where the value of a field is, or as much of the way to it as is there."""
        way = self.way(root, path)
        last = way.steps[-1]
        node = last.node
        whole = isinstance(node, yaml.ScalarNode) and node.start_mark.line == node.end_mark.line
        if way.missing or not whole or not node.value:
            node = last.key or _first_key(node)
        return self.between(file, node.start_mark.index, node.end_mark.index)

    def between(self, file: str, start: int, end: int) -> Span:
        """The span from one place of the text to another."""
        return Span(file, *self._line_and_column(start), *self._line_and_column(end))

    def source(self, root: yaml.Node) -> str:
        """The template that Helm made a document from; empty if nothing says so."""
        lines = self.text[: root.start_mark.index].splitlines()
        for line in reversed(lines):
            if line.startswith("---"):
                break
            if match := _SOURCE.fullmatch(line):
                return match[1]
        return ""

    def _line_and_column(self, place: int) -> tuple[int, int]:
        line = self.text.count("\n", 0, place) + 1
        return line, place - self.text.rfind("\n", 0, place)


def in_template(source: str, path: str) -> Span:
    """Where the template of a chart sets a field, if it is here and only one line can be it.

    source: as Helm names it, from the chart's name on. A template that is not here: its first line.
    """
    inside = source.partition("/")[2]
    here = [Path(name) for name in (source, inside, f"charts/{source}") if name]
    file = next((name for name in here if name.is_file()), None)
    if file is None:
        return Span(source, 1)
    names = [name for name, _ in _PART.findall(path) if name]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return Span(file.as_posix(), 1)
    for name in reversed(names):
        found = [n for n, line in enumerate(lines, 1) if line.strip().startswith(f"{name}:")]
        if len(found) == 1:
            line = lines[found[0] - 1]
            column = len(line) - len(line.lstrip()) + 1
            return Span(file.as_posix(), found[0], column, found[0], len(line) + 1)
    return Span(file.as_posix(), 1)


def _composed(text: str) -> Iterator[yaml.Node]:
    """The documents up to the first that cannot be read."""
    try:
        yield from yaml.compose_all(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _object(node: yaml.Node, kind: str, wanted: tuple[str, ...]) -> yaml.Node | None:
    """The object of that kind, name and namespace: the node itself, or one that a list holds.

    kind: empty for any. An item of a typed list may have none of its own.
    """
    own = _step(node, "kind")
    holder = "" if own is None else str(own.node.value)
    items = _step(node, "objects" if holder == "Template" else "items")
    if items is None or not (holder == "Template" or holder.endswith("List")):
        return node
    for item in items.node.value if isinstance(items.node, yaml.SequenceNode) else ():
        inner = _object(item, kind, wanted)
        named = _step(inner, "kind") if inner is not None else None
        if kind and named is not None and named.node.value != kind:
            continue
        metadata = _step(inner, "metadata") if inner is not None else None
        if metadata is None:
            continue
        found = (_step(metadata.node, key) for key in ("name", "namespace"))
        if tuple(step.node.value if step else "" for step in found) == wanted:
            return inner
    return None


def _step(node: yaml.Node, part: str) -> PathStep | None:
    """The value under a key, or at an index; None if there is none."""
    if isinstance(node, yaml.SequenceNode):
        at = int(part) if part.isdecimal() else len(node.value)
        return PathStep(None, node.value[at]) if at < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                return PathStep(key, value)
    return None


def _first_key(node: yaml.Node) -> yaml.Node:
    """What to point at for a whole object: its first key."""
    if isinstance(node, yaml.MappingNode) and node.value:
        key = node.value[0][0]
        assert isinstance(key, yaml.Node)
        return key
    return node
