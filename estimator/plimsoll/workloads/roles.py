"""One engine that an object starts, as its reader found it: what every kind is read into."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from plimsoll.engines.flag_values import A_SWITCH
from plimsoll.engines.flags import FlagShape
from plimsoll.errors import clean
from plimsoll.findings import Rule
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.gpus import Count, Kinds, whole
from plimsoll.workloads.llmdeployment import MAX_NAME, Documents, Missing
from plimsoll.workloads.shell import Choices, unresolved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.decision.request import Request
    from plimsoll.engines.base import Reading
    from plimsoll.engines.flags import Grammar
    from plimsoll.findings import Finding


class Beside(Documents, Protocol):
    """The other objects that lie beside the one being read, in files or in the cluster."""

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The texts of a ConfigMap; None if it is not at hand."""
        ...

    def other(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """An object of another kind by name; None if it is not at hand."""
        ...


class NothingBeside:
    """Nothing but the object itself is at hand."""

    def get(self, namespace: str, name: str, key: str | None) -> str | Missing:
        """Always missing."""
        return Missing(f"ConfigMap {name} of namespace {namespace} is not at hand here")

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Always missing."""
        return None

    def other(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Always missing."""
        return None


@dataclass
class Role:
    """One engine of an object. name: of the role, empty if the object has only one.

    engine: its name; empty: not known. version: empty: not known. words: its arguments.
    path: where its container is; arguments: where another argument would stand.
    model: how the object calls it outside the arguments. defaults: settings that the kind itself
    makes, which the arguments may override. gpus: of one pod; pods: of one replica.
    planned: whether the engine itself chooses the split if nobody says it.
    ranks: of one replica, where its pods' GPUs serve other replicas too; 0: they are its own.
    unreadable: what could not be read, in a few words each; shaken: those that memory hangs on.
    choices: see `plimsoll.workloads.shell.Command`.
    """

    name: str = ""
    engine: str = ""
    version: str = ""
    image: str = ""
    image_path: str = ""
    version_why: str = ""
    words: list[Word] = field(default_factory=list)
    path: str = "spec"
    arguments: str = ""
    model: Word | None = None
    served_name: str = ""
    gpus: Count = field(default_factory=Count)
    gpus_path: str = ""
    kinds: Kinds = field(default_factory=Kinds)
    kinds_path: str = ""
    pods: int | None = 1
    replicas: int | None = 1
    replicas_path: str = "spec.replicas"
    planned: bool = False
    ranks: int = 0
    shared_memory: str = ""
    unreadable: list[str] = field(default_factory=list)
    shaken: list[str] = field(default_factory=list)
    choices: Choices = field(default_factory=dict)

    def unread(self, what: str) -> None:
        """Note something that memory hangs on and that could not be read."""
        self.unreadable.append(what)
        self.shaken.append(f"not read: {what}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of one engine of an object, in the spelling of `-o json`; None: not said."""

    kind: str
    namespace: str
    name: str
    role: str = ""
    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: bool | None = None
    gpus_per_pod: int | None = None
    pods_per_replica: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    gpu_memory_utilization: float | None = None
    quantization: str | None = None
    dtype: str | None = None
    kv_cache_dtype: str | None = None
    enforce_eager: bool | None = None
    accelerator: str | None = None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """One engine of an object: what it asks to have decided, and what was read to ask it."""

    request: Request
    facts: Facts


def replicas_of(role: Role, value: object, path: str) -> None:
    """Take the replicas that an object asks for; unset is one."""
    role.replicas_path = path
    if value is None:
        return
    role.replicas = whole(value)
    if role.replicas is None and isinstance(value, str) and unresolved(value):
        role.unreadable.append(f"replicas {value[:80]} ({path})")


def spelled(facts: Facts) -> dict[str, Any]:
    """The facts as `-o json` spells them."""
    said = {spelling: getattr(facts, name) for name, spelling in _SPELLING.items()}
    return said | {"unreadable": list(facts.unreadable)}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


_SPELLING: Final = {one.name: _camel(one.name) for one in fields(Facts)}


def names(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name of an object, printable."""
    metadata = mapping(obj.get("metadata"))
    namespace, name = (
        metadata.get("namespace"),
        metadata.get("name") or metadata.get("generateName"),
    )
    return _name(namespace) or "default", _name(name) or "unnamed"


def _name(value: object) -> str:
    return clean(str(value)[:MAX_NAME], MAX_NAME) if isinstance(value, (str, int)) else ""


def mapping(value: object) -> Mapping[str, Any]:
    """A mapping, or an empty one for whatever else stands there."""
    return value if isinstance(value, dict) else {}


def elements(value: object) -> list[Any]:
    """A list, or an empty one for whatever else stands there."""
    return value if isinstance(value, list) else []


def at(obj: Mapping[str, Any], path: str) -> Any:
    """What stands at a path of keys with dots; None if nothing does."""
    value: Any = obj
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def typed(grammar: Grammar | None, sets: str, value: object, path: str) -> list[Word]:
    """A field of a kind as the argument that would say the same; nothing if it says nothing."""
    if grammar is None or value is None or value == "":
        return []
    flag = next((f for f in grammar.flags.values() if f.sets == sets), None)
    if flag is None:
        return []
    if flag.shape is FlagShape.SWITCH:
        on = str(value).lower() in ("true", "1", "yes", "on")
        return [Word(flag.name, path)] if on else []
    return [Word(flag.name, path), Word(str(value), path)]


def of_any_release(role: Role, reading: Reading, words: Sequence[Word]) -> Reading:
    """The reading without refusals that only the newest release is sure of, if none is named.

    Releases differ in whether a switch takes a value: ``--enable-chunked-prefill=false`` starts one
    and stops another. words: the arguments that were read.
    """
    if role.version:
        return reading
    kept: list[Finding] = []
    for one in reading.problems:
        if one.rule is Rule.FLAG_UNREADABLE and ("wanted", A_SWITCH) in one.facts:
            place = words[one.index].path if one.index is not None else role.path
            why = "not every release takes a value there"
            role.unread(f"{clean(str(one.given))} ({place}): {why}")
        else:
            kept.append(one)
    return replace(reading, problems=tuple(kept))
