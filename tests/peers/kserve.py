"""KServe's own controller of LLMInferenceServices (v0.20.0) on a control plane of ours.

Its webhooks are not there (see the program): what they would default a test writes into an object.
"""

from __future__ import annotations

from typing import Final

from cluster.fixtures_operator import established, until
from controlplane.build import KSERVE, LWS, ensure_built, folder_of
from peers.manager import UNCHECKED, Manager, objects_in

NAMESPACE: Final = "kserve"


class KServe(Manager):
    """The controller with the configuration that it comes with."""

    name = KSERVE

    def prepare(self) -> None:
        plane, config = self.plane, folder_of(KSERVE) / "config"
        ensure_built(LWS)
        plane.create(objects_in(config / "crd" / "full" / "llmisvc", "serving*.yaml"))
        plane.create(objects_in(folder_of(LWS) / "config" / "crd" / "bases"))
        until(lambda: established(plane), 60, "its kinds are served")
        plane.kubectl("create", "namespace", NAMESPACE)
        given = objects_in(config / "configmap", "inferenceservice.yaml")
        given += objects_in(config / "llmisvcconfig", "config-*.yaml")
        plane.create(
            [{**one, "metadata": {**one["metadata"], "namespace": NAMESPACE}} for one in given],
            UNCHECKED,
        )

    def arguments(self) -> list[str]:
        return [self.health]

    def environment(self) -> dict[str, str]:
        return {"POD_NAMESPACE": NAMESPACE}
