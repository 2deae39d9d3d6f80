"""KubeAI's Model: an address, an engine, and a resource profile with its count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import clean
from plimsoll.workloads import gpus
from plimsoll.workloads.command_line import Word
from plimsoll.workloads.images import read_image
from plimsoll.workloads.pod import words_of
from plimsoll.workloads.roles import Role, mapping, replicas_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.workloads.roles import Beside

_ENGINES: Final = {"vllm": "vllm", "ollama": "ollama"}
"""KubeAI's engines that serve LLMs; FasterWhisper and Infinity serve others."""


def read(obj: Mapping[str, Any], beside: Beside) -> list[Role]:
    """The engine of a Model."""
    spec = mapping(obj.get("spec"))
    engine = _ENGINES.get(str(spec.get("engine") or "VLLM").lower())
    features = spec.get("features")
    if engine is None or (
        isinstance(features, list) and features and "TextGeneration" not in features
    ):
        return []
    image = spec.get("image")
    known = read_image(image) if isinstance(image, str) else None
    role = Role(
        engine=engine,
        version=known.version if known else "",
        version_why=known.why if known else "the image is in KubeAI's own settings",
        image=clean(image, 256) if isinstance(image, str) else "",
        image_path="spec.image",
        words=words_of(spec.get("args"), "spec.args"),
        path="spec",
        arguments="spec.args",
        gpus_path="spec.resourceProfile",
        kinds_path="spec.resourceProfile",
    )
    url = spec.get("url")
    if isinstance(url, str) and url:
        role.model = Word(url.partition("?")[0], "spec.url")
    _profile(role, spec.get("resourceProfile"))
    replicas_of(role, spec.get("replicas", spec.get("minReplicas")), "spec.minReplicas")
    return [role]


def _profile(role: Role, profile: object) -> None:
    """GPUs and their kind in a profile such as ``nvidia-gpu-l4:2``."""
    if not isinstance(profile, str) or not profile:
        return
    name, _, times = profile.partition(":")
    if name.startswith("cpu"):
        role.gpus = gpus.Count(0, "resourceProfile")
        return
    number = gpus.whole(times or "1")
    given = "" if number is not None else clean(profile)
    role.gpus = gpus.Count(number, "resourceProfile", given=given)
    plain = name.lower().replace("-gpu-", "-")
    short = plain.partition("-")[2]
    found = gpus.named([plain, short, short.partition("-")[0]]) or gpus.tpu(plain)
    if found:
        role.kinds = gpus.Kinds((found,), "resourceProfile")
    else:
        role.unreadable.append(
            f"resource profile {clean(name)}: its nodes are in KubeAI's settings"
        )
