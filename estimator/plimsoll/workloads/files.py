"""Manifests from files, folders and standard input: every document of every file, or why not.

No file may make it crash, hang or eat memory. A folder may be kept for other tools too: what is no
object of Kubernetes there is passed over and counted, while a file that is named is meant.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.api_group import API_VERSION, GROUP, KIND
from plimsoll.errors import Problem, clean, shown
from plimsoll.workloads import kinds, kustomize, ome
from plimsoll.workloads.helm_values import looks_like_values
from plimsoll.workloads.llmdeployment import Missing, pick
from plimsoll.workloads.resolved import KEY, RESOLVED, config_map_name
from plimsoll.workloads.yaml_text import NotYaml, documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from plimsoll.workloads.kinds import Kind
    from plimsoll.workloads.resolved import Profiles
    from plimsoll.workloads.roles import Served

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

    document: its number in that file, from 1. source: the template that Helm names above it.
    served: what its reader made of it; empty for an LLMDeployment, which is read when it is judged.
    """

    file: str
    line: int
    document: int
    obj: Mapping[str, Any]
    kind: Kind
    source: str = ""
    served: tuple[Served, ...] = ()


@dataclass
class Manifests:
    """What was found. deployments: every object that serves an LLM, by files and documents.

    problems: what could not be read; path is the file and line. others: objects that serve none;
    parts: objects that others which are read have made.
    passed: files and documents of folders that are no objects. config_maps: data by (namespace,
    name); objects: those that others refer to, by (kind, namespace, name); labels: of the
    namespaces among them. full: whether there were more than `MAX_OBJECTS`, the rest is not looked
    at. standard_input: what was read from there, as nobody can read it twice. profiles: where those
    of models are that no catalogue knows, beside the ConfigMaps. made: by kustomizations, for one
    object; kustomized: for all. of_cluster: an inventory (`plimsoll.inventory.saved`) of a listing.
    """

    deployments: list[Manifest] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: int = 0
    passed: int = 0
    parts: int = 0
    config_maps: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    objects: dict[tuple[str, str, str], Mapping[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    full: bool = False
    standard_input: bytes = b""
    profiles: Profiles | None = None
    made: kustomize.ConfigMaps = field(default_factory=dict)
    kustomized: kustomize.Kustomizations = field(default_factory=kustomize.Kustomizations)
    of_cluster: list[Mapping[str, Any]] = field(default_factory=list)

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """The text under a key of a ConfigMap among these manifests, or why there is none."""
        if namespace == RESOLVED:
            return self._resolved(name)
        data = self.config_map(namespace, name)
        if data is None:
            return Missing(
                f"ConfigMap {name} of namespace {namespace} is not among the manifests checked"
            )
        return pick(name, key, data.get)

    def _resolved(self, model: str) -> str | Missing:
        """The profile of a model, of whichever namespace."""
        name = config_map_name(model)
        known = {**self.made, **self.config_maps}.items()
        found: object = next((data.get(KEY) for (_, one), data in known if one == name), None)
        if found is None and self.profiles is not None:
            found = self.profiles.get(RESOLVED, model, None)
        return found if isinstance(found, str) else Missing(f"nobody resolved {model}")

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The texts of a ConfigMap among these manifests; None if it is not there."""
        return self.config_maps.get((namespace, name), self.made.get((namespace, name)))

    def beside(self, manifest: Manifest) -> Manifests:
        """The same as an object sees it: with what kustomizations make for its folder."""
        return replace(self, made=self.kustomized.beside(manifest.file))

    def other(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """An object of these manifests that others refer to; None if it is not there."""
        return self.objects.get((kind, namespace, name))


def load(sources: tuple[str, ...], profiles: Profiles | None = None) -> Manifests:
    """Everything in these files and folders; ``-`` is standard input.

    profiles: of models that no catalogue knows.
    """
    found = Manifests(profiles=profiles)
    for source in sources:
        if source == "-":
            found.standard_input = sys.stdin.buffer.read(MAX_FILE + 1)
            _Reader(STANDARD_INPUT, found, named=True, most=MAX_OBJECTS).read(found.standard_input)
            continue
        folder = Path(source).is_dir()
        for path in _files(Path(source), found):
            try:
                with path.open("rb") as file:
                    raw = file.read(MAX_FILE + 1)
            except OSError as error:
                found.problems.append(_unreadable(path, error))
            else:
                named = not folder and path.name not in _FOR_OTHER_TOOLS
                _Reader(_label(path), found, named=named, most=MAX_OBJECTS).read(raw)
                if path.name in kustomize.FILES:
                    found.kustomized.add(path)
    found.config_maps = {**found.kustomized.everywhere(), **found.config_maps}
    _serve(found)
    return found


def of_objects(objects: Iterable[object], where: str, most: int) -> Manifests:
    """What is in objects that somebody else has read, such as a listing of a cluster.

    where: what a problem's place begins with; the number of the object follows, from 1. most: of
    them that are read. What is no object is passed over.
    """
    found = Manifests()
    reader = _Reader(where, found, named=False, most=most)
    for index, one in enumerate(objects, 1):
        reader.take(one, index, index)
    _serve(found)
    return found


def lay_all_beside(found: Manifests, objects: list[dict[str, Any]]) -> None:
    """Read what was found to serve an LLM again, with more objects that it may refer to."""
    for one in objects:
        _keep(str(one.get("apiVersion")), str(one.get("kind")), one, found)
        found.others += 1
    found.deployments[:] = [
        replace(manifest, served=manifest.kind.read(manifest.obj, found.beside(manifest)))
        if manifest.kind.reader is not None
        else manifest
        for manifest in found.deployments
    ]


_FOR_OTHER_TOOLS: Final = ("Chart.yaml", *kustomize.FILES)
"""Files that are never meant, whoever lists them."""
_REFERRED_TO: Final = {
    ("serving.kserve.io", "ServingRuntime"): "ServingRuntime",
    ("serving.kserve.io", "ClusterServingRuntime"): "ClusterServingRuntime",
    ("serving.kserve.io", "LLMInferenceServiceConfig"): "LLMInferenceServiceConfig",
    ("llmaz.io", "OpenModel"): "OpenModel",
    ("inference.llmkube.dev", "Model"): "Model",
    ("apps.nvidia.com", "NIMCache"): "NIMCache",
    ("resource.k8s.io", "ResourceClaim"): "ResourceClaim",
    ("resource.k8s.io", "ResourceClaimTemplate"): "ResourceClaimTemplate",
    **{
        (ome.GROUP, kind): f"{ome.GROUP}/{kind}"
        for kind in ("BaseModel", "ClusterBaseModel", "ServingRuntime", "ClusterServingRuntime")
    },
}
"""Kinds of objects, by group, that other objects refer to by name, and how those ask for them."""
OF_A_CLUSTER: Final = frozenset(
    {
        "AcceleratorPool",
        "ClusterQueue",
        "Node",
        "NodePool",
        "Pod",
        "ResourceClaim",
        "ResourceFlavor",
        "ResourceQuota",
        "ResourceSlice",
        "Topology",
    }
)
"""The kinds of `plimsoll.inventory.saved.READ`, which a check of manifests need not load."""
_NOT_JUDGED: Final = frozenset({(API_VERSION, "AcceleratorPool"), (API_VERSION, "SizingPolicy")})
"""Kinds of ours that ask for no GPU, such as lie in a tree of manifests too."""
_CLUSTER_WIDE: Final = frozenset({"ClusterBaseModel", "ClusterServingRuntime", "OpenModel"})
_OBJECT: Final = re.compile(r"^apiVersion:\s*\S[\s\S]*^kind:|^kind:\s*\S[\s\S]*^apiVersion:", re.M)
"""What a text has if it is an object of Kubernetes, however broken."""


def _serve(found: Manifests) -> None:
    """Read the objects of other kinds than ours, now that everything beside them is known.

    Those that serve no LLM are counted among the others; what others of them made is not read.
    """
    kept: list[Manifest] = []
    made = kinds.made_by_others(manifest.obj for manifest in found.deployments)
    for manifest, is_part in zip(found.deployments, made, strict=True):
        if is_part:
            found.parts += 1
            continue
        if manifest.kind.reader is None:
            kept.append(manifest)
            continue
        served = manifest.kind.read(manifest.obj, found.beside(manifest))
        if served:
            kept.append(replace(manifest, served=served))
        elif manifest.kind is not kinds.HELM_VALUES:
            found.others += 1
        else:
            found.passed += 1
    found.deployments[:] = kept


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
            if not name.startswith(".") and name.endswith((*SUFFIXES, *kustomize.FILES))
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
    """Whether it is there and is a pipe, a device, a socket or a folder, a link to one, or a file
    that the kernel makes up while it is read (``/proc/kmsg`` waits for what is to come)."""
    try:
        return not stat.S_ISREG(path.stat().st_mode) or path.resolve().parts[1:2] in _MADE_UP
    except (OSError, RuntimeError):
        return False


_MADE_UP: Final = (("proc",), ("sys",), ("dev",))


@dataclass
class _Reader:
    """One file on its way into what was found. named: whether somebody asked for this very file;
    most: objects that are read, of all files together."""

    where: str
    found: Manifests
    named: bool
    most: int
    source: str = ""

    def read(self, raw: bytes) -> None:
        """Every document of the file."""
        if len(raw) > MAX_FILE:
            size = f"{MAX_FILE >> 20} MiB"
            self._wrong(self.where, f"more than {size}", f"a file of at most {size}", "split it")
            return
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            given = f"byte 0x{raw[error.start]:02x}"
            self._wrong(f"{self.where}:{line}", given, "text in UTF-8", "save it so")
            return
        forgiven = not self.named and ("{{" in text or not _OBJECT.search(text))
        empty, sources = True, _sources(text)
        for index, (line, document) in enumerate(documents(text), 1):
            self.source = next((name for at, name in reversed(sources) if at < line), "")
            if isinstance(document, NotYaml) and forgiven:
                self.found.passed += 1
            elif isinstance(document, NotYaml):
                for fault in document.faults:
                    self._wrong(f"{self.where}:{fault.line}", fault.given, fault.wanted, fault.fix)
            elif document is not None:
                self.take(document, line, index)
            empty = empty and document is None
        if empty and self.named:
            self._wrong(self.where, "no document", f"a manifest of kind {KIND}")
        elif empty:
            self.found.passed += 1

    def _wrong(self, place: str, given: str, wanted: str, fix: str = "") -> None:
        self.found.problems.append(Problem(place, given, wanted, fix))

    def take(self, document: Any, line: int, index: int) -> None:
        """Sort one document into its place."""
        place, found = f"{self.where}:{line}", self.found
        if found.full:
            return
        if len(found.deployments) + found.others >= self.most:
            found.full = True
            most = f"{self.most:,} objects"
            self._wrong(place, f"more than {most}", f"at most {most} at once", "check fewer files")
            return
        if not isinstance(document, dict):
            if not self.named:
                found.passed += 1
                return
            wanted = "a Kubernetes object: a mapping with apiVersion and kind"
            fix = f"begin with apiVersion: {API_VERSION} and kind: {KIND}"
            self._wrong(place, _kind_of(document), wanted, fix)
            return
        version, kind = document.get("apiVersion"), document.get("kind")
        if isinstance(kind, str) and _is_list(kind, document):
            self._unpack(document, line, index)
        elif isinstance(version, str) and isinstance(kind, str):
            self._object(version, kind, document, line, index)
        elif looks_like_values(document):
            obj = _as_json(document)
            found.deployments.append(
                Manifest(self.where, line, index, obj, kinds.HELM_VALUES, self.source)
            )
        elif self.named or kind == KIND or str(version).partition("/")[0] == GROUP:
            missing = "apiVersion" if not isinstance(version, str) else "kind"
            wanted = "apiVersion and kind, as every Kubernetes object has"
            self._wrong(place, f"no {missing}", wanted, f"apiVersion: {API_VERSION}, kind: {KIND}")
        else:
            found.passed += 1

    def _object(
        self, version: str, kind: str, document: dict[str, Any], line: int, index: int
    ) -> None:
        """One object, by its kind."""
        known = kinds.find(version, kind)
        if known is not None:
            obj = _as_json(document)
            self.found.deployments.append(
                Manifest(self.where, line, index, obj, known, self.source)
            )
            _keep(version, kind, document, self.found)
        elif (version, kind) not in _NOT_JUDGED and (
            kind == KIND or version.partition("/")[0] == GROUP
        ):
            given, wanted = shown(f"{version} {kind}"), f"{API_VERSION} {KIND}"
            fix = "Plimsoll knows no other version or kind"
            self._wrong(f"{self.where}:{line}", given, wanted, fix)
        else:
            self.found.others += 1
            _keep(version, kind, document, self.found)

    def _unpack(self, document: dict[str, Any], line: int, index: int) -> None:
        """Each item of a list; as in kubectl, one of a typed list needs no kind of its own."""
        key = "objects" if document["kind"] == "Template" else "items"
        items = document.get(key)
        if items is None:
            return
        if not isinstance(items, list):
            given, wanted = f"{key}: {_kind_of(items)}", f"a list of objects as {key}"
            self._wrong(f"{self.where}:{line}", given, wanted)
            return
        kind = "" if key == "objects" else document["kind"].removesuffix("List")
        missing = {"apiVersion": document.get("apiVersion"), "kind": kind} if kind else {}
        for item in items:
            self.take({**missing, **item} if isinstance(item, dict) else item, line, index)


def _sources(text: str) -> list[tuple[int, str]]:
    """(line, template) of each ``# Source:`` that Helm writes above what it renders."""
    if "# Source: " not in text:
        return []
    return [
        (number, _label(line.removeprefix("# Source: ").strip()))
        for number, line in enumerate(text.split("\n"), 1)
        if line.startswith("# Source: ")
    ]


def _is_list(kind: str, document: dict[str, Any]) -> bool:
    """Whether an object holds others: a list, or a template of OpenShift."""
    if kind == "Template":
        return "objects" in document
    return kind.endswith("List") and ("items" in document or kind == "List")


def _keep(version: str, kind: str, document: dict[str, Any], found: Manifests) -> None:
    """What an object of another kind says that the LLMDeployments beside it depend on."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = str(metadata.get("name"))
    if kind in OF_A_CLUSTER:
        found.of_cluster.append(document)
    asked = _REFERRED_TO.get((version.partition("/")[0], kind))
    if asked:
        namespace = "" if kind in _CLUSTER_WIDE else str(metadata.get("namespace") or "default")
        found.objects[(asked, namespace, name)] = document
    if (version, kind) == ("v1", "ConfigMap"):
        data = document.get("data")
        texts = data.items() if isinstance(data, dict) else ()
        place = (str(metadata.get("namespace") or "default"), name)
        found.config_maps[place] = {str(k): v for k, v in texts if isinstance(v, str)}
    elif (version, kind) == ("v1", "Namespace"):
        labels = metadata.get("labels")
        texts = labels.items() if isinstance(labels, dict) else ()
        found.labels[name] = {str(k): v for k, v in texts if isinstance(v, str)}


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
