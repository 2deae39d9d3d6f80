"""One change of a field as an edit of the text that states it: comments and order stay.

An edit replaces a value where it stands, adds the field where it is missing, or takes it out. What
an anchor shares with other places is not edited, nor a text in several lines.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.verdict import Change
    from plimsoll.paths import Places
    from plimsoll.workloads.positions import PathStep, Text, Way

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_PLAIN: Final = re.compile(r"[A-Za-z](?:[\w./-]|:(?=\S))*")
_PLAIN_IN_BRACES: Final = re.compile(r"[A-Za-z][\w./-]*")
_WORD: Final = re.compile(r"[\w.:/-]+")
"""A value of a flag that no shell takes apart."""
_INDENT: Final = 2


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of a text, from start up to end, and what stands there afterwards."""

    start: int
    end: int
    text: str

    def apply(self, text: str) -> str:
        """The text after the edit."""
        return text[: self.start] + self.text + text[self.end :]


def edit_of(text: Text, root: yaml.Node, change: Change, places: Places) -> Edit | None:
    """The edit that makes a change of a way out; None if it cannot be written here.

    A place that the object keeps several fields in, such as one argument for a model and for how
    it is stored, is not edited: what to write there is for a person to say.
    """
    path = places.path(change.field)
    if sum(other == path for other in places.paths.values()) != 1:
        return None
    return edit(text, root, path, change.value)


def edit(text: Text, root: yaml.Node, path: str, value: str) -> Edit | None:
    """The edit that gives a field a value; None if it cannot be written here.

    path: of a field, or of an argument with a blank and the flag that sets the field behind it.
    value: as a manifest writes it; ``null`` or empty takes the field out.
    """
    path, _, flag = path.partition(" ")
    way = text.way(root, path)
    nodes = [step.node for step in way.steps]
    if any(_shared(text.text, inner, outer) for outer, inner in pairwise(nodes)):
        return None
    removed = value in ("", "null")
    if flag:
        known = not removed and not way.missing and _WORD.fullmatch(value)
        return _flag(text.text, nodes, flag, value) if known else None
    if way.missing:
        return None if removed else _addition(text.text, way, value)
    return _removal(text.text, way.steps) if removed else _replacement(text.text, way, value)


def _shared(text: str, node: yaml.Node, parent: yaml.Node) -> bool:
    """Whether a node is an alias, which stands outside its parent, or has an anchor or a tag."""
    start, end = node.start_mark.index, node.end_mark.index
    inside = parent.start_mark.index <= start and end <= parent.end_mark.index
    return not inside or text[start : start + 1] in ("&", "!", "*")


# -- a value in the place of another ---------------------------------------------------------------


def _replacement(text: str, way: Way, value: str) -> Edit | None:
    node = way.steps[-1].node
    start, end = node.start_mark.index, node.end_mark.index
    names = _names(value)
    as_json = _as_json(way.steps)
    in_braces = any(getattr(step.node, "flow_style", False) for step in way.steps)
    if isinstance(node, yaml.SequenceNode) and names is not None:
        if node.flow_style:
            return Edit(start, end, _written(value, as_json=as_json, in_braces=True))
        last = _end(node)
        if last is None:
            return None
        line = _line_break(text) + " " * node.start_mark.column
        return Edit(start, last, line.join(f"- {_scalar(name)}" for name in names))
    if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
        return None
    if not text[start:end]:
        return None
    if names is None and node.style == "'":
        return Edit(start, end, "'" + value.replace("'", "''") + "'")
    if names is None and node.style == '"':
        return Edit(start, end, json.dumps(value, ensure_ascii=False))
    return Edit(start, end, _written(value, as_json=as_json, in_braces=in_braces))


def _names(value: str) -> list[str] | None:
    """The names of a list; None if the value is none."""
    if not (value.startswith("[") and value.endswith("]")):
        return None
    return [name.strip() for name in value[1:-1].split(",")]


def _written(value: str, *, as_json: bool, in_braces: bool) -> str:
    """A value as YAML or JSON writes it."""
    names = _names(value)
    if names is not None:
        said = [json.dumps(n) if as_json else _scalar(n, in_braces=True) for n in names]
        return f"[{', '.join(said)}]"
    if as_json and not _WHOLE.fullmatch(value) and value not in ("true", "false"):
        return json.dumps(value, ensure_ascii=False)
    return _scalar(value, in_braces=in_braces)


def _scalar(value: str, *, in_braces: bool = False) -> str:
    """A whole number or a flag as it is, a fraction in quotes as Kubernetes wants it, or a text."""
    if _WHOLE.fullmatch(value) or value in ("true", "false"):
        return value
    plain = _PLAIN_IN_BRACES if in_braces else _PLAIN
    if plain.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _as_json(steps: Sequence[PathStep]) -> bool:
    """Whether an object is written as JSON: in braces, with its keys in double quotes."""
    root = steps[0].node
    if not isinstance(root, yaml.MappingNode) or not root.flow_style or not root.value:
        return False
    return bool(root.value[0][0].style == '"')


# -- a field that was not there --------------------------------------------------------------------


def _addition(text: str, way: Way, value: str) -> Edit | None:
    last, names = way.steps[-1], way.missing
    node = last.node
    if not all(re.fullmatch(r"[A-Za-z][\w-]*", name) for name in names):
        return None
    if isinstance(node, yaml.MappingNode):
        if node.flow_style:
            return _added_in_braces(text, way, node, value)
        return _added_in_lines(text, node, names, value)
    empty = isinstance(node, yaml.ScalarNode) and node.start_mark.index == node.end_mark.index
    in_braces = any(getattr(step.node, "flow_style", False) for step in way.steps)
    if not empty or last.key is None or in_braces:
        return None
    place = _end_of_line(text, last.key.end_mark.index)
    added = _in_lines(text, names, value, last.key.start_mark.column + _INDENT)
    return Edit(place, place, _line_break(text) + added)


def _added_in_lines(
    text: str, node: yaml.MappingNode, names: Sequence[str], value: str
) -> Edit | None:
    """After the last entry of a mapping; before the first one if nobody can tell where it ends."""
    column, first = node.value[0][0].start_mark.column, node.value[0][0].start_mark.index
    added = _in_lines(text, names, value, column)
    end = _end(node)
    if end is not None:
        place = _end_of_line(text, end)
        return Edit(place, place, _line_break(text) + added)
    if text[first : first + 1] in ("?", "&", "!", "*"):
        return None
    return Edit(first, first, added[column:] + _line_break(text) + " " * column)


def _in_lines(text: str, names: Sequence[str], value: str, column: int) -> str:
    """A field below its parents, each on a line of its own."""
    lines = [" " * (column + _INDENT * depth) + f"{name}:" for depth, name in enumerate(names)]
    return _line_break(text).join(lines) + f" {_written(value, as_json=False, in_braces=False)}"


def _added_in_braces(text: str, way: Way, node: yaml.MappingNode, value: str) -> Edit | None:
    as_json = _as_json(way.steps)
    said = _written(value, as_json=as_json, in_braces=True)
    keys = [json.dumps(name) if as_json else name for name in way.missing]
    for key in reversed(keys[1:]):
        said = f"{{{key}: {said}}}"
    said = f"{keys[0]}: {said}"
    if not node.value:
        place = node.start_mark.index + 1
        return Edit(place, place, said)
    key = node.value[-1][0]
    place = _end(node.value[-1][1])
    if place is None or place < key.end_mark.index:
        return None
    before = text[text.rfind("\n", 0, key.start_mark.index) + 1 : key.start_mark.index]
    between = f",{_line_break(text)}{before}" if not before.strip() else ", "
    return Edit(place, place, between + said)


# -- a flag of a command line ----------------------------------------------------------------------


def _flag(text: str, nodes: Sequence[yaml.Node], flag: str, value: str) -> Edit | None:
    """The value behind a flag, in the same argument or in the next; or a new argument of a list."""
    node, parent = nodes[-1], nodes[-2]
    if isinstance(node, yaml.SequenceNode):
        return _another_argument(text, node, f"{flag}={value}")
    start, end = node.start_mark.index, node.end_mark.index
    if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
        return None
    if node.value != flag:
        behind = rf"(?<![\w-]){re.escape(flag)}(?:=|\s+)(['\"]?)(?P<value>[\w.:/-]+)\1(?![\w.:/-])"
        there = list(re.finditer(behind, text[start:end]))
        if len(there) != 1:
            return None
        return Edit(start + there[0].start("value"), start + there[0].end("value"), value)
    following = parent.value.index(node) + 1 if isinstance(parent, yaml.SequenceNode) else 0
    if not 0 < following < len(parent.value):
        return None
    argument = parent.value[following]
    if _shared(text, argument, parent) or argument.style in ("|", ">"):
        return None
    written = f"'{value}'" if argument.style == "'" else json.dumps(value)
    return Edit(argument.start_mark.index, argument.end_mark.index, written)


def _another_argument(text: str, node: yaml.SequenceNode, argument: str) -> Edit | None:
    """After the last argument of a list that has some."""
    end = _end(node.value[-1]) if node.value else None
    if end is None or not node.start_mark.index <= end <= node.end_mark.index:
        return None
    if node.flow_style:
        return Edit(end, end, f", {json.dumps(argument)}")
    place = _end_of_line(text, end)
    return Edit(place, place, f"{_line_break(text)}{' ' * node.start_mark.column}- {argument}")


# -- a field that goes -----------------------------------------------------------------------------


def _removal(text: str, steps: Sequence[PathStep]) -> Edit | None:
    parent, step = steps[-2].node, steps[-1]
    if not isinstance(parent, yaml.MappingNode) or step.key is None:
        return None
    if len(parent.value) == 1 and not parent.flow_style and len(steps) > 2:
        return _removal(text, steps[:-1])
    start, end = step.key.start_mark.index, _end(step.node)
    if end is None:
        return None
    if not parent.flow_style:
        line = text.rfind("\n", 0, start) + 1
        if text[line:start].strip():
            return None
        after = text.find("\n", end)
        return Edit(line, len(text) if after < 0 else after + 1, "")
    index = next(i for i, (key, _) in enumerate(parent.value) if key is step.key)
    if index + 1 < len(parent.value):
        return Edit(start, parent.value[index + 1][0].start_mark.index, "")
    if index:
        before = _end(parent.value[index - 1][1])
        return None if before is None else Edit(before, end, "")
    return Edit(start, end, "")


# -- lines -----------------------------------------------------------------------------------------


def _end(node: yaml.Node) -> int | None:
    """Where the last character of a value stands; None if its end cannot be told."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.style in ("|", ">") else int(node.end_mark.index)
    if getattr(node, "flow_style", False) or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    key, value = last if isinstance(node, yaml.MappingNode) else (None, last)
    end = _end(value)
    if end is None or end < node.start_mark.index or end > node.end_mark.index:
        return None
    if key is not None and value.start_mark.index < key.end_mark.index:
        return None
    return end


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end


def _line_break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
