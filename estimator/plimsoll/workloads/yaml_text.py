"""YAML into documents, safely: each with its line, or with everything that is wrong with it.

The parser underneath recurses in C and would crash on a
deeply nested text, so a text is looked through event by event before anything is built from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from plimsoll.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NODES: Final = 500_000
"""Values of one text, each alias counted as what it stands for: stops a billion laughs."""
MAX_DEPTH: Final = 60
"""How deep a document may be nested."""
MAX_NUMBER: Final = 64
"""Characters of a number: some notations take time that grows with the square of them."""
MAX_FAULTS: Final = 20
"""Faults of one document that are listed."""

_NUMBERS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_CONSTRUCTION: Final = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
)
"""What the parser's constructors raise if a value and its tag do not go together."""
_OPENING: Final = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_CLOSING: Final = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class _Loader(yaml.CSafeLoader):
    """Without dates: to Kubernetes, which reads YAML as JSON, they are strings."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


_EXPONENT: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
"""``1e+06`` is a number to kubectl, and what Helm makes of 1000000."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. line: from 1; the rest as in `plimsoll.errors.Problem`."""

    line: int
    given: str
    wanted: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class NotYaml:
    """A document that cannot be read, and why."""

    faults: tuple[Fault, ...]


def documents(text: str) -> Iterator[tuple[int, Any]]:
    """(line, value) of each document; the value is `NotYaml` if it cannot be read.

    After a document whose syntax is broken there is no other: nobody knows where it ends.
    """
    excess = _excess(text)
    if excess is not None:
        yield excess.line, NotYaml((excess,))
        return
    loader = None
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            line = node.start_mark.line + 1
            faults = _faults(node)
            if faults:
                yield line, NotYaml(tuple(faults))
                continue
            try:
                value = loader.construct_document(node)
            except _CONSTRUCTION as error:
                value = NotYaml((_broken(error, line, text),))
            yield line, value
    except yaml.YAMLError as error:
        fault = _broken(error, 1, text)
        yield fault.line, NotYaml((fault,))
    finally:
        if loader is not None:
            loader.dispose()


def _excess(text: str) -> Fault | None:
    """Why a text is not even looked at closely: nested too deep, or too much in it."""
    depth = nodes = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, _OPENING):
                depth += 1
            elif isinstance(event, _CLOSING):
                depth -= 1
            nodes += isinstance(event, yaml.NodeEvent)
            line = event.start_mark.line + 1 if event.start_mark else 1
            if depth > MAX_DEPTH:
                return Fault(line, f"nested {depth} deep", f"at most {MAX_DEPTH}", "flatten it")
            if nodes > MAX_NODES:
                return Fault(line, f"{nodes} values", f"at most {MAX_NODES}", "split the file")
    except yaml.YAMLError:
        pass  # the second look finds it again, after the documents before it
    return None


def _broken(error: Exception, line: int, text: str) -> Fault:
    """A parser's error in our words."""
    mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
    if mark is not None:
        line = mark.line + 1
    elif position is not None:
        line = text.encode("utf-8", "surrogatepass").count(b"\n", 0, position) + 1
    what = getattr(error, "problem", None) or getattr(error, "reason", None)
    if not what:
        return Fault(line, "a value that its tag does not allow", "valid YAML", "remove the tag")
    return Fault(line, shown(str(what).split("\n")[0]), "valid YAML", "mend that line")


def _faults(root: yaml.Node) -> list[Fault]:
    """Keys that stand twice, endless numbers, aliases that explode or contain themselves."""
    sizes: dict[int, int] = {}
    under_way: set[int] = set()
    faults: list[Fault] = []

    def fault(node: yaml.Node, given: str, wanted: str, fix: str) -> None:
        if len(faults) < MAX_FAULTS:
            faults.append(Fault(node.start_mark.line + 1, given, wanted, fix))

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode) and len(node.value) <= MAX_NUMBER:
            return 1
        if id(node) in under_way:
            fault(node, "an alias of itself", "values that end", "write it out")
            return 1
        if id(node) in sizes:
            return sizes[id(node)]
        under_way.add(id(node))
        total = 1
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        first = f"every key once (it is on line {seen[key.value]} already)"
                        fault(key, shown(key.value), first, "remove one of the two")
                    seen.setdefault(key.value, key.start_mark.line + 1)
                total += size(key) + size(value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(map(size, node.value))
        elif node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
            given = f"a number of {len(node.value)} characters"
            fault(node, given, f"at most {MAX_NUMBER}", "quote it where it is text")
        under_way.discard(id(node))
        sizes[id(node)] = min(total, MAX_NODES + 1)
        return sizes[id(node)]

    if size(root) > MAX_NODES:
        most = f"at most {MAX_NODES} values, aliases counted"
        fault(root, "aliases that multiply", most, "write it out")
    return faults
