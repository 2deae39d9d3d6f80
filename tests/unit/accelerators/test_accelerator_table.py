from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.accelerators.catalogue import everything, find, full_gpus, suggest
from plimsoll.accelerators.machines import machines
from plimsoll.accelerators.types import Dialect
from plimsoll.decision.knowledge import shipped
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.units import GIB, MIB

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
        assert accelerator.memory > 2500 * MIB, accelerator.name
        assert accelerator.source, accelerator.name
        makers = ("nvidia.com/", "amd.com/", "habana.ai/")
        assert accelerator.resource.startswith(makers), accelerator.name
        # what no labeller names can be named by a user all the same
        assert accelerator.labels or not accelerator.certain, accelerator.name
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


@pytest.mark.parametrize(
    "card",
    [
        *(f"rtx-{n}" for n in ("2060", "2080-ti", "3050", "3060", "3070-ti", "3080", "3090")),
        *(f"rtx-{n}" for n in ("4070", "4080-super", "4090-48gb", "5060", "5070-ti", "5080")),
        *("rtx-5090", "rtx-a4000", "rtx-a5000", "rtx-a6000", "rtx-4000-ada", "rtx-5000-ada"),
        *("rtx-pro-4500", "rtx-pro-5000", "rtx-pro-5000-72gb", "l2", "l20", "a2", "a16", "a40"),
        *("h20", "h20-3e", "h800", "a800", "b100", "gb10", "jetson-thor", "p40", "p100"),
        *("rx-7900-xtx", "rx-9070-xt", "mi308x", "gaudi2", "gaudi3", "a10-24gb"),
    ],
)
def test_cards_that_people_use_are_known_by_the_names_that_they_use(card: str) -> None:
    known = find(card)
    assert known is not None
    assert known.memory > 5 * 1024 * MIB


SEEN_BY_ENGINES = {
    "rtx-5090": 31.35, "rtx-3090": 23.57, "rtx-5080": 15.47, "a6000": 47.54, "l20": 44.40,
    "rtx-pro-4500": 31.38, "rtx-2080-ti-22gb": 21.66, "h20": 95.05, "h20-3e": 139.75,
    "rx-7900-xt": 19.98, "rtx-4090-48gb": 47.37, "b200": 178.35, "gb200": 184.31, "h200": 139.8,
    "rtx-4070": 11.63, "rtx-pro-6000": 94.97,
}  # fmt: skip
"""GiB that engines printed of a card in public logs."""


@pytest.mark.parametrize("card", SEEN_BY_ENGINES)
def test_what_an_engine_sees_of_a_card_is_what_engines_printed_or_a_little_less(card: str) -> None:
    known = find(card)
    assert known is not None
    seen = visible_memory(known) / GIB
    assert SEEN_BY_ENGINES[card] - 0.2 < seen <= SEEN_BY_ENGINES[card] + 0.05


def test_what_is_not_usual_is_planned_on_only_where_it_is_named() -> None:
    plannable = {a.name for a in shipped().plannable}
    assert "nvidia-h100-80gb" in plannable
    assert not plannable & {"nvidia-rtx-3060", "nvidia-gb10", "nvidia-a10-4gb", "amd-rx-7900-xt"}


def test_machines_carry_accelerators_of_the_table_or_are_named_as_others() -> None:
    for name, machine in machines().items():
        if find(machine.accelerator) is None:
            assert machine.accelerator.startswith(("aws-", "intel-")), name
            assert machine.gpus == 0, name
