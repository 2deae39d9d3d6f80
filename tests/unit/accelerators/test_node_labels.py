from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import amd_node, gke_node, gpu_node
from plimsoll.accelerators.counts import shared_by
from plimsoll.accelerators.found import Found, Unclear
from plimsoll.accelerators.labels import mig_resource, recognise
from plimsoll.accelerators.types import Dialect
from plimsoll.units import GIB, MIB

if TYPE_CHECKING:
    from controlplane.kubectl import Manifest

PRODUCT = "nvidia.com/gpu.product"
MEMORY = "nvidia.com/gpu.memory"


def found(labels: dict[str, str]) -> Found:
    """What was recognised, and something was."""
    said = recognise(labels)
    assert isinstance(said, Found), said
    return said


def why(labels: dict[str, str]) -> str:
    """Why labels name nothing for sure."""
    said = recognise(labels)
    assert isinstance(said, Unclear), said
    return said.why


def of(node: Manifest) -> dict[str, str]:
    """The labels of a node."""
    labels: dict[str, str] = node["metadata"]["labels"]
    return labels


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("t4", "nvidia-t4"),
        ("a10g", "nvidia-a10g"),
        ("l4", "nvidia-l4"),
        ("l40s", "nvidia-l40s"),
        ("a100-40gb", "nvidia-a100-40gb"),
        ("a100-80gb", "nvidia-a100-80gb"),
        ("h100-80gb", "nvidia-h100-80gb"),
        ("h200-141gb", "nvidia-h200-141gb"),
        ("b200-180gb", "nvidia-b200"),
    ],
)
def test_a_node_of_gpu_feature_discovery_is_recognised_by_its_product(gpu: str, name: str) -> None:
    said = found(of(gpu_node("n", gpu)))
    assert said.accelerator.name == name
    assert said.dialect is Dialect.GFD
    assert [key for key, _ in said.selector] == [PRODUCT]


def test_the_nodes_own_memory_is_what_counts() -> None:
    older_driver = found({PRODUCT: "Tesla-T4", MEMORY: "15109"})
    newer_driver = found({PRODUCT: "Tesla-T4", MEMORY: "15360"})
    assert older_driver.accelerator.memory == 15109 * MIB
    assert newer_driver.accelerator.memory == 15360 * MIB


def test_a_memory_label_far_from_the_products_is_a_contradiction_and_says_both() -> None:
    text = why({PRODUCT: "NVIDIA-A100-SXM4-80GB", MEMORY: "40960"})
    assert "40960" in text
    assert "81920 MiB" in text
    assert "contradicts" in text


@pytest.mark.parametrize("bad", ["", "80Gi", "-1", "0", "81920.5", "٨", "9" * 30])
def test_a_memory_label_that_is_no_number_is_named(bad: str) -> None:
    assert "is not a number of MiB" in why({PRODUCT: "NVIDIA-L4", MEMORY: bad})


def test_memory_is_never_read_out_of_a_products_name() -> None:
    assert found({PRODUCT: "NVIDIA-GH200-480GB"}).accelerator.memory == 97871 * MIB
    assert "no label" in why({PRODUCT: "NVIDIA-X900-999GB"})


def test_an_unknown_product_with_a_memory_label_is_an_accelerator_of_its_own() -> None:
    labels = {
        PRODUCT: "NVIDIA-RTX-A6000",
        MEMORY: "49140",
        "nvidia.com/gpu.compute.major": "8",
        "nvidia.com/gpu.compute.minor": "6",
        "nvidia.com/gpu.family": "ampere",
    }
    said = found(labels)
    assert said.accelerator.name == "nvidia-rtx-a6000"
    assert said.accelerator.memory == 49140 * MIB
    assert said.accelerator.compute == (8, 6)
    assert said.selector == ((PRODUCT, "NVIDIA-RTX-A6000"),)


def test_a_slice_of_the_single_strategy_has_its_own_memory() -> None:
    said = found({PRODUCT: "NVIDIA-A100-80GB-PCIe-MIG-1g.10gb", MEMORY: "9728"})
    assert said.accelerator.name == "nvidia-a100-80gb-mig-1g.10gb"
    assert said.accelerator.memory == 9728 * MIB


@pytest.mark.parametrize("parent", ["NVIDIA-H200", "NVIDIA-X900"])
def test_a_slice_that_the_table_lacks_is_still_a_slice(parent: str) -> None:
    said = found({PRODUCT: f"{parent}-MIG-1g.11gb", MEMORY: "11000"})
    assert said.accelerator.mig_profile == "1g.11gb"
    assert said.accelerator.mig_of
    assert said.accelerator.memory == 11000 * MIB


def test_a_slice_of_the_mixed_strategy_has_the_memory_of_its_own_label() -> None:
    key = "nvidia.com/mig-3g.40gb"
    labels = {PRODUCT: "NVIDIA-A100-SXM4-80GB", MEMORY: "81920", f"{key}.memory": "40448"}
    said = mig_resource(labels, key)
    assert isinstance(said, Found)
    assert said.accelerator.memory == 40448 * MIB
    assert said.accelerator.resource == key
    wrong = mig_resource(labels | {f"{key}.memory": "81920"}, key)
    assert isinstance(wrong, Unclear)
    assert "81920 contradicts profile 3g.40gb" in wrong.why


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("nvidia-tesla-t4", "nvidia-t4"),
        ("nvidia-l4", "nvidia-l4"),
        ("nvidia-tesla-a100", "nvidia-a100-40gb"),
        ("nvidia-a100-80gb", "nvidia-a100-80gb"),
        ("nvidia-h100-80gb", "nvidia-h100-80gb"),
        ("nvidia-h100-mega-80gb", "nvidia-h100-80gb"),
        ("nvidia-h200-141gb", "nvidia-h200-141gb"),
        ("nvidia-gb200", "nvidia-gb200"),
    ],
)
def test_a_gke_node_without_labels_of_nvidia_is_recognised(label: str, name: str) -> None:
    said = found(of(gke_node("n", label, 8)))
    assert said.accelerator.name == name
    assert said.selector == (("cloud.google.com/gke-accelerator", label),)


def test_a_gke_partition_is_a_slice_and_selected_as_one() -> None:
    labels = of(gke_node("n", "nvidia-tesla-a100", 7, gke_gpu_partition_size="1g.5gb"))
    said = found(labels)
    assert said.accelerator.name == "nvidia-a100-40gb-mig-1g.5gb"
    assert ("cloud.google.com/gke-gpu-partition-size", "1g.5gb") in said.selector
    labels = of(gke_node("n", "nvidia-tesla-a100", 7, gke_gpu_partition_size="9g.5gb"))
    assert "9g.5gb" in why(labels)


def test_karpenters_a100s_are_told_apart_by_their_memory() -> None:
    def aws(memory: str) -> dict[str, str]:
        key = "karpenter.k8s.aws/instance-gpu"
        return {f"{key}-name": "a100", f"{key}-memory": memory, f"{key}-manufacturer": "nvidia"}

    assert found(aws("40960")).accelerator.name == "nvidia-a100-40gb"
    assert found(aws("81920")).accelerator.name == "nvidia-a100-80gb"
    assert "instance-gpu-memory=12345" in why(aws("12345"))


def test_azure_skus_are_recognised_by_the_machine() -> None:
    sku = "Standard_ND96amsr_A100_v4"
    said = found({"node.kubernetes.io/instance-type": sku})
    assert (said.accelerator.name, said.dialect) == ("nvidia-a100-80gb", Dialect.AKS)
    with_karpenter = {"node.kubernetes.io/instance-type": sku, "karpenter.azure.com/sku-name": sku}
    said = found(with_karpenter)
    assert said.dialect is Dialect.KARPENTER_AZURE
    assert said.selector == (("karpenter.azure.com/sku-name", sku),)


def test_if_nodes_come_and_go_the_provisioners_labels_select() -> None:
    labels = of(gpu_node("n", "h100-80gb"))
    said = found(labels | {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"})
    assert said.dialect is Dialect.GKE
    assert said.accelerator.memory == 81559 * MIB


def test_labels_that_name_two_gpus_are_a_contradiction() -> None:
    labels = of(gpu_node("n", "l4"))
    text = why(labels | {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"})
    assert "NVIDIA-L4 contradicts cloud.google.com/gke-accelerator=nvidia-tesla-t4" in text


def test_amds_rounded_memory_is_rounded_down() -> None:
    said = found(of(amd_node("n")))
    assert said.accelerator.name == "amd-mi300x"
    assert 191 * GIB < said.accelerator.memory < 192 * GIB
    assert said.dialect is Dialect.AMD


def test_an_amd_gpu_in_partitions_is_not_counted_as_a_whole_one() -> None:
    assert "cpx_nps4" in why(of(amd_node("n", compute_memory_partition="cpx_nps4")))
    assert found(of(amd_node("n", compute_memory_partition="spx_nps1")))


@pytest.mark.parametrize(
    ("labels", "how"),
    [
        ({"nvidia.com/gpu.sharing-strategy": "mps"}, "shared by mps"),
        ({"nvidia.com/gpu.replicas": "4"}, "shared, 4 pods to one"),
        ({PRODUCT: "NVIDIA-L4-SHARED"}, "shared"),
        ({"cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"}, "shared by time-sharing"),
        ({"nvidia.com/gpu.sharing-strategy": "none", "nvidia.com/gpu.replicas": "1"}, ""),
        ({"nvidia.com/gpu.replicas": "0"}, ""),
        ({}, ""),
    ],
)
def test_sharing_is_told_by_any_of_its_labels(labels: dict[str, str], how: str) -> None:
    assert shared_by(labels) == how


KEYS = st.sampled_from(
    [
        PRODUCT,
        MEMORY,
        "nvidia.com/gpu.compute.major",
        "cloud.google.com/gke-accelerator",
        "cloud.google.com/gke-gpu-partition-size",
        "karpenter.k8s.aws/instance-gpu-name",
        "karpenter.k8s.aws/instance-gpu-memory",
        "amd.com/gpu.device-id",
        "amd.com/gpu.vram",
        "nvidia.com/gpu.replicas",
        "nvidia.com/mig-1g.10gb.memory",
    ]
)
VALUES = st.one_of(
    st.text(max_size=70),
    st.sampled_from(
        [
            "NVIDIA-L4",
            "nvidia-l4",
            "Tesla-T4",
            "23034",
            "a100",
            "74a1",
            "192G",
            "NVIDIA-A30-MIG-1g.6gb",
            "1g.5gb",
            "-MIG-1g.5gb",
            "x-MIG-",
            "0",
            "²",
        ]
    ),
)


@pytest.mark.sweep
@given(st.dictionaries(KEYS, VALUES))
def test_no_labels_break_it_and_none_make_memory_out_of_nothing(labels: dict[str, str]) -> None:
    for said in (recognise(labels), mig_resource(labels, "nvidia.com/mig-1g.10gb")):
        if isinstance(said, Found):
            assert said.accelerator.memory > 0
            assert said.accelerator.name
    assert isinstance(shared_by(labels), str)
