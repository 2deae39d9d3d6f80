"""What attention over latents (MLA) reserves, and on which GPUs it does not run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll.accelerators import catalogue
from plimsoll.engines.base import EngineSettings, Parallelism, TermName
from plimsoll.engines.registry import engine
from plimsoll.engines.vllm import latent
from plimsoll.engines.vllm.options import TABLE
from plimsoll.findings import Rule
from plimsoll.models.resolve import resolve
from plimsoll.units import GIB, MIB
from vllm_features import estimate

LITE, V3, V32 = (f"deepseek-ai/DeepSeek-{name}" for name in ("V2-Lite", "V3", "V3.2"))
KERNELS = {Rule.LATENT_CACHE_OF_EIGHT_BITS, Rule.SPARSE_ATTENTION_WITHOUT_KERNELS}


def peak(name: str, gpu: str, version: str, tensor: int = 1, **said: object) -> float:
    settings = EngineSettings(version=version, **said)  # type: ignore[arg-type]
    found = estimate(name, tensor=tensor, gpu=gpu, settings=settings)
    return found.terms[TermName.ACTIVATION].bytes / GIB


def refused(name: str, gpu: str, version: str, cache: str = "") -> set[Rule]:
    model, accelerator = resolve(uri=f"hf://{name}").architecture, catalogue.find(gpu)
    assert model is not None
    settings = EngineSettings(version=version, kv_cache_dtype=cache)
    found = engine("vllm").problems(model, settings, Parallelism(tensor=8), accelerator)
    return {one.rule for one in found if isinstance(one.rule, Rule)} & KERNELS


def test_room_for_a_cached_prompt_is_part_of_the_peak_from_0_11_on() -> None:
    # one sequence: the sampler is small; 65,536 rows x 4,096 x 2 bytes are half a GiB
    said = {"max_num_seqs": 1, "max_num_batched_tokens": 2048, "max_model_len": 32768}
    before, after = (peak(LITE, "nvidia-h100-80gb", v, **said) for v in ("0.10.2", "0.11"))
    assert after - before > 0.25
    short = {**said, "max_model_len": 1024}
    assert after - peak(LITE, "nvidia-h100-80gb", "0.11", **short) > 0.25


def test_triton_keeps_its_parts_of_every_sequence_from_0_33_on() -> None:
    # what 0.33.0 itself allocates for an A100, run without one: 2.395 GB
    said = {"max_model_len": 163840}
    assert peak(LITE, "nvidia-a100-80gb", "0.33", **said) == pytest.approx(2.395e9 / GIB, rel=0.01)
    assert peak(LITE, "nvidia-a100-80gb", "0.32", **said) < 1.0
    fewer = peak(LITE, "nvidia-a100-80gb", "0.33", max_num_seqs=16, **said)
    assert fewer < 1.0


@pytest.mark.parametrize(
    ("gpu", "version", "stops"),
    [
        ("nvidia-a100-80gb", "0.10.2", True),
        ("nvidia-l40s", "0.17.1", True),
        ("nvidia-l40s", "0.33", False),
        ("nvidia-a100-80gb", "0.19.1", False),
        ("nvidia-a100-80gb", "0.33", True),
        ("nvidia-h100-80gb", "0.33", False),
        ("nvidia-b200", "0.12", False),
    ],
)
def test_a_cache_of_eight_bits_needs_kernels_that_take_it(
    gpu: str, version: str, *, stops: bool
) -> None:
    found = refused(V3, gpu, version, "fp8")
    assert found == ({Rule.LATENT_CACHE_OF_EIGHT_BITS} if stops else set())
    assert refused(V3, gpu, version) == set()


@pytest.mark.parametrize(
    ("gpu", "version", "stops"),
    [
        ("nvidia-a100-80gb", "0.33", True),
        ("nvidia-l40s", "0.33", True),
        ("nvidia-rtx-pro-6000", "0.23", True),
        ("nvidia-rtx-pro-6000", "0.24", False),
        ("nvidia-h200-141gb", "0.12", False),
    ],
)
def test_sparse_attention_needs_hopper_or_blackwell(gpu: str, version: str, *, stops: bool) -> None:
    found = refused(V32, gpu, version)
    assert found == ({Rule.SPARSE_ATTENTION_WITHOUT_KERNELS} if stops else set())


@pytest.mark.parametrize(("version", "tokens"), [("0.9.2", 64), ("0.17.1", 64), ("0.19.1", 32)])
def test_blocks_have_the_size_of_the_kernel_on_hopper_until_0_17(version: str, tokens: int) -> None:
    model, settings = resolve(uri=f"hf://{LITE}").architecture, EngineSettings(version=version)
    hopper, ampere = map(catalogue.find, ("nvidia-h100-80gb", "nvidia-a100-80gb"))
    assert model is not None
    assert hopper is not None
    assert ampere is not None
    asked, figures = replace(settings, block_size=32), TABLE.constants(version)
    assert latent.block(model, asked, hopper, figures) == tokens
    assert latent.block(model, asked, ampere, figures) == 32


@pytest.mark.parametrize(("version", "stops"), [("0.13", False), ("0.14.1", True), ("", False)])
def test_a_checkpoint_of_fbgemm_needs_a_flag_from_0_14_on(version: str, *, stops: bool) -> None:
    model = resolve(uri="hf://meta-llama/Llama-3.1-405B-Instruct-FP8").architecture
    assert model is not None
    rule = Rule.QUANTIZATION_DEPRECATED
    settings, split = EngineSettings(version=version), Parallelism(tensor=8)
    flagged = replace(settings, flags=("--allow-deprecated-quantization",))
    for said, refuses in ((settings, stops), (flagged, False)):
        found = engine("vllm").problems(model, said, split, catalogue.find("nvidia-h200-141gb"))
        assert (rule in {one.rule for one in found}) is refuses


@pytest.mark.parametrize(
    ("version", "gpu", "mib"),
    [
        ("0.11.0", "nvidia-h100-80gb", 0),
        ("0.13.0", "nvidia-h100-80gb", 128),
        ("0.19.0", "nvidia-h100-80gb", 128 + 20),  # 163840 positions x 64, two bytes more
        ("0.24.0", "nvidia-rtx-pro-6000", 20),
        ("0.33.0", "nvidia-h100-80gb", 20),
    ],
)
def test_weights_hold_what_is_loaded_beside_them_for_latent_attention(
    version: str, gpu: str, mib: int
) -> None:
    parameters = 29.295 * GIB  # the engine's own figure, a rotary table in 16 bits among them
    found = estimate(LITE, gpu=gpu, version=version).terms[TermName.WEIGHTS].bytes
    assert found - parameters == pytest.approx(mib * MIB, abs=10 * MIB)


def test_an_indexer_keeps_the_places_of_what_it_chose() -> None:
    small, large = (
        estimate(
            V32,
            tensor=8,
            gpu="nvidia-h200-141gb",
            settings=EngineSettings(version="0.33.0", max_num_batched_tokens=tokens),
        )
        for tokens in (8192, 16384)
    )
    more = large.terms[TermName.WEIGHTS].bytes - small.terms[TermName.WEIGHTS].bytes
    assert more == 8192 * 2048 * 4
