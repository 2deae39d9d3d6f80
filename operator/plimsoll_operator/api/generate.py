"""The YAML files under deploy/ that are made from code, and how they are written.

It must not hold anything that belongs in the types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from plimsoll_operator.api.crd import crd
from plimsoll_operator.api.policy import floor_binding, floor_policy

if TYPE_CHECKING:
    from pathlib import Path

HEAD: Final = "# Made by `make generate` from {source}; a test holds the two equal.\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(*documents: dict[str, Any], source: str) -> str:
    dumped = yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110
    )
    return HEAD.format(source=source) + dumped


def files() -> dict[str, str]:
    """Name and text of each file."""
    return {
        "crd.yaml": _text(
            crd(), source="operator/plimsoll_operator/api/crd.py and the types of spec and status"
        ),
        "floor.yaml": _text(
            floor_policy(), floor_binding(),
            source="operator/plimsoll_operator/api/policy.py, the accelerator table and the "
            "catalogue",
        ),
    }  # fmt: skip


def write(folder: Path) -> list[Path]:
    """Write them below a folder; those that changed."""
    changed = []
    for name, text in files().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed
