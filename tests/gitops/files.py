"""The files under deploy/argocd that are made of the health script and of the states.

health.lua is written by hand; the rest follows from it: the text for the ConfigMap argocd-cm, and
the layout in which Argo CD's own repository keeps a health check with its tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from gitops.states import states

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "argocd"
KIND: Final = FOLDER / "resource_customizations" / "plimsoll.dev" / "LLMDeployment"
SCRIPT: Final = KIND / "health.lua"
_HEAD: Final = """\
# Health of LLMDeployments in Argo CD. Made by `make generate` from health.lua.
#   kubectl -n argocd patch configmap argocd-cm --patch-file deploy/argocd/argocd-cm.yaml
"""


def files() -> dict[Path, str]:
    """Each path with its text."""
    script = SCRIPT.read_text(encoding="utf-8")
    indented = "".join(f"    {line}".rstrip() + "\n" for line in script.splitlines())
    patch = (
        f"{_HEAD}data:\n  resource.customizations.health.plimsoll.dev_LLMDeployment: |\n{indented}"
    )
    made = {FOLDER / "argocd-cm.yaml": patch}
    tests = []
    for state in states():
        path = KIND / "testdata" / f"{state.name}.yaml"
        made[path] = yaml.safe_dump(state.object, sort_keys=False, width=100, allow_unicode=True)
        tests.append(
            {
                "healthStatus": {"status": state.argo, "message": message(state.object)},
                "inputPath": f"testdata/{state.name}.yaml",
            }
        )
    made[KIND / "health_test.yaml"] = yaml.safe_dump(
        {"tests": tests}, sort_keys=False, width=100, allow_unicode=True
    )
    return made


def message(obj: dict[str, object]) -> str:
    """What the health of an object has to say: of the condition that decides it."""
    metadata, status = obj["metadata"], obj.get("status")
    assert isinstance(metadata, dict)
    if "deletionTimestamp" in metadata:
        return "being deleted"
    if not isinstance(status, dict) or status["observedGeneration"] != metadata["generation"]:
        return "Plimsoll has not looked at this object yet"
    conditions = {c["type"]: c for c in status["conditions"]}
    decisive = next(kind for kind in ("Reconciling", "Stalled", "Ready") if kind in conditions)
    return str(conditions[decisive]["message"])
