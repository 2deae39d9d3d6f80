"""Manifests from files, folders and standard input: every document of every file, or why not.

No file may make it crash, hang or eat memory.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import API_VERSION, GROUP, KIND, POLICY_LABEL
from plimsoll.errors import Problem, clean, shown
from plimsoll.workloads import kinds
from plimsoll.workloads.llmdeployment import Missing, pick
from plimsoll.workloads.yaml_text import NotYaml, documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.workloads.kinds import Kind

MAX_FILE: Final = 8 << 20
"""Bytes of one file, or of standard input, that are read."""
MAX_OBJECTS: Final = 10_000
"""Objects that are read, of all kinds and from all files together."""
MAX_FILES: Final = 20_000
"""Manifests of one folder that are read."""
MAX_DEPTH: Final = 64
"""Folders within folders that are looked into."""
_EXACT: Final = 1 << 53
"""Below this every whole number is exact as a float."""
MAX_PATH: Final = 4096
"""Characters of a file's path, which is repeated whole: somebody will open it."""
STANDARD_INPUT: Final = "standard input"
"""What stands in the place of a file's name for what came from there."""
SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Files of a folder that are read."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a kind that is read. file: where it is from; line: of its document, from 1.

    document: its number in that file, from 1.
    """

    file: str
    line: int
    document: int
    obj: Mapping[str, Any]
    kind: Kind


@dataclass
class Manifests:
    """What was found. deployments: in the order of files and documents.

    problems: what could not be read; path is the file and line. others: objects of other kinds.
    config_maps: data by (namespace, name); modes: policy labels by namespace. full: whether there
    were more than `MAX_OBJECTS`, the rest is not looked at. standard_input: what was read from
    there, as nobody can read it twice.
    """

    deployments: list[Manifest] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: int = 0
    config_maps: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    full: bool = False
    standard_input: bytes = b""

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key of a ConfigMap among these manifests, or why there is none."""
        data = self.config_maps.get((namespace, name))
        if data is None:
            return Missing(
                f"ConfigMap {name} of namespace {namespace} is not among the manifests checked"
            )
        return pick(name, key, data.get)


def load(sources: tuple[str, ...]) -> Manifests:
    """Everything in these files and folders; ``-`` is standard input."""
    found = Manifests()
    for source in sources:
        if source == "-":
            found.standard_input = sys.stdin.buffer.read(MAX_FILE + 1)
            _read(STANDARD_INPUT, found.standard_input, found)
            continue
        for path in _files(Path(source), found):
            try:
                with path.open("rb") as file:
                    raw = file.read(MAX_FILE + 1)
            except OSError as error:
                found.problems.append(_unreadable(path, error))
            else:
                _read(_label(path), raw, found)
    return found


def _label(path: Path | str) -> str:
    """A file's name for messages: printable whatever is in it."""
    return clean(str(path), MAX_PATH)


def _unreadable(path: Path | str, error: OSError) -> Problem:
    why = error.strerror or str(error)
    return Problem(_label(path), why, "a file that can be read", "check its path and permissions")


def _files(source: Path, found: Manifests) -> Iterator[Path]:
    """The file itself, or the manifests below a folder, sorted; hidden ones are passed over.

    Below a folder lies what somebody else may have put there, so pipes, devices and links to them
    are not opened: a reader could wait for ever. One that is named is meant.
    """
    if not source.is_dir():
        yield source
        return
    below: list[Path] = []
    for folder, folders, names in os.walk(
        source, onerror=lambda e: found.problems.append(_unreadable(e.filename or source, e))
    ):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if folders and len(Path(folder).relative_to(source).parts) >= MAX_DEPTH:
            folders.clear()
            deep = f"more than {MAX_DEPTH} folders within one another"
            found.problems.append(Problem(_label(source), deep, f"at most {MAX_DEPTH}"))
        below += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and name.endswith(SUFFIXES)
        ]
    if not below and not found.problems:
        suffixes = ", ".join(SUFFIXES)
        found.problems.append(
            Problem(_label(source), "no manifest in it", f"a folder with {suffixes} files")
        )
    if len(below) > MAX_FILES:
        many = f"{len(below)} manifests"
        fix = "check parts of it one after another"
        found.problems.append(Problem(_label(source), many, f"at most {MAX_FILES}", fix))
        return
    for path in sorted(below):
        if _is_special(path):
            found.problems.append(
                Problem(
                    _label(path),
                    "no regular file",
                    "regular files below a folder",
                    "name it as FILE if it is meant",
                )
            )
        else:
            yield path


def _is_special(path: Path) -> bool:
    """Whether it is there and is a pipe, a device, a socket or a folder, or a link to one."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _read(where: str, raw: bytes, found: Manifests) -> None:
    """Every document of a file."""
    if len(raw) > MAX_FILE:
        size = f"{MAX_FILE >> 20} MiB"
        found.problems.append(
            Problem(where, f"more than {size}", f"a file of at most {size}", "split it")
        )
        return
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found.problems.append(
            Problem(
                f"{where}:{line}", f"byte 0x{raw[error.start]:02x}", "text in UTF-8", "save it so"
            )
        )
        return
    empty = True
    for index, (line, document) in enumerate(documents(text), 1):
        if isinstance(document, NotYaml):
            found.problems += (
                Problem(f"{where}:{fault.line}", fault.given, fault.wanted, fault.fix)
                for fault in document.faults
            )
        elif document is not None:
            _take(document, where, line, index, found)
        empty = empty and document is None
    if empty:
        found.problems.append(Problem(where, "no document", f"a manifest of kind {KIND}"))


def _take(document: Any, where: str, line: int, index: int, found: Manifests) -> None:
    """Sort one document into its place."""
    place = f"{where}:{line}"
    if found.full:
        return
    if len(found.deployments) + found.others >= MAX_OBJECTS:
        found.full = True
        most = f"{MAX_OBJECTS:,} objects"
        problem = Problem(
            place, f"more than {most}", f"at most {most} at once", "check fewer files"
        )
        found.problems.append(problem)
        return
    if not isinstance(document, dict):
        found.problems.append(
            Problem(
                place,
                _kind_of(document),
                "a Kubernetes object: a mapping with apiVersion and kind",
                f"begin with apiVersion: {API_VERSION} and kind: {KIND}",
            )
        )
        return
    version, kind = document.get("apiVersion"), document.get("kind")
    if isinstance(kind, str) and kind.endswith("List") and ("items" in document or kind == "List"):
        _unpack(document, where, line, index, found)
        return
    if not isinstance(version, str) or not isinstance(kind, str):
        missing = "apiVersion" if not isinstance(version, str) else "kind"
        found.problems.append(
            Problem(
                place,
                f"no {missing}",
                "apiVersion and kind, as every Kubernetes object has",
                f"apiVersion: {API_VERSION}, kind: {KIND}",
            )
        )
        return
    known = kinds.find(version, kind)
    if known is not None:
        found.deployments.append(Manifest(where, line, index, _as_json(document), known))
    elif kind == KIND or version.partition("/")[0] == GROUP:
        found.problems.append(
            Problem(
                place,
                shown(f"{version} {kind}"),
                f"{API_VERSION} {KIND}",
                "Plimsoll knows no other version or kind",
            )
        )
    else:
        found.others += 1
        _keep(version, kind, document, found)


def _unpack(document: dict[str, Any], where: str, line: int, index: int, found: Manifests) -> None:
    """Each item of a list; as in kubectl, one of a typed list needs no kind of its own."""
    items = document.get("items")
    if items is None:
        return
    if not isinstance(items, list):
        found.problems.append(
            Problem(f"{where}:{line}", f"items: {_kind_of(items)}", "a list of objects as items")
        )
        return
    kind = document["kind"].removesuffix("List")
    missing = {"apiVersion": document.get("apiVersion"), "kind": kind} if kind else {}
    for item in items:
        _take({**missing, **item} if isinstance(item, dict) else item, where, line, index, found)


def _keep(version: str, kind: str, document: dict[str, Any], found: Manifests) -> None:
    """What an object of another kind says that the LLMDeployments beside it depend on."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = str(metadata.get("name"))
    if (version, kind) == ("v1", "ConfigMap"):
        data = document.get("data")
        texts = data.items() if isinstance(data, dict) else ()
        place = (str(metadata.get("namespace") or "default"), name)
        found.config_maps[place] = {str(k): v for k, v in texts if isinstance(v, str)}
    elif (version, kind) == ("v1", "Namespace"):
        labels = metadata.get("labels")
        mode = labels.get(POLICY_LABEL) if isinstance(labels, dict) else None
        if isinstance(mode, str):
            found.modes[name] = mode


def _as_json(value: Any) -> Any:
    """The value as kubectl sends it: whole numbers as integers, the names of fields as text."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {_name(key): _as_json(item) for key, item in value.items()}
    return value


def _name(key: Any) -> Any:
    if isinstance(key, bool):
        return str(key).lower()
    return str(key) if isinstance(key, int) else key


def _kind_of(document: object) -> str:
    names = {
        list: "a list",
        dict: "a mapping",
        str: "a string",
        int: "a number",
        float: "a number",
        bool: "a flag",
        type(None): "nothing",
    }
    return names.get(type(document), type(document).__name__)
