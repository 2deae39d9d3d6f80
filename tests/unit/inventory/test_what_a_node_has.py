"""Nodes of every cloud and labeller: what is counted of them, and why the rest is set aside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from plimsoll.accelerators.catalogue import find
from plimsoll.accelerators.labels import named_by
from plimsoll.accelerators.types import Dialect
from plimsoll.inventory.facts import NodeFacts
from plimsoll.inventory.nodes import read_node, read_nodes
from plimsoll.inventory.pools import SetAside
from plimsoll.inventory.saved import from_dict, to_dict
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

GPU = "nvidia.com/gpu"
A100 = {
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    "nvidia.com/gpu.memory": "81920",
    "nvidia.com/gpu.count": "8",
    "nvidia.com/mig.strategy": "mixed",
}
MACHINE = "node.kubernetes.io/instance-type"


def node(labels: dict[str, str], capacity: Mapping[str, object], **metadata: Any) -> dict[str, Any]:
    """A ready node with those labels and all of its capacity to give."""
    counts = {key: str(value) for key, value in capacity.items()}
    return {
        "kind": "Node",
        "metadata": {"name": "n", "labels": labels, **metadata},
        "status": {
            "capacity": counts,
            "allocatable": counts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def offered(
    labels: dict[str, str], capacity: Mapping[str, object]
) -> list[tuple[str, int, Dialect]]:
    """What such a node has to give."""
    facts = read_node(node(labels, capacity))
    assert isinstance(facts, NodeFacts), facts
    return [(offer.accelerator.name, offer.count, offer.dialect) for offer in facts.offers]


def why(labels: dict[str, str], capacity: Mapping[str, object], **metadata: Any) -> str:
    """Why nothing of such a node is counted."""
    said = read_node(node(labels, capacity, **metadata))
    assert isinstance(said, SetAside), said
    return said.why


@pytest.mark.parametrize(
    ("labels", "capacity", "name", "dialect"),
    [
        ({MACHINE: "g5.12xlarge"}, {GPU: 4}, "nvidia-a10g", Dialect.INSTANCE_TYPE),
        ({MACHINE: "p5.48xlarge"}, {GPU: 8}, "nvidia-h100-80gb", Dialect.INSTANCE_TYPE),
        ({MACHINE: "p6-b300.48xlarge"}, {GPU: 8}, "nvidia-b300", Dialect.INSTANCE_TYPE),
        ({MACHINE: "g6f.2xlarge"}, {GPU: 1}, "nvidia-l4-6gb", Dialect.INSTANCE_TYPE),
        ({MACHINE: "g4ad.8xlarge"}, {"amd.com/gpu": 2}, "amd-radeon-pro-v520",
         Dialect.INSTANCE_TYPE),
        ({MACHINE: "Standard_NV18ads_A10_v5"}, {GPU: 1}, "nvidia-a10-12gb", Dialect.AKS),
        ({MACHINE: "Standard_ND96isr_MI300X_v5"}, {"amd.com/gpu": 8}, "amd-mi300x", Dialect.AKS),
        ({MACHINE: "BM.GPU.A10.4"}, {GPU: 4}, "nvidia-a10", Dialect.INSTANCE_TYPE),
        ({MACHINE: "a3-megagpu-8g"}, {GPU: 8}, "nvidia-h100-80gb", Dialect.INSTANCE_TYPE),
        ({MACHINE: "g2-gpu-rtx4000a1-s"}, {GPU: 1}, "nvidia-rtx-4000-ada", Dialect.INSTANCE_TYPE),
        ({MACHINE: "GN10Xp.2XLARGE40"}, {GPU: 1}, "nvidia-v100-32gb", Dialect.INSTANCE_TYPE),
        ({MACHINE: "h100-380"}, {GPU: 1}, "nvidia-h100-80gb", Dialect.INSTANCE_TYPE),
        ({MACHINE: "l40s-48gb.8x"}, {GPU: 8}, "nvidia-l40s", Dialect.INSTANCE_TYPE),
        ({MACHINE: "ecs.gn8is-4x.16xlarge"}, {GPU: 4}, "nvidia-l20", Dialect.INSTANCE_TYPE),
        ({MACHINE: "standard_nc24ads_a100_v4"}, {GPU: 1}, "nvidia-a100-80gb", Dialect.AKS),
        ({"k8s.amazonaws.com/accelerator": "nvidia-tesla-t4"}, {GPU: 4}, "nvidia-t4",
         Dialect.NODE_LABEL),
        ({"nebius.com/gpu-name": "B300", "nebius.com/resource-preset": "8gpu-192vcpu-2768gb"},
         {GPU: 8}, "nvidia-b300", Dialect.NODE_LABEL),
        ({"nvidia.com/gpu.product": "RTX3090"}, {GPU: 2}, "nvidia-rtx-3090", Dialect.GFD),
        ({"beta.kubernetes.io/instance-type": "p3.8xlarge"}, {GPU: 4}, "nvidia-v100-16gb",
         Dialect.INSTANCE_TYPE),
        ({"eks.amazonaws.com/instance-gpu-name": "t4", "eks.amazonaws.com/instance-gpu-memory":
          "16384", "eks.amazonaws.com/instance-gpu-count": "1"}, {GPU: 1}, "nvidia-t4",
         Dialect.EKS_AUTO),
        ({"karpenter.k8s.aws/instance-gpu-name": "l4", "karpenter.k8s.aws/instance-gpu-memory":
          "22888", "karpenter.k8s.aws/instance-gpu-count": "8"}, {GPU: 8}, "nvidia-l4",
         Dialect.KARPENTER_AWS),
        ({"karpenter.azure.com/sku-gpu-name": "T4", "karpenter.azure.com/sku-gpu-count": "1"},
         {GPU: 1}, "nvidia-t4", Dialect.KARPENTER_AZURE),
        ({"gpu.nvidia.com/class": "A100_PCIE_80GB"}, {GPU: 8}, "nvidia-a100-80gb",
         Dialect.COREWEAVE),
        ({"gpu.nvidia.com/model": "RTX_A5000"}, {GPU: 2}, "nvidia-rtx-a5000", Dialect.COREWEAVE),
        ({"aliyun.accelerator/nvidia_name": "NVIDIA-L20", "aliyun.accelerator/nvidia_mem":
          "46068MiB", "aliyun.accelerator/nvidia_count": "4"}, {GPU: 4}, "nvidia-l20",
         Dialect.ALIBABA),
        ({"amd.com/gpu.device-id": "74b9", "amd.com/gpu.vram": "256G"}, {"amd.com/gpu": 8},
         "amd-mi325x", Dialect.AMD),
        ({"beta.amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}, {"amd.com/gpu": 8},
         "amd-mi300x", Dialect.AMD),
        ({"doks.digitalocean.com/gpu-model": "h100"}, {GPU: 8}, "nvidia-h100-80gb",
         Dialect.NODE_LABEL),
        ({"nvidia.com/gpu.product": "NVIDIA-GB10", "nvidia.com/gpu.count": "1"}, {GPU: 1},
         "nvidia-gb10", Dialect.GFD),
    ],
)  # fmt: skip
def test_the_gpus_of_a_node_are_known_by_the_labels_of_its_cloud(
    labels: dict[str, str], capacity: dict[str, object], name: str, dialect: Dialect
) -> None:
    assert offered(labels, capacity) == [(name, *capacity.values(), dialect)]


def test_an_amd_gpu_that_the_table_lacks_has_the_memory_of_its_label() -> None:
    said = read_node(
        node({"amd.com/gpu.device-id": "7999", "amd.com/gpu.vram": "432G"}, {"amd.com/gpu": 4})
    )
    assert isinstance(said, NodeFacts)
    assert said.offers[0].accelerator.memory == (432 * 1024 - 512) * MIB
    assert said.offers[0].accelerator.resource == "amd.com/gpu"


@pytest.mark.parametrize(
    "labels",
    [
        {"karpenter.k8s.aws/instance-gpu-name": "l40s", "karpenter.k8s.aws/instance-gpu-memory":
         "45776", "karpenter.k8s.aws/instance-gpu-count": "1"},
        {"eks.amazonaws.com/instance-gpu-name": "l40s", "eks.amazonaws.com/instance-gpu-memory":
         "45776", "eks.amazonaws.com/instance-gpu-count": "1"},
        {MACHINE: "g6e.xlarge"},
        {MACHINE: "Standard_NC40ads_H100_v5"},
        {"cloud.google.com/gke-accelerator": "nvidia-l4",
         "cloud.google.com/gke-accelerator-count": "1"},
        {"gpu.nvidia.com/class": "L40S", "gpu.nvidia.com/count": "2"},
        {"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.memory": "46068",
         "nvidia.com/gpu.count": "1"},
        {"cloud.google.com/gke-accelerator": "nvidia-l4",
         "cloud.google.com/gke-max-shared-clients-per-gpu": "4"},
    ],
)  # fmt: skip
def test_more_gpus_than_the_machine_has_are_shared_whatever_dialect_counts_them(
    labels: dict[str, str],
) -> None:
    assert "shared" in why(labels, {GPU: 4})


def test_fewer_gpus_than_the_machine_has_are_what_is_left_of_them() -> None:
    assert offered({MACHINE: "p4d.24xlarge"}, {GPU: 7})[0][1] == 7


def test_slices_of_a_gke_partition_are_as_many_as_the_gpus_can_be_cut_into() -> None:
    labels = {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-a100",
        "cloud.google.com/gke-accelerator-count": "2",
        "cloud.google.com/gke-gpu-partition-size": "2g.10gb",
    }
    assert offered(labels, {GPU: 6}) == [("nvidia-a100-40gb-mig-2g.10gb", 6, Dialect.GKE)]
    assert "more than a machine of 2 GPUs has" in why(labels, {GPU: 14})


def test_whole_gpus_that_the_slices_take_are_not_counted_and_the_slices_are() -> None:
    capacity = {GPU: 2, "nvidia.com/mig-1g.10gb": 6, "nvidia.com/mig-2g.20gb": 4}
    found = read_nodes([node(A100 | {"nvidia.com/gpu.count": "2"}, capacity)])
    assert {p.accelerator.mig_profile for p in found.pools} == {"1g.10gb", "2g.20gb"}
    assert "take 2 of 2" in found.set_aside[0].why


def test_whole_gpus_beside_slices_are_counted_if_the_machine_has_both() -> None:
    capacity: dict[str, object] = {GPU: 6, "nvidia.com/mig-3g.40gb": 4}
    assert ("nvidia-a100-80gb", 6, Dialect.GFD) in offered(A100, capacity)


def test_slices_with_media_engines_or_graphics_have_the_memory_of_those_without() -> None:
    capacity: dict[str, object] = {"nvidia.com/mig-1g.10gb.me": 8, "nvidia.com/mig-3g.40gb": 8}
    found = read_nodes([node(A100 | {"nvidia.com/gpu.count": "8"}, capacity)])
    assert {(p.accelerator.name, p.accelerator.resource) for p in found.pools} == {
        ("nvidia-a100-80gb-mig-1g.10gb", "nvidia.com/mig-1g.10gb.me"),
        ("nvidia-a100-80gb-mig-3g.40gb", "nvidia.com/mig-3g.40gb"),
    }
    assert not found.set_aside


def test_slices_are_known_by_a_clouds_labels_where_feature_discovery_is_not_there() -> None:
    found = offered({MACHINE: "p4de.24xlarge"}, {"nvidia.com/mig-3g.40gb": 16})
    assert found == [("nvidia-a100-80gb-mig-3g.40gb", 16, Dialect.INSTANCE_TYPE)]


def test_a_layout_of_several_profiles_under_the_single_strategy_is_called_that() -> None:
    labels = A100 | {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-INVALID"}
    labels |= {"nvidia.com/gpu.memory": "0", "nvidia.com/gpu.count": "0"}
    assert "mig.strategy=mixed" in why(labels, {GPU: 0})


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("habana.ai/gaudi", "Gaudi"),
        ("gpu.intel.com/xe", "Intel GPUs"),
        ("aws.amazon.com/neuroncore", "Trainium"),
        ("google.com/tpu", "TPUs"),
        ("huawei.com/Ascend910", "Ascend"),
        ("cambricon.com/mlu", "Cambricon"),
        ("nvidia.com/gpu.shared", "shared by time-slicing or MPS"),
        ("nvidia.com/mig-1g.10gb.shared", "slices are shared"),
        ("aliyun.com/gpu-mem", "shared by the GPU sharing of Alibaba Cloud"),
        ("volcano.sh/vgpu-number", "shared by Volcano"),
        ("nvidia.com/GA102GL_A10", "virtual machines"),
        ("amd.com/cpx_nps4", "partition"),
        ("iluvatar.com/gpu", "Iluvatar"),
        ("graphcore.ai/ipu", "Graphcore"),
        ("microsoft.com/directx", "Windows"),
        ("tke.cloud.tencent.com/qgpu-memory", "shared by the GPU sharing of Tencent Cloud"),
        ("baidu.com/a10_24g_cgpu", "shared by baidu.com"),
        ("example.com/vgpu-memory", "shared by example.com"),
        ("example.com/npu", "accelerators of this kind are not known"),
        ("nvidia.com/gpu-10gb", "a device plugin gives GPUs this name"),
        ("nvidia.com/h100", "a device plugin gives GPUs this name"),
    ],
)
def test_no_accelerator_node_vanishes_without_a_word(resource: str, said: str) -> None:
    text = why({}, {resource: 8, "cpu": 64})
    assert said in text
    assert f"{resource}: 8" in text


@pytest.mark.parametrize(
    "resource",
    ["cpu", "nvidia.com/hostdev", "rdma/hca", "nvidia.com/bf3", "nvidia.com/dpu", "intel.com/qat"],
)
def test_a_node_without_an_accelerator_is_nobodys_business(resource: str) -> None:
    assert read_node(node({MACHINE: "m5.large"}, {resource: 8})) is None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({MACHINE: "trn2.48xlarge"}, "aws-trainium2"),
        ({MACHINE: "g5.xlarge"}, "device plugin has not started"),
        ({"cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice"}, "Google TPUs"),
        ({"nvidia.com/gpu.present": "true"}, "given out by DRA"),
        ({"cloud.google.com/gke-accelerator": "nvidia-next"}, "nvidia-next is not in the"),
        ({"feature.node.kubernetes.io/amd-gpu": "true"}, "device plugin has not started"),
        ({"feature.node.kubernetes.io/aws-neuron": "true"}, "Trainium"),
        ({"accelerator": "huawei-Ascend910"}, "Huawei Ascend"),
    ],
)
def test_labels_alone_tell_of_accelerators_that_no_resource_gives(
    labels: dict[str, str], said: str
) -> None:
    assert said in why(labels, {"cpu": 64})


def test_the_resource_of_another_maker_is_told_of_beside_gpus_that_count() -> None:
    found = read_nodes([node(A100, {GPU: 8, "habana.ai/gaudi": 1})])
    assert found.gpus == {"nvidia-a100-80gb": (8, 8)}
    assert "habana.ai/gaudi" in found.set_aside[0].why


HAMI = json.dumps([{"id": "GPU-1", "count": 10, "devmem": 23034, "type": "NVIDIA-L4"}])


@pytest.mark.parametrize("text", [HAMI, "GPU-1,10,23034,100,NVIDIA-L4,0,true:", "nonsense"])
def test_gpus_that_hami_splits_are_shared_in_a_saved_inventory_too(text: str) -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}
    shared = node(labels, {GPU: 10}, annotations={"hami.io/node-nvidia-register": text})
    for inventory in (
        read_nodes([shared]),
        from_dict(to_dict({"kind": "List", "items": [shared]})),
    ):
        assert "shared by HAMi" in inventory.set_aside[0].why
        assert inventory.pools == ()


@pytest.mark.parametrize(
    ("product", "memory", "name"),
    [
        ("NVIDIA-GeForce-RTX-4090", "24564", "nvidia-rtx-4090"),
        ("NVIDIA-GeForce-RTX-4090", "49140", "nvidia-rtx-4090-48gb"),
        ("NVIDIA-GeForce-RTX-4060-Ti", "8188", "nvidia-rtx-4060-ti-8gb"),
        ("NVIDIA-GeForce-RTX-4060-Ti", "16380", "nvidia-rtx-4060-ti-16gb"),
        ("NVIDIA-GeForce-RTX-2080-Ti", "22528", "nvidia-rtx-2080-ti-22gb"),
    ],
)
def test_cards_of_one_name_and_two_memories_are_told_apart_by_the_memory(
    product: str, memory: str, name: str
) -> None:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": memory}
    found = read_nodes([node(labels, {GPU: 2})])
    assert found.pools[0].accelerator.name == name
    assert dict(found.pools[0].selector) == labels


def test_a_product_of_two_memories_without_a_memory_label_is_the_smaller_and_not_certain() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090"}
    found = read_nodes([node(labels, {GPU: 2})]).pools[0].accelerator
    small = find("nvidia-rtx-4090")
    assert small is not None
    assert (found.memory, found.certain) == (small.memory, False)


def test_an_unknown_machine_is_named_so_that_it_can_be_reported() -> None:
    assert "rocket.8xlarge" in why({MACHINE: "rocket.8xlarge"}, {GPU: 8})


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"skypilot.co/accelerator": "a100"}, "nvidia-a100-40gb"),
        ({"gpu.nvidia.com/class": "A100"}, "nvidia-a100-40gb"),
        ({"k8s.amazonaws.com/accelerator": "nvidia-tesla-v100"}, "nvidia-v100-16gb"),
    ],
)
def test_a_name_for_cards_of_two_memories_is_the_smaller_and_not_certain(
    labels: dict[str, str], name: str
) -> None:
    read = read_node(node(labels, {GPU: 4}))
    assert isinstance(read, NodeFacts)
    (offer,) = read.offers
    assert (offer.accelerator.name, offer.accelerator.certain) == (name, False)


def test_a_name_for_cards_of_two_memories_contradicts_neither() -> None:
    by_hand = {"skypilot.co/accelerator": "a100"}
    assert offered({**by_hand, MACHINE: "p4de.24xlarge"}, {GPU: 8})[0][0] == "nvidia-a100-80gb"
    assert offered({**by_hand, **A100}, {GPU: 8})[0][0] == "nvidia-a100-80gb"
    assert "contradicts" in why({**by_hand, MACHINE: "g5.12xlarge"}, {GPU: 4})


def test_a_selector_with_such_a_name_means_all_of_its_cards() -> None:
    meant = named_by({"k8s.amazonaws.com/accelerator": "nvidia-tesla-v100"})
    assert set(meant) == {"nvidia-v100-16gb", "nvidia-v100-32gb"}


@pytest.mark.parametrize(
    "key",
    [
        "node.cilium.io/agent-not-ready",
        "ebs.csi.aws.com/agent-not-ready",
        "startup-taint.cluster-autoscaler.kubernetes.io/gpu-driver",
        "ignore-taint.cluster-autoscaler.kubernetes.io/oke-impending-node-termination",
        "cloud.google.com/impending-node-termination",
        "medik8s.io/remediation",
        "karpenter.sh/disrupted",
    ],
)
def test_a_node_that_is_not_up_yet_or_goes_is_one_of_its_pool_that_is_not_ready(key: str) -> None:
    coming = node(A100, {GPU: 8})
    coming["spec"] = {"taints": [{"key": key, "effect": "NoSchedule"}]}
    there = node(A100, {GPU: 8})
    there["metadata"] = {**there["metadata"], "name": "m"}
    (pool,) = read_nodes([coming, there]).pools
    assert (pool.nodes, pool.ready) == (2, 1)


def test_an_amd_node_without_labels_is_told_which_of_amds_is_wanted() -> None:
    assert "amd.com/gpu.device-id" in why({}, {"amd.com/gpu": 8})
