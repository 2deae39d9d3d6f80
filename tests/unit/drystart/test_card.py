"""A GPU of a case is read whole or refused with what is wanted; NVML's answers are its."""

from __future__ import annotations

import pytest

from plimsoll_drystart.card import NVMLError, card_of, nvml_module, properties

SAID = {"name": "NVIDIA L4", "capability": [8, 9], "nvml_bytes": 24 << 30}


def test_a_card_says_what_it_was_given() -> None:
    card = card_of(SAID | {"cuda_bytes": 23 << 30, "count": 4})
    module = nvml_module(card)
    assert module.nvmlDeviceGetName(0) == "NVIDIA L4"
    assert module.nvmlDeviceGetCount() == 4
    assert module.nvmlDeviceGetMemoryInfo(0).total == 24 << 30
    assert properties(card).total_memory == 23 << 30
    assert card.number == 89


def test_what_is_not_known_of_it_is_an_error_of_nvml() -> None:
    module = nvml_module(card_of(SAID))
    with pytest.raises(NVMLError):
        module.nvmlDeviceGetTemperature(0)


@pytest.mark.parametrize("lacking", ["name", "capability", "nvml_bytes"])
def test_a_card_without_a_figure_is_refused_with_what_is_wanted(lacking: str) -> None:
    said = {key: value for key, value in SAID.items() if key != lacking}
    with pytest.raises(ValueError, match=f"wanted name, capability.*{lacking}"):
        card_of(said)
