"""Claims about reading manifest files: nothing is lost in silence, and no file does harm."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.findings import path_of
from plimsoll.workloads import files
from plimsoll.workloads.files import MAX_FILE, Manifests, load
from plimsoll.workloads.llmdeployment import PLACES, Missing, request
from plimsoll.workloads.yaml_text import NotYaml, documents

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[..., Manifests]

ONE = """\
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: %s, namespace: chat}
spec: {model: {uri: "hf://Qwen/Qwen2.5-7B-Instruct"}}
"""


def names(found: Manifests) -> list[str]:
    """The names of the deployments that were found."""
    return [m.obj["metadata"]["name"] for m in found.deployments]


def said(found: Manifests) -> list[str]:
    """The problems as users read them."""
    return [str(problem) for problem in found.problems]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Load one file with this text or these bytes."""

    def check(content: str | bytes, name: str = "it.yaml") -> Manifests:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load((str(path),))

    return check


def test_several_documents_in_one_file_are_all_found_with_their_lines(check: Check) -> None:
    found = check(f"---\n{ONE % 'a'}---\n# nothing\n---\n{ONE % 'b'}---\n{ONE % 'c'}")
    assert said(found) == []
    assert [(m.obj["metadata"]["name"], m.line, m.document) for m in found.deployments] == [
        ("a", 2, 1),
        ("b", 9, 3),
        ("c", 14, 4),
    ]


def test_a_list_is_unpacked_and_other_kinds_are_counted(check: Check) -> None:
    items = [
        {"apiVersion": "plimsoll.dev/v1alpha1", "kind": "LLMDeployment", "metadata": {"name": "a"}},
        {"apiVersion": "apps/v1", "kind": "Deployment"},
        {"apiVersion": "v1", "kind": "Service"},
    ]
    found = check(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), "it.json")
    assert (names(found), found.others, said(found)) == (["a"], 2, [])


def test_items_of_a_typed_list_need_no_kind_of_their_own(check: Check) -> None:
    item = {"metadata": {"name": "a"}, "spec": {"model": {"uri": "hf://Qwen/Qwen2.5-7B-Instruct"}}}
    found = check(
        json.dumps(
            {"apiVersion": "plimsoll.dev/v1alpha1", "kind": "LLMDeploymentList", "items": [item]}
        )
    )
    assert (names(found), said(found)) == (["a"], [])
    assert found.deployments[0].obj["kind"] == "LLMDeployment"


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("items: x", ["items: a string: a list of objects as items"]),
        ("items: {a: 1}", ["items: a mapping: a list of objects as items"]),
        ("items: [5, null, {a: 1}]", ["a number: a Kubernetes", "nothing: a Kubernetes", "no api"]),
        ("items: []", []),
        ("items: null", []),
        ("", []),
    ],
)
def test_a_list_of_something_else_is_said_item_by_item(
    check: Check, items: str, words: list[str]
) -> None:
    found = check(f"apiVersion: v1\nkind: List\n{items}\n")
    assert (found.deployments, found.others) == ([], 0)
    assert len(found.problems) == len(words)
    for sentence, word in zip(said(found), words, strict=True):
        assert f"it.yaml:1: Invalid value: {word}" in sentence


def test_config_maps_and_namespaces_beside_it_count(check: Check) -> None:
    found = check(
        """\
apiVersion: v1
kind: ConfigMap
metadata: {name: mine, namespace: chat}
data: {profile.json: "text", other: 5}
---
apiVersion: v1
kind: Namespace
metadata: {name: chat, labels: {plimsoll.dev/policy: warn}}
"""
    )
    assert found.get("chat", "mine", None) == "text"
    absent = found.get("chat", "mine", "nope")
    assert absent == Missing("ConfigMap mine has no model under nope")
    assert "not among the manifests" in str(found.get("other", "mine", None))
    assert found.labels == {"chat": {"plimsoll.dev/policy": "warn"}}


def test_a_folder_is_read_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "sub/c.json", "notes.txt", ".git/d.yaml", ".e.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(ONE % name.replace("/", "-"))
    found = load((str(tmp_path),))
    assert names(found) == ["a.yml", "b.yaml", "sub-c.json"]
    assert said(found) == []


def test_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((ONE % "a").encode())))
    found = load(("-",))
    assert names(found) == ["a"]
    assert found.deployments[0].file == "standard input"


def test_what_is_not_there_or_empty_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "void").mkdir()
    for name, words in (
        ("nope.yaml", "No such file"),
        ("empty.yaml", "no document"),
        ("void", "no manifest in it"),
    ):
        (problem,) = said(load((str(tmp_path / name),)))
        assert words in problem


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "gone")
    (problem,) = said(load((str(tmp_path),)))
    assert "a.yaml" in problem
    assert "a file that can be read" in problem


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("just a sentence\n", ":1", "a Kubernetes object"),
        ("- a\n- b\n", ":1", "a list: a Kubernetes object"),
        ("a: 1\n", ":1", "no apiVersion"),
        ("apiVersion: v1\n", ":1", "no kind"),
        ("a: 1\nb: [1, 2\nc: 3\n", ":3", "valid YAML"),
        ("a: 1\n\tb: 2\n", ":2", "valid YAML"),
        ("a: 1\nb: \x07\n", ":2", "control characters"),
        ("a: 1\nb: 2\na: 3\n", ":3", "every key once (it is on line 1 already)"),
        ("\na: !!python/object/apply:os.system [ls]\n", ":2", "valid YAML"),
        ("a: &x {b: *x}\n", ":1", "an alias of itself"),
        ("a: 0x" + "f" * 100_000, ":1", "a number of 100002 characters"),
        ("a: 1" + ":1" * 100_000, ":1", "a number of 200001 characters"),
        ("? [a]\n: b\n", ":1", "valid YAML"),
        ("a: !!int\n", ":1", "a value that its tag does not allow"),
        ("a: !!float x\n", ":1", "a value that its tag does not allow"),
        ("a: !!bool x\n", ":1", "a value that its tag does not allow"),
        ("a: !!timestamp x\n", ":1", "a value that its tag does not allow"),
        ("apiVersion: plimsoll.dev/v1\nkind: LLMDeployment\n", ":1", "plimsoll.dev/v1alpha1"),
        ("apiVersion: plimsoll.dev/v1alpha1\nkind: LLMDeploy\n", ":1", "knows no other"),
        ("apiVersion: serving/v1\nkind: LLMDeployment\n", ":1", "plimsoll.dev/v1alpha1"),
    ],
)
def test_what_is_no_manifest_is_said_with_its_line(
    check: Check, text: str, place: str, words: str
) -> None:
    found = check(text)
    assert found.deployments == []
    (problem,) = found.problems
    assert problem.path.endswith(f"it.yaml{place}")
    assert words in str(problem)


def test_a_folder_of_folders_without_end_and_one_of_too_many_files_end_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "deep"
    for _ in range(70):
        inner /= "d"
    inner.mkdir(parents=True)
    (problem,) = load((str(tmp_path / "deep"),)).problems
    assert "more than 64 folders within one another" in str(problem)

    monkeypatch.setattr(files, "MAX_FILES", 2)
    for number in range(3):
        (tmp_path / f"{number}.yaml").touch()
    assert "3 manifests: at most 2" in str(load((str(tmp_path),)).problems[-1])


def test_a_folders_pipes_devices_and_links_to_them_are_refused_and_not_waited_for(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "log.yaml").symlink_to("/proc/self/status")  # made up as it is read, as kmsg
    (tmp_path / "tty.yaml").symlink_to("/dev/tty")
    (tmp_path / "good.yaml").write_text(ONE % "a")
    (tmp_path / "link.yaml").symlink_to("good.yaml")
    found = load((str(tmp_path),))
    assert names(found) == ["a", "a"]
    refused = [problem.path for problem in found.problems]
    special = ("endless.yaml", "log.yaml", "pipe.yaml", "tty.yaml")
    assert refused == [str(tmp_path / name) for name in special]
    assert {problem.given for problem in found.problems} == {"no regular file"}


def test_a_pipe_that_is_named_is_read_as_of_process_substitution(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(ONE % "a",))
    writer.start()
    assert names(load((str(pipe),))) == ["a"]
    writer.join()


def test_more_objects_than_anybody_checks_at_once_are_refused_in_a_sentence(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll.workloads.files.MAX_OBJECTS", 3)
    found = check("---\n".join(ONE % name for name in "abcde"))
    assert names(found) == ["a", "b", "c"]
    (problem,) = said(found)
    assert "more than 3 objects: at most 3 objects at once; check fewer files" in problem


def test_a_broken_document_does_not_hide_those_before_it(check: Check) -> None:
    found = check(ONE % "a" + "---\na: 1\na: 2\n---\n" + ONE % "b" + "---\nc: [\n")
    assert names(found) == ["a", "b"]
    assert len(found.problems) == 2


def test_every_duplicate_key_of_a_document_is_said(check: Check) -> None:
    found = check("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert len(found.problems) == 2


def test_dates_are_text_as_in_kubernetes(check: Check) -> None:
    found = check(ONE % "2024-01-01")
    assert names(found) == ["2024-01-01"]


@pytest.mark.parametrize("written", ["8192", "8192.0", "8.192e3", "8192e0", "81920e-1", "0x2000"])
def test_whole_numbers_are_integers_however_they_are_written(check: Check, written: str) -> None:
    found = check(f"{ONE % 'a'}status: {{n: {written}, 5: {{true: x}}}}\n")
    status = found.deployments[0].obj["status"]
    assert status == {"n": 8192, "5": {"true": "x"}}
    assert type(status["n"]) is int


@pytest.mark.parametrize("written", ["8192.5", "1e400", ".nan", "1e17"])
def test_other_numbers_stay_as_they_are(check: Check, written: str) -> None:
    found = check(f"{ONE % 'a'}status: {{n: {written}}}\n")
    assert type(found.deployments[0].obj["status"]["n"]) is float


def test_a_billion_laughs_are_refused_at_once(check: Check) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    started = time.perf_counter()
    found = check("\n".join(lines))
    assert time.perf_counter() - started < 1
    assert "aliases that multiply" in said(found)[0]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_and_does_not_crash_the_parser(check: Check, opening: str) -> None:
    found = check(opening * 200_000)
    assert said(found)[0].endswith("nested 61 deep: at most 60; flatten it")


@pytest.mark.sweep
def test_a_file_of_too_many_values_or_bytes_is_refused(check: Check) -> None:
    assert "500001 values" in said(check("-\n" * 600_000))[0]
    assert "a file of at most 8 MiB" in said(check(b"#" * (MAX_FILE + 1)))[0]


def test_text_that_is_not_utf8_is_said_with_its_line(check: Check) -> None:
    (problem,) = check("a: é\nb: ü\n".encode("latin-1")).problems
    assert problem.path.endswith("it.yaml:1")
    assert "byte 0xe9" in str(problem)


def test_unicode_and_a_byte_order_mark_are_welcome(check: Check) -> None:
    found = check("\ufeff" + ONE % "größe-大")
    assert names(found) == ["größe-大"]


def test_a_file_with_a_strange_name_is_named_printably(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\n.yaml"
    with open(path, "wb") as file:
        file.write(b"apiVersion: plimsoll.dev/v1alpha1\n")
    (problem,) = said(load((str(tmp_path),)))
    assert problem.isprintable()


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_whatever_bytes_a_file_has_it_is_read_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "it.yaml")
        path.write_bytes(content)
        found = load((str(path),))
    assert found.deployments == []
    assert found.problems or found.others
    for sentence in said(found):
        assert sentence.isprintable()


pieces = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "v1",
            "plimsoll.dev/v1alpha1",
            "LLMDeployment",
            "List",
            "ConfigMap",
            "Namespace",
            "LLMDeploymentList",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "apiVersion",
                    "kind",
                    "items",
                    "metadata",
                    "name",
                    "namespace",
                    "data",
                    "labels",
                    "plimsoll.dev/policy",
                    "spec",
                    "annotations",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@pytest.mark.sweep
@given(st.lists(pieces, max_size=3))
def test_whatever_objects_a_file_holds_they_are_sorted_or_refused(objects: list[object]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "it.yaml")
        path.write_text("---\n".join(json.dumps(obj) + "\n" for obj in objects))
        found = load((str(path),))
    for manifest in found.deployments:
        for problem in request(manifest.obj, found).problems:
            assert path_of(problem, PLACES).startswith("spec")
    for problem in found.problems:
        assert "it.yaml" in problem.path
        assert problem.wanted


@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "a",
                ": ",
                "- ",
                "\n",
                "  ",
                "[",
                "]",
                "{",
                "}",
                ",",
                "&x ",
                "*x",
                "? ",
                "!!int ",
                "'",
                '"',
                "| ",
                "> ",
                "#",
                "---\n",
                "...\n",
                "<<: ",
                "1",
                "%YAML 1.1\n",
                "\t",
                "0x",
                "1:1",
            ]
        ),
        max_size=30,
    ).map("".join)
)
def test_whatever_a_file_holds_it_is_read_or_refused_in_words(text: str) -> None:
    for line, document in documents(text):
        assert line >= 1
        if isinstance(document, NotYaml):
            assert all(fault.wanted and fault.line >= 1 for fault in document.faults)
