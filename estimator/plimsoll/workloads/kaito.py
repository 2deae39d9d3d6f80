"""KAITO: Workspace and InferenceSet, whose presets choose engine, arguments and split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.pod import as_flag, roles
from plimsoll.workloads.roles import Role, at, mapping, names, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

_SIZES: Final = ("--tensor-parallel-size", "--pipeline-parallel-size")
MAX_TEXT: Final = 100_000
_PRESETS: Final = {
    "gemma-3-4b-instruct": "google/gemma-3-4b-it",
    "gemma-3-27b-instruct": "google/gemma-3-27b-it",
    "mistral-7b": "mistralai/Mistral-7B-v0.3",
    "mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.3",
    "ministral-3-3b-instruct": "mistralai/Ministral-3-3B-Instruct-2512",
    "ministral-3-8b-instruct": "mistralai/Ministral-3-8B-Instruct-2512",
    "ministral-3-14b-instruct": "mistralai/Ministral-3-14B-Instruct-2512",
    "mistral-large-3-675b-instruct": "mistralai/Mistral-Large-3-675B-Instruct-2512",
    "phi-3-mini-128k-instruct": "microsoft/Phi-3-mini-128k-instruct",
    "phi-3-medium-128k-instruct": "microsoft/Phi-3-medium-128k-instruct",
}
"""Ids of presets whose names do not lead to them. Source: LegacyBuiltinToCatalog in
pkg/utils/plugin/plugin.go of kaito-project/kaito."""
_GPUS: Final = {
    "nc4as": 1, "nc8as": 1, "nc16as": 1, "nc64as": 4, "nc6s": 1, "nc12s": 2, "nc24s": 4,
    "nc24ads": 1, "nc48ads": 2, "nc96ads": 4, "nc40ads": 1, "nc80adis": 2, "nv36ads": 1,
    "nv72ads": 2, "nd96asr": 8, "nd96amsr": 8, "nd96isr": 8, "nd96isrf": 8, "nc24rs": 4,
}  # fmt: skip
"""GPUs of Azure's machines, by the part of the name after ``Standard_``."""


def workspace(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a Workspace, which keeps its parts at the top or under spec."""
    path = "spec." if isinstance(at(obj, "spec.inference"), dict) else ""
    return _read(obj, path, beside)


def inference_set(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of an InferenceSet: of each of the Workspaces that it makes."""
    found = _read(obj, "spec.template.", beside)
    for role in found:
        replicas_of(role, at(obj, "spec.replicas"), "spec.replicas")
    return found


def _read(obj: Mapping[str, Any], path: str, beside: Beside) -> list[Role]:
    resource = mapping(at(obj, f"{path}resource"))
    template = at(obj, f"{path}inference.template.spec")
    where = f"{path}inference.template.spec"
    found = roles(mapping(template), where, names(obj)[0], beside) if template else []
    preset = at(obj, f"{path}inference.preset.name")
    if not found and isinstance(preset, str) and preset:
        role = Role(path=f"{path}inference.preset", planned=True, engine=_engine(obj))
        role.arguments = f"{path}inference.config"
        role.model = Word(preset, f"{path}inference.preset.name")
        role.served_name = _PRESETS.get(preset.lower(), "")
        role.version_why = "the preset chooses the image"
        if not role.engine:
            role.unreadable.append("engine: the preset chooses it")
        _config(role, at(obj, f"{path}inference.config"), names(obj)[0], beside)
        found = [role]
    for role in found:
        _resource(role, resource, f"{path}resource")
    return found


def _config(role: Role, name: object, namespace: str, beside: Beside) -> None:
    """The engine's settings in the ConfigMap that a Workspace names, which are vLLM's flags."""
    if not name:
        return
    data = beside.config_map(namespace, str(name)) or {}
    text = data.get("inference_config.yaml")
    try:
        settings = mapping(yaml.safe_load(text[:MAX_TEXT])) if text else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        settings = {}
    told = settings.get("vllm")
    if not isinstance(told, dict) or role.engine not in ("", "vllm"):
        role.unread(f"the ConfigMap at {role.arguments}")
        return
    role.engine = "vllm"
    role.unreadable = [one for one in role.unreadable if not one.startswith("engine:")]
    role.words = [word for key, item in told.items() for word in as_flag(key, item, role.arguments)]


def _engine(obj: Mapping[str, Any]) -> str:
    """The engine that annotations name; empty if none does."""
    annotations = mapping(mapping(obj.get("metadata")).get("annotations"))
    if any(str(value).startswith("vllm:") for value in annotations.values()):
        return "vllm"
    runtime = str(annotations.get("kaito.sh/runtime", "")).lower()
    return "vllm" if runtime == "vllm" else ""


def _resource(role: Role, resource: Mapping[str, Any], path: str) -> None:
    """The machines that a Workspace asks for."""
    nodes = gpus.whole(resource.get("count", 1))
    machine = resource.get("instanceType")
    role.kinds_path, role.gpus_path = f"{path}.instanceType", f"{path}.count"
    mig, key = resource.get("mig"), "mig"
    partition = mapping(resource.get("partition"))
    if partition.get("mode") == "mig":  # one slice to a pod
        mig, key = {"profile": partition.get("profile")}, "partition"
    if isinstance(mig, dict):
        profile = str(mig.get("profile") or "")
        role.gpus = gpus.Count(gpus.whole(mig.get("count", 1)), "mig", profile)
        role.gpus_path = f"{path}.{key}"
        return
    if not isinstance(machine, str) or not machine:
        if isinstance(resource.get("partition"), dict):
            role.unreadable.append(f"GPUs of a partition ({path}.partition)")
        return
    name = gpus.from_instance(machine)
    if name:
        role.kinds = gpus.Kinds((name,), "instanceType")
    if role.gpus.number is None:
        known = machine.lower().removeprefix("standard_").partition("_")[0]
        number = _GPUS.get(known)
        role.gpus = gpus.Count(number, "instanceType" if number else "")
    role.pods = nodes
    if "count" not in resource and any(w.text in _SIZES for w in role.words):
        role.pods = None
        role.unread(f"nodes: KAITO works out how many ({path}.count)")
    if not name:
        role.unreadable.append(f"machine {clean(machine)}: its GPUs are not known")
