from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.accelerators.catalogue import everything, find, full_gpus, suggest
from plimsoll.accelerators.types import Dialect
from plimsoll.units import MIB

SEEN_ON_NODES = {
    "Tesla-T4": (15360, 15109),
    "Tesla-V100-SXM2-32GB": (32768, 32510),
    "NVIDIA-A10G": (23028,),
    "NVIDIA-A30": (24576,),
    "NVIDIA-L4": (23034,),
    "NVIDIA-L40S": (46068,),
    "NVIDIA-A100-PCIE-40GB": (40960, 40536),
    "NVIDIA-A100-SXM4-80GB": (81920,),
    "NVIDIA-H100-80GB-HBM3": (81559,),
    "NVIDIA-H100-NVL": (95830,),
    "NVIDIA-H200": (143771,),
    "NVIDIA-GH200-480GB": (97871,),
    "NVIDIA-B200": (183359,),
    "NVIDIA-B300-SXM6-AC": (275040,),
}
"""gpu.memory in MiB by gpu.product, from public dumps of nodes and of nvidia-smi."""


@pytest.mark.parametrize("product", SEEN_ON_NODES)
def test_the_table_has_the_least_memory_that_was_seen_of_a_product(product: str) -> None:
    known = find(product)
    assert known is not None
    assert known.memory == min(SEEN_ON_NODES[product]) * MIB


def test_no_gpu_has_more_memory_than_its_name_says() -> None:
    nominal = {"nvidia-h100-80gb": 80, "nvidia-a100-80gb": 80, "nvidia-t4": 16, "nvidia-l4": 24}
    for name, gib in nominal.items():
        known = find(name)
        assert known is not None
        assert known.memory <= gib * 1024 * MIB


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("NVIDIA-A100-SXM4-80GB", "nvidia-a100-80gb"),
        ("a100-80GB", "nvidia-a100-80gb"),
        ("H100", "nvidia-h100-80gb"),
        (" nvidia-l4 ", "nvidia-l4"),
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb"),
        ("AMD_Instinct_MI300X_OAM", "amd-mi300x"),
        ("nvidia-a100-80gb-mig-1g.10gb", "nvidia-a100-80gb-mig-1g.10gb"),
    ],
)
def test_an_accelerator_is_found_by_any_name_that_people_use(asked: str, name: str) -> None:
    known = find(asked)
    assert known is not None
    assert known.name == name


def test_an_unknown_name_is_none_and_its_neighbours_are_named() -> None:
    assert find("nvidia-h1000-80gb") is None
    assert "nvidia-h100-80gb" in suggest("nvidia-h1000-80gb")


@pytest.mark.sweep
@given(st.text(max_size=400))
def test_no_name_breaks_the_search(name: str) -> None:
    found = find(name)
    assert found is None or found in everything()
    assert isinstance(suggest(name), tuple)


def test_names_and_selectors_each_mean_one_accelerator() -> None:
    names = Counter(a.name for a in everything())
    assert names.most_common(1)[0][1] == 1
    selectors = Counter((entry, a.resource) for a in full_gpus() for entry in a.labels)
    assert [s for s, times in selectors.items() if times > 1] == []


def test_every_row_can_be_sized_selected_and_traced_to_a_source() -> None:
    for accelerator in everything():
        assert accelerator.memory > 4000 * MIB, accelerator.name
        assert accelerator.source, accelerator.name
        assert accelerator.resource.startswith(("nvidia.com/", "amd.com/")), accelerator.name
        assert accelerator.labels, accelerator.name
        for entry in accelerator.labels:
            assert entry.selector == tuple(sorted(entry.selector)), accelerator.name
            assert entry.dialect in Dialect


def test_the_same_profile_is_another_size_on_another_gpu() -> None:
    sizes = {
        parent: found.memory // MIB
        for parent in ("nvidia-a100-40gb", "nvidia-a100-80gb", "nvidia-h100-80gb")
        if (found := find(f"{parent}-mig-1g.10gb")) is not None
    }
    assert sizes["nvidia-a100-80gb"] == 9728
    assert sizes["nvidia-a100-40gb"] == 9856
    assert len(set(sizes.values())) == 3


def test_slices_are_smaller_than_their_parent_and_one_to_a_placement() -> None:
    parents = {a.name: a for a in full_gpus()}
    for piece in (a for a in everything() if a.mig_of):
        assert piece.memory < parents[piece.mig_of].memory, piece.name
        assert piece.resource == f"nvidia.com/mig-{piece.mig_profile}"
        assert piece.gpus_per_node == 1


def test_gh200_is_not_sized_by_the_480gb_of_its_cpu() -> None:
    known = find("NVIDIA-GH200-480GB")
    assert known is not None
    assert known.memory == 97871 * MIB
