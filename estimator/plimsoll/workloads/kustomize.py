"""The ConfigMaps that a kustomization makes: the arguments and variables of the objects beside it.

Patches, images and name suffixes are not applied: `kustomize build` writes what they come to.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MAX_FILE: Final = 1 << 20
"""Bytes of one file that are read: more than a ConfigMap holds."""
MOST: Final = 64
"""ConfigMaps of one kustomization, files and literals of one of them, and folders that it takes."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A ConfigMap that a kustomization makes. namespace: empty if the kustomization says none."""

    namespace: str
    name: str
    texts: dict[str, str]


ConfigMaps = dict[tuple[str, str], dict[str, str]]
"""Texts by namespace and name."""


@dataclass
class Kustomizations:
    """The kustomizations of a tree, by their folder: what they generate, and whose resources they
    take."""

    generated: dict[str, list[Generated]] = field(default_factory=dict)
    taken: dict[str, list[str]] = field(default_factory=dict)
    _above: dict[str, list[Generated]] | None = None
    _beside: dict[str, ConfigMaps] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Read one. Files outside its folder are not read, as kustomize itself reads none."""
        try:
            document = yaml.safe_load(_text(path) or "")
        except (yaml.YAMLError, ValueError, RecursionError):
            return
        document = document if isinstance(document, dict) else {}
        folder = os.path.abspath(path.parent)
        lists = (_list(document.get(key)) for key in ("resources", "bases", "components"))
        self.taken[folder] = [
            os.path.normpath(os.path.join(folder, one))
            for listed in lists
            for one in filter(_is_text, listed)
            if "://" not in one and "\0" not in one
        ][:MOST]
        for one in _list(document.get("configMapGenerator")):
            name = one.get("name") if isinstance(one, dict) else None
            if isinstance(name, str):
                namespace = one.get("namespace") or document.get("namespace")
                namespace = namespace if isinstance(namespace, str) else ""
                made = Generated(namespace, name, _data(one, path.parent))
                self.generated.setdefault(folder, []).append(made)

    def everywhere(self) -> ConfigMaps:
        """The ConfigMaps whose namespace is said."""
        return _agreed(
            ((made.namespace, made.name), made.texts)
            for several in self.generated.values()
            for made in several
            if made.namespace
        )

    def beside(self, file: str) -> ConfigMaps:
        """The ConfigMaps that the objects of a file find under their names alone: they lie below
        the folder of the kustomization, or of one whose resources it takes, and may leave their
        namespace to it."""
        if not self.generated:
            return {}
        folder = os.path.dirname(os.path.abspath(file))
        if folder not in self._beside:
            if self._above is None:
                self._above = self._reached()
            above = [folder, *map(str, PurePath(folder).parents)]
            self._beside[folder] = _agreed(
                (("default", made.name), made.texts)
                for one in above
                for made in self._above.get(one, ())
            )
        return self._beside[folder]

    def _reached(self) -> dict[str, list[Generated]]:
        """What is generated for each folder by its kustomization and those that take it."""
        found: dict[str, list[Generated]] = {}
        for folder, made in self.generated.items():
            reached = [folder]
            for one in reached:
                more = [other for other in self.taken.get(one, ()) if other not in reached]
                reached += more[: MOST - len(reached)]
            for one in reached:
                found.setdefault(one, []).extend(made)
        return found


def _agreed(made: Iterable[tuple[tuple[str, str], dict[str, str]]]) -> ConfigMaps:
    """The ConfigMaps by namespace and name. Those that two kustomizations make unlike, such as a
    base and its overlays, are left out: nobody knows which of them is meant."""
    found: ConfigMaps = {}
    unlike = set()
    for place, texts in made:
        if found.setdefault(place, texts) != texts:
            unlike.add(place)
    return {place: texts for place, texts in found.items() if place not in unlike}


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
