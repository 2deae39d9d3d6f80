"""Somebody else's cluster, used only if a kubeconfig was named for that very purpose.

It must never fall back to another cluster, and never take the kubeconfig that happens to be set.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from controlplane.build import KUBERNETES, ProgramSet, of_others
from controlplane.errors import ControlPlaneError
from controlplane.kubectl import Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExternalCluster(Cluster):
    """A running cluster that a kubeconfig leads to; it is left running."""

    def __init__(self, kubeconfig: str | Path) -> None:
        path = Path(kubeconfig).expanduser().resolve()
        if not path.is_file():
            raise ControlPlaneError(f"no kubeconfig at {path}: the cluster asked for is not there")
        super().__init__(path, _find_kubectl(), Path(tempfile.mkdtemp(prefix="plimsoll-external-")))
        answer = self.kubectl("get", "--raw", "/readyz", "--request-timeout=10s", check=False)
        if answer.returncode:
            self.close()
            raise ControlPlaneError(
                f"the cluster of {path} does not answer:\n{answer.stderr.strip()}\n"
                f"Next: see whether `kubectl --kubeconfig {path} get --raw /readyz` says ok."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the kubeconfigs that were made for users of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """By impersonation: the key that signs its client certificates is not ours."""
        administrator = self._admin_config()["users"][0]["user"]
        return self._kubeconfig_with(user, administrator | {"as": user, "as-groups": list(groups)})


def _find_kubectl() -> Path:
    if on_path := shutil.which("kubectl"):
        return Path(on_path)
    if (theirs := of_others()) is not None:
        return theirs.programs["kubectl"]
    built = ProgramSet(KUBERNETES).folder / "kubectl"
    if built.exists():
        return built
    raise ControlPlaneError("no kubectl on PATH. Next: put it there, or run `make control-plane`.")
