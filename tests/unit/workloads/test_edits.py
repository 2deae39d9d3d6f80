"""Claims about edits and positions: one field changes, nothing else, and it is where it says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.workloads.edits import edit
from plimsoll.workloads.files import Manifest
from plimsoll.workloads.kinds import KINDS
from plimsoll.workloads.positions import Text


def manifest(document: int, obj: dict[str, Any]) -> Manifest:
    """An object as the reader of files finds it."""
    return Manifest("it.yaml", 1, document, obj, KINDS[0])


def changed(text: str, path: str, value: str) -> str | None:
    """The text after one edit of its only document; None if it cannot be edited."""
    parsed = Text(text)
    root = parsed.root(manifest(1, {}))
    assert root is not None
    made = edit(parsed, root, path, value)
    return None if made is None else made.apply(text)


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        ("a:\n  b: 1 # why\n  c: 2\n", "a.b", "5", "a:\n  b: 5 # why\n  c: 2\n"),
        ("a:\n  b: '0.9'\n", "a.b", "0.95", "a:\n  b: '0.95'\n"),
        ("a:\n  b: 1 # why\nd: 1\n", "a.c", "0.95", 'a:\n  b: 1 # why\n  c: "0.95"\nd: 1\n'),
        ("a:\n  b: 1", "a.c.d.e", "x", "a:\n  b: 1\n  c:\n    d:\n      e: x"),
        ("a: # nothing yet\nb: 1\n", "a.c", "3", "a: # nothing yet\n  c: 3\nb: 1\n"),
        ("a: {b: 1}\n", "a.c", "hf://x/y", 'a: {b: 1, c: "hf://x/y"}\n'),
        ("a: {}\n", "a.c.d", "3", "a: {c: {d: 3}}\n"),
        ("a: {b: [x, y], c: 1}\n", "a.b", "[z]", "a: {b: [z], c: 1}\n"),
        ("a:\n- x\n- y # why\nb: 1\n", "a", "[z, w]", "a:\n- z\n- w # why\nb: 1\n"),
        ("a:\n  b:\n    c: 1\n  d: 2\n", "a.b", "null", "a:\n  d: 2\n"),
        ("a: {b: 1, c: 2}\n", "a.c", "null", "a: {b: 1}\n"),
        ("a: {b: 1, c: 2}\n", "a.b", "null", "a: {c: 2}\n"),
        ("a:\n  - x\n  - y\n", "a[1]", "z", "a:\n  - x\n  - z\n"),
        ("a:\n  b: |\n    text\n\nc: 1\n", "a.d", "1", "a:\n  d: 1\n  b: |\n    text\n\nc: 1\n"),
        ("a:\r\n  b: 1\r\nc: 2\r\n", "a.d", "3", "a:\r\n  b: 1\r\n  d: 3\r\nc: 2\r\n"),
        ("\N{SNOWMAN}: 'é'\na:\n  b: 1\n", "a.b", "2", "\N{SNOWMAN}: 'é'\na:\n  b: 2\n"),
        ('{"a": {"b": 1}}', "a.c", "fp8", '{"a": {"b": 1, "c": "fp8"}}'),
        (
            '{\n  "a": {\n    "b": 1\n  }\n}',
            "a.c",
            "0.95",
            '{\n  "a": {\n    "b": 1,\n    "c": "0.95"\n  }\n}',
        ),
    ],
)
def test_an_edit_changes_one_field_and_keeps_comments_order_and_style(
    before: str, path: str, value: str, after: str
) -> None:
    assert changed(before, path, value) == after
    yaml.safe_load(after)


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ("a:\n- --n=1 # why\n- --m=2\n", "a[0] --n", "a:\n- --n=8 # why\n- --m=2\n"),
        ('a: ["--n", "1", "--m"]\n', "a[0] --n", 'a: ["--n", "8", "--m"]\n'),
        ("a:\n  - --n\n  - '1'\n", "a[0] --n", "a:\n  - --n\n  - '8'\n"),
        ("a: [sh, -c, 'x --nn 3 --n 1 -t']\n", "a[2] --n", "a: [sh, -c, 'x --nn 3 --n 8 -t']\n"),
        ("a:\n- x # why\nb: 1\n", "a --n", "a:\n- x # why\n- --n=8\nb: 1\n"),
        ('{"a": ["x"]}', "a --n", '{"a": ["x", "--n=8"]}'),
        ("a: [sh, -c, 'x --n 1; y --n 2']\n", "a[2] --n", None),
        ("a: [--n]\n", "a[0] --n", None),
        ("a: []\n", "a --n", None),
        ("a:\n- |\n  x --n 1\n", "a[0] --n", None),
        ("b: 1\n", "a --n", None),
    ],
)
def test_a_flag_is_changed_where_it_stands_or_added_to_the_arguments(
    before: str, path: str, after: str | None
) -> None:
    assert changed(before, path, "8") == after


def test_a_flag_takes_no_value_that_a_shell_would_take_apart() -> None:
    assert changed("a: [--n=1]\n", "a[0] --n", "8; rm") is None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("x: &x {b: 1}\na: *x\n", "a.b"),
        ("x: &x {b: 1}\na: *x\n", "x.b"),
        ("a:\n  b: &n 8\nc: *n\n", "a.b"),
        ("a:\n  b: |\n    8\n", "a.b"),
        ("a:\n  b: 8\n", "a.b.c"),
        ("a: [1, 2]\n", "a.b"),
    ],
)
def test_what_is_shared_or_has_no_room_for_the_field_is_not_edited(text: str, path: str) -> None:
    assert changed(text, path, "9") is None


leaves = st.one_of(
    st.integers(0, 99), st.sampled_from(["x", "a b", "# no", "null", "1.5", "- y", "é", ""])
)
trees = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), leaves, min_size=1, max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from("abcd"),
        st.one_of(inner, leaves, st.lists(st.one_of(leaves, inner), max_size=3)),
        min_size=1,
        max_size=3,
    ),
    max_leaves=12,
)


@given(
    tree=trees,
    path=st.lists(st.sampled_from("abcd"), min_size=1, max_size=3),
    value=st.sampled_from(["7", "0.95", "fp8", "hf://a/b", "[x, y]", "on", "a: b"]),
    how=st.sampled_from(["block", "flow", "json", "mixed", "indented"]),
)
def test_after_an_edit_the_document_differs_in_that_field_alone(
    tree: dict[str, Any], path: list[str], value: str, how: str
) -> None:
    text = {
        "block": lambda: yaml.safe_dump(tree, sort_keys=False),
        "mixed": lambda: yaml.safe_dump(tree, default_flow_style=None, sort_keys=False),
        "flow": lambda: yaml.safe_dump(tree, default_flow_style=True, sort_keys=False),
        "json": lambda: json.dumps(tree),
        "indented": lambda: json.dumps(tree, indent=2),
    }[how]()
    after = changed(text, ".".join(path), value)
    if after is None:
        return
    expected: Any = copy.deepcopy(tree)
    holder = expected
    for name in path[:-1]:
        holder = holder.setdefault(name, {})
    written: Any = {"7": 7, "[x, y]": ["x", "y"]}.get(value, value)
    if written == 7 and isinstance(holder.get(path[-1]), str):
        written = after_quotes(after, path)
    holder[path[-1]] = written
    assert yaml.safe_load(after) == expected


def after_quotes(text: str, path: list[str]) -> Any:
    """A number in the place of a text stays in quotes if the text was in quotes."""
    there = yaml.safe_load(text)
    for name in path:
        there = there[name]
    assert there in (7, "7")
    return there


@given(tree=trees, path=st.lists(st.sampled_from("abcd"), min_size=1, max_size=3))
def test_after_a_removal_no_other_field_has_changed(tree: dict[str, Any], path: list[str]) -> None:
    for text in (yaml.safe_dump(tree, sort_keys=False), json.dumps(tree)):
        after = changed(text, ".".join(path), "null")
        if after is None:
            continue
        expected: Any = copy.deepcopy(tree)
        holders = [expected]
        for name in path[:-1]:
            holders.append(holders[-1][name])
        del holders[-1][path[-1]]
        if text.startswith("{"):
            assert yaml.safe_load(after) == expected
            continue
        for name, holder in reversed(list(zip(path, holders[:-1], strict=False))):
            if not holder[name]:
                del holder[name]
        assert (yaml.safe_load(after) or {}) == expected


@pytest.mark.parametrize(
    ("path", "line", "column", "there"),
    [
        ("spec.model.uri", 5, 16, '"hf://x"'),
        ("spec.engine.extraArgs[1]", 9, 9, "--b=2"),
        ("spec.engine.maxModelLen", 6, 3, "engine"),
        ("spec.labels[a.b/c]", 10, 20, "v"),
        ("spec.engine", 6, 3, "engine"),
        ("", 1, 1, "apiVersion"),
    ],
)
def test_a_field_is_found_by_line_and_column(path: str, line: int, column: int, there: str) -> None:
    text = (
        "apiVersion: v1\nkind: X\nspec:\n"
        '  # é\n  model: {uri: "hf://x"}\n'
        "  engine:\n    extraArgs:\n      - --a=1\n      - --b=2\n  labels: {a.b/c:  v}\n"
    )
    parsed = Text(text)
    root = parsed.root(manifest(1, {}))
    assert root is not None
    span = parsed.span("it.yaml", root, path)
    assert (span.file, span.line, span.column) == ("it.yaml", line, column)
    assert text.split("\n")[span.line - 1][span.column - 1 : span.end_column - 1] == there


def test_an_argument_is_found_where_it_stands_and_a_missing_one_at_its_list() -> None:
    text = "args:\n- x\n- --n=1\n"
    parsed = Text(text)
    root = parsed.root(manifest(1, {}))
    assert root is not None
    spans = [parsed.span("it.yaml", root, path) for path in ("args[1] --n", "args --m")]
    assert [(span.line, span.column) for span in spans] == [(3, 3), (1, 1)]


def test_an_object_in_a_list_in_a_later_document_is_found_by_its_name() -> None:
    text = (
        "---\nkind: A\n---\nkind: List\nitems:\n"
        "- kind: X\n  metadata: {name: one, namespace: n}\n  spec: {a: 1}\n"
        "- kind: X\n  metadata: {name: two, namespace: n}\n  spec: {a: 2}\n"
    )
    parsed = Text(text)
    there = manifest(2, {"metadata": {"name": "two", "namespace": "n"}})
    root = parsed.root(there)
    assert root is not None
    assert parsed.span("it.yaml", root, "spec.a").line == 11
    made = edit(parsed, root, "spec.a", "3")
    assert made is not None
    assert made.apply(text) == text.replace("a: 2", "a: 3")
