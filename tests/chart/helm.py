"""The real helm on our chart: any of its commands, and what a set of values renders to.

It must leave the user's own helm folders alone.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from controlplane.build import HELM, ensure_built

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chart.objects import Manifest

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "plimsoll"
RELEASE: Final = "plimsoll"
NAMESPACE: Final = "plimsoll-system"


class HelmError(AssertionError):
    """helm ended with an error; the message is what it wrote."""


@functools.cache
def helm_program() -> Path:
    """The real helm, built if it was not yet."""
    return ensure_built(HELM)["helm"]


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="plimsoll-helm-")


def helm(
    *arguments: str,
    kubeconfig: Path | None = None,
    values: Mapping[str, Any] | None = None,
    check: bool = True,
    timeout: float = 240.0,
) -> subprocess.CompletedProcess[str]:
    """Run helm. values: as a values file. Raises `HelmError` if it fails and check is set."""
    command = [str(helm_program()), *arguments]
    if values is not None:
        command += ["--values", "-"]
    folder = Path(_folder().name)
    homes = {f"HELM_{which}_HOME": str(folder / which) for which in ("CACHE", "CONFIG", "DATA")}
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    result = subprocess.run(
        command,
        input=json.dumps(dict(values or {})),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment | homes | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}),
    )
    if check and result.returncode:
        raise HelmError(f"helm {' '.join(arguments)}: {result.stderr.strip()}")
    return result


def render(
    values: Mapping[str, Any] | None = None,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    chart: Path = CHART,
    hooks: bool = False,
    arguments: Sequence[str] = (),
) -> list[Manifest]:
    """`helm template`: the objects of a release. hooks: with those of `helm test`.

    Raises `HelmError` if the values are refused.
    """
    command = ["template", release, str(chart), "--namespace", namespace, *arguments]
    if not hooks:
        command.append("--no-hooks")
    text = helm(*command, values=values or {}).stdout
    return [document for document in yaml.safe_load_all(text) if document]
