"""A cluster as its user sees it: a kubeconfig and kubectl.

It must not know whether the cluster is ours or somebody else's.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controlplane.errors import KubectlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Manifest = dict[str, Any]


class Cluster(ABC):
    """What tests and the demo do to a cluster.

    kubeconfig: the administrator's; kubectl_path: the program; folder: ours to write to.
    """

    def __init__(self, kubeconfig: Path, kubectl_path: Path, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self.kubectl_path = kubectl_path
        self.folder = folder

    def kubectl(
        self,
        *args: str,
        input: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
        timeout: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator, or as the user of another kubeconfig."""
        command = [str(self.kubectl_path), *args]
        result = subprocess.run(
            command,
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ
            | {
                "KUBECONFIG": str(kubeconfig or self.kubeconfig),
                "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
            },
        )
        if check and result.returncode:
            raise KubectlError(" ".join(["kubectl", *args]), result.returncode, result.stderr)
        return result

    def apply(self, manifests: Iterable[Mapping[str, Any]], *args: str) -> str:
        """`kubectl apply -f - ARGS` these; what it printed."""
        return self.kubectl("apply", "-f", "-", *args, input=_list_of(manifests)).stdout

    def create(self, manifests: Iterable[Mapping[str, Any]], *args: str) -> str:
        """`kubectl create -f - ARGS` these; what it printed. About 70 a second."""
        return self.kubectl("create", "-f", "-", *args, input=_list_of(manifests)).stdout

    def get(self, *args: str) -> Manifest:
        """`kubectl get ARGS -o json`, as a dict."""
        found: Manifest = json.loads(self.kubectl("get", *args, "-o", "json").stdout)
        return found

    @abstractmethod
    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user of that name in these groups, with no rights of its own."""

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig for an existing service account, with a token that is good for a day."""
        arguments = ("create", "token", name, "--namespace", namespace, "--duration", "24h")
        token = self.kubectl(*arguments).stdout.strip()
        return self._kubeconfig_with(f"{namespace}.{name}", {"token": token}, namespace)

    def _admin_config(self) -> Manifest:
        shown = self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        config: Manifest = json.loads(shown.stdout)
        return config

    def _kubeconfig_with(
        self, name: str, user: Mapping[str, object], namespace: str | None = None
    ) -> Path:
        config = self._admin_config()
        config["users"][0]["user"] = user
        if namespace:
            config["contexts"][0]["context"]["namespace"] = namespace
        safe = "".join(letter if letter.isalnum() else "-" for letter in name)
        handle, path = tempfile.mkstemp(".kubeconfig", f"{safe}-", self.folder)
        with open(handle, "w") as file:
            json.dump(config, file, indent=2)  # JSON is YAML
        return Path(path)


def _list_of(manifests: Iterable[Mapping[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
