"""The kustomize folders under deploy/: which values each overlay is, and the files made for them.

Resources are rendered by the chart, so that there is one text of each; what a kustomization says
of them is written by hand. It must not change an object, except for taking off Helm's own labels.
"""

from __future__ import annotations

import copy
import functools
import subprocess
from typing import TYPE_CHECKING, Any, Final

import yaml

from chart.helm import ROOT, render
from controlplane.build import ETCD, KUBERNETES, ensure_built

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from chart.objects import Manifest

DEPLOY: Final = ROOT / "deploy"
HEAD: Final = "# Made by `make generate` from {source}; a test holds the two equal.\n"

OVERLAYS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "cert-manager": {"tls": {"mode": "cert-manager"}},
    "no-webhook": {"webhook": {"enabled": False}},
    "dev": {
        "image": {"tag": "dev"},
        "logging": {"level": "debug", "format": "text"},
        "webhook": {"replicas": 1, "failurePolicy": "Ignore"},
    },
}
"""The values with which the chart renders the objects of each overlay."""

HELM_ONLY: Final = {
    "labels": {"helm.sh/chart", "app.kubernetes.io/managed-by"},
    "annotations": {"helm.sh/resource-policy"},
}
"""What only Helm's objects carry."""


def plain(obj: Manifest) -> Manifest:
    """A copy of the object without what only Helm's carry."""
    obj = copy.deepcopy(obj)
    for part, names in HELM_ONLY.items():
        found = obj["metadata"].get(part)
        if found is None:
            continue
        for name in names:
            found.pop(name, None)
        if not found:
            del obj["metadata"][part]
    return obj


@functools.cache
def _kubectl() -> Path:
    return ensure_built(ETCD, KUBERNETES)["kubectl"]


def _kustomize(overlay: str) -> str:
    command = [str(_kubectl()), "kustomize", str(DEPLOY / "overlays" / overlay)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


def kustomize(overlay: str) -> list[Manifest]:
    """`kubectl kustomize` of an overlay."""
    return list(yaml.safe_load_all(_kustomize(overlay)))


def _component(obj: Manifest) -> str:
    labels: dict[str, str] = obj["metadata"].get("labels", {})
    return labels.get("app.kubernetes.io/component", "")


_RIGHTS: Final = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def _rights(obj: Manifest) -> bool:
    return obj["kind"] in _RIGHTS


_PLACES: Final[tuple[tuple[str, str, Callable[[Manifest], bool]], ...]] = (
    ("base/crd.yaml", "no-webhook", lambda o: o["kind"] == "CustomResourceDefinition"),
    ("base/floor.yaml", "no-webhook", lambda o: "AdmissionPolicy" in o["kind"]),
    ("base/rbac.yaml", "no-webhook", _rights),
    ("base/controller.yaml", "no-webhook", lambda o: o["kind"] in ("Deployment", "NetworkPolicy")),
    ("components/webhook/rbac.yaml", "default",
     lambda o: _rights(o) and _component(o) == "webhook"),
    ("components/webhook/webhook.yaml", "default",
     lambda o: not _rights(o) and _component(o) == "webhook"),
    ("components/cert-manager/certificate.yaml", "cert-manager",
     lambda o: o["apiVersion"].startswith("cert-manager.io/")),
    ("rbac.yaml", "default", _rights),
)  # fmt: skip
"""File, the overlay whose objects it takes, and which of them."""


def _text(objects: Iterable[Manifest]) -> str:
    dumped = yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=110)
    return HEAD.format(source="the chart") + dumped


def resources() -> dict[Path, str]:
    """Path and text of each file that the chart renders."""
    rendered = {name: [plain(o) for o in render(values)] for name, values in OVERLAYS.items()}
    return {
        DEPLOY / path: _text(filter(wanted, rendered[overlay])) for path, overlay, wanted in _PLACES
    }


def one_file() -> tuple[Path, str]:
    """Path and text of the file that installs everything."""
    source = "deploy/overlays/default"
    return DEPLOY / "plimsoll.yaml", HEAD.format(source=source) + _kustomize("default")
