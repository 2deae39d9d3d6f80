"""Self-managed certificates as tests see them: the shipped names, and a kubelet's part of it.

It must not issue or judge certificates; it carries what is in a Secret into a folder.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cluster.fixtures_operator import SYSTEM_NAMESPACE, until

if TYPE_CHECKING:
    from pathlib import Path

    from controlplane import Cluster

SECRET = "plimsoll-webhook-tls"
AUTHORITY = f"{SECRET}-ca"
CONFIGURATION = "plimsoll"


def keeper_settings(port: int, **others: object) -> dict[str, object]:
    """Settings of a controller that keeps the certificate of an admission on this machine."""
    return {
        "webhook_secret": SECRET,
        "webhook_namespace": SYSTEM_NAMESPACE,
        "webhook_service": "plimsoll-webhook",
        "webhook_dns_names": f"127.0.0.1:{port}",
        "webhook_configuration": CONFIGURATION,
        **others,
    }


def secret(cluster: Cluster, name: str = SECRET) -> dict[str, Any]:
    """A Secret of ours, with its data decoded; empty if there is none."""
    done = cluster.kubectl("get", "secret", name, "-n", SYSTEM_NAMESPACE, "-o", "json", check=False)
    if done.returncode:
        return {}
    found: dict[str, Any] = json.loads(done.stdout)
    found["data"] = {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}
    return found


def trusted(cluster: Cluster) -> bytes:
    """What the webhook configuration has the API server trust."""
    found = cluster.get("validatingwebhookconfiguration", CONFIGURATION)["webhooks"]
    (text,) = {hook["clientConfig"].get("caBundle", "") for hook in found}
    return base64.b64decode(text)


@dataclass
class Kubelet:
    """Carries a Secret into a folder as a kubelet mounts it: all of its keys change at once.

    Use it as a context manager. every: seconds between looks.
    """

    cluster: Cluster
    folder: Path
    every: float = 1.0

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._version = ""
        self.folder.mkdir()
        until(self._carry, 30, f"Secret {SECRET} is there")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    @property
    def settings(self) -> dict[str, object]:
        """Where admission finds its certificate."""
        return {"tls_cert": self.folder / "tls.crt", "tls_key": self.folder / "tls.key"}

    def _run(self) -> None:
        while not self._stop.wait(self.every):
            with contextlib.suppress(OSError, ValueError):
                self._carry()

    def _carry(self) -> bool:
        found = secret(self.cluster)
        if not {"tls.crt", "tls.key"} <= set(found.get("data", {})):
            return False
        version = found["metadata"]["resourceVersion"]
        if version == self._version:
            return True
        before, after = self.folder / f"..{self._version}", self.folder / f"..{version}"
        after.mkdir()
        for key, data in found["data"].items():
            (after / key).write_bytes(data)
            if not (self.folder / key).is_symlink():
                (self.folder / key).symlink_to(f"..data/{key}")
        link = self.folder / "..data_tmp"
        link.symlink_to(after.name)
        link.rename(self.folder / "..data")
        if self._version:
            shutil.rmtree(before)
        self._version = version
        return True
