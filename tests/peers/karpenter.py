"""Karpenter (v1.14.0) with its kwok cloud, and kwok (v0.8.0), on a control plane of ours.

Karpenter makes Node objects of machines that are only listed; kwok says of these that they are
ready, as a kubelet would, and of the pods on them that they run. Both listen on loopback only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from controlplane.build import KARPENTER, KWOK, folder_of
from peers.manager import HOST, UNCHECKED, Manager, objects_in

if TYPE_CHECKING:
    from collections.abc import Mapping

NODE_CLASS: Final = "default"
GROUP: Final = "karpenter.kwok.sh"
GPU_LABELS: Final = "karpenter.k8s.aws/instance-"
MACHINES: Final = (
    ("m7i.2xlarge", 8, 32, "", 0, 0, 0.4),
    ("g4dn.xlarge", 4, 16, "t4", 16384, 1, 0.53),
    ("g6.2xlarge", 8, 32, "l4", 22888, 1, 0.98),
    ("g6.12xlarge", 48, 192, "l4", 22888, 4, 4.6),
    ("g6e.12xlarge", 48, 384, "l40s", 45776, 4, 10.5),
    ("p5.48xlarge", 192, 2048, "h100", 81920, 8, 98.0),
)
"""Amazon's: type, CPUs, GiB, and of its GPU name, MiB, how many; a price. As EC2 describes them."""


class Karpenter(Manager):
    """Karpenter over these machines, without leader election."""

    name = KARPENTER

    def prepare(self) -> None:
        self.kinds("crd", "kwok")
        machines = [machine(*one) for one in MACHINES]
        (self.folder / "machines.json").write_text(json.dumps(machines))
        node_class = {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "KWOKNodeClass",
            "metadata": {"name": NODE_CLASS},
        }
        self.plane.create([node_class], UNCHECKED)

    def environment(self) -> dict[str, str]:
        return {
            "HEALTH_ADDRESS": self.health,
            "INSTANCE_TYPES_FILE_PATH": str(self.folder / "machines.json"),
            "DISABLE_LEADER_ELECTION": "true",
            "BATCH_IDLE_DURATION": "200ms",
        }


class Kwok(Manager):
    """What plays the kubelets of the nodes that Karpenter makes."""

    name = KWOK

    def prepare(self) -> None:
        """What it plays: nodes get ready and stay so by their leases, pods run, and both go."""
        stages = folder_of(KWOK) / "stages"
        played = [
            one
            for folder in ("node/fast", "node/heartbeat-with-lease", "pod/fast")
            for one in objects_in(stages / folder)
            if one["kind"] == "Stage"
        ]
        (self.folder / "stages.yaml").write_text("\n---\n".join(map(json.dumps, played)))

    def arguments(self) -> list[str]:
        return [
            f"--config={self.folder / 'stages.yaml'}",
            f"--kubeconfig={self.plane.kubeconfig}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--server-address={self.health}",
            f"--node-ip={HOST}",
            "--node-lease-duration-seconds=40",
        ]


def machine(
    kind: str, cpu: int, gib: int, gpu: str, memory: int, count: int, price: float
) -> dict[str, Any]:
    """A machine in a file of Karpenter's kwok cloud; its labels are those of Amazon's provider."""
    family = kind.partition(".")[0]
    labels = {f"{GPU_LABELS}family": family, f"{GPU_LABELS}category": family[0]}
    resources = {"cpu": str(cpu), "memory": f"{gib}Gi", "ephemeral-storage": "1Ti", "pods": "110"}
    if gpu:
        labels |= {
            f"{GPU_LABELS}gpu-name": gpu,
            f"{GPU_LABELS}gpu-memory": str(memory),
            f"{GPU_LABELS}gpu-count": str(count),
        }
        resources["nvidia.com/gpu"] = str(count)
    where = {"karpenter.sh/capacity-type": "on-demand", "topology.kubernetes.io/zone": "a"}
    return {
        "name": kind,
        "offerings": [
            {"Price": price, "Available": True, "Requirements": _requirements({**where, **labels})}
        ],
        "architecture": "amd64",
        "operatingSystems": ["linux"],
        "resources": resources,
    }


def node_pool(name: str, wanted: Mapping[str, list[str]], limit: int) -> dict[str, Any]:
    """A NodePool for machines with GPUs, at most `limit` of them in all its nodes."""
    requirements = [{"key": k, "operator": "In", "values": v} for k, v in wanted.items()]
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "spec": {
                    "requirements": requirements,
                    "taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
                    "nodeClassRef": {"group": GROUP, "kind": "KWOKNodeClass", "name": NODE_CLASS},
                }
            },
            "limits": {"nvidia.com/gpu": limit},
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "2s"},
        },
    }


def _requirements(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "operator": "In", "values": [value]} for key, value in labels.items()]
