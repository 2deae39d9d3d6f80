"""The ConfigMaps that a kustomization makes: the arguments and variables of the objects beside it.

Patches, images and name suffixes are not applied: `kustomize build` writes what they come to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FILES: Final = ("kustomization.yaml", "kustomization.yml")
MAX_FILE: Final = 1 << 20
"""Bytes of one file that are read: more than a ConfigMap holds."""
MOST: Final = 64
"""ConfigMaps of one kustomization, and files and literals of one of them."""


Generated = tuple[str, str, dict[str, str]]
"""Namespace (empty if the kustomization says none), name and texts of a ConfigMap."""


def agreed(generated: Iterable[Generated]) -> dict[tuple[str, str], dict[str, str]]:
    """The ConfigMaps by namespace and name. Those that two kustomizations make unlike, such as a
    base and its overlays, are left out: nobody knows which of them is meant.

    An object of the tree may leave its namespace to the kustomization, so that each counts in the
    default namespace too.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    unlike = set()
    for namespace, name, texts in generated:
        for place in {(namespace or "default", name), ("default", name)}:
            if found.setdefault(place, texts) != texts:
                unlike.add(place)
    return {place: texts for place, texts in found.items() if place not in unlike}


def config_maps(path: Path) -> Iterator[Generated]:
    """The ConfigMaps that a kustomization generates. Files outside its folder are not read, as
    kustomize itself reads none."""
    try:
        document = yaml.safe_load(_text(path) or "")
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    document = document if isinstance(document, dict) else {}
    for one in _list(document.get("configMapGenerator")):
        name = one.get("name") if isinstance(one, dict) else None
        if isinstance(name, str):
            namespace = one.get("namespace") or document.get("namespace")
            yield namespace if isinstance(namespace, str) else "", name, _data(one, path.parent)


def _data(generator: dict[str, Any], folder: Path) -> dict[str, str]:
    """The texts of one ConfigMap."""
    data: dict[str, str] = {}
    for given in filter(_is_text, _list(generator.get("files"))):
        key, sign, file = given.rpartition("=")
        text = _text(folder / file, folder)
        if text is not None:
            data[key if sign else file.rpartition("/")[2]] = text
    for given in filter(_is_text, [*_list(generator.get("envs")), generator.get("env")]):
        lines = (_text(folder / given, folder) or "").splitlines()
        data |= _pairs(line.strip() for line in lines if not line.lstrip().startswith("#"))
    literals = (one.strip() for one in _list(generator.get("literals")) if isinstance(one, str))
    return data | {key: value.strip("\"'") for key, value in _pairs(literals).items()}


def _pairs(lines: Iterable[str]) -> dict[str, str]:
    """Lines of ``KEY=value``."""
    split = (line.partition("=") for line in lines)
    return {key: value for key, sign, value in split if sign and key}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _list(value: object) -> list[Any]:
    return value[:MOST] if isinstance(value, list) else []


def _text(path: Path, folder: Path | None = None) -> str | None:
    """The text of a file; None if it cannot be read or lies outside a folder."""
    try:
        if folder is not None and not path.resolve().is_relative_to(folder.resolve()):
            return None
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_FILE).decode("utf-8")
    except (OSError, ValueError, RuntimeError):
        return None
