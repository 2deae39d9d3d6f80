"""How vLLM's kernels hold weights: what is padded and repacked, by GPU, scheme and release.

Repacked while loading:

    AWQ, Hopper, from 0.18   Machete: zero points in 16 bits (Marlin: packed in 4)
    fp8 in blocks, before    Marlin: a scale in 16 bits for every output and block of inputs,
    compute capability 8.9   not one in 32 for a square

Padded, experts alone:

    MXFP4
      AMD, from 0.11         width and hidden size to 256; but for gpt-oss to 128 from 0.28 on on
                             MI350 (AITER), from 0.31 on on others (Triton)
    MXFP4 of gpt-oss
      Hopper, from 0.22      Triton: width to 64; scales of the fused matrix to 256 rows, and to
                             2 groups of 32 (from 0.26 on 4); biases in 32 bits; before 0.26
                             the scales are kept as they were stored beside that
      data-center Blackwell  TRT-LLM: width to 256 (from 0.27 on 128), hidden size to 256
      all others             Marlin: width to 128, hidden size to 256
    16 bits, data-center Blackwell, from 0.22: TRT-LLM: width to 128
    8 bits in blocks, from 0.31, tensor parallelism alone: width to whole blocks

The width is an expert's inner size on one rank. From 0.12 to 0.17 Hopper's rule was that of 0.22;
in between Triton padded values otherwise: gpt-oss-20b took 13.64 GiB on an H100 (0.19.0), by
Marlin's rule 13.70.

Source: vLLM 0.19.1 to 0.33.0, vllm/model_executor/layers: fused_moe/oracle (mxfp4.py,
unquantized.py, fp8.py), quantization/utils/mxfp4_utils.py (_swizzle_mxfp4), and
third_party/triton_kernels (hopper_scale.py; hopper_value.py changed between 0.20 and 0.22). Its own
start-up, run with GPUs that are not there: gpt-oss-20b on H100 13.58 GiB (0.22.1); in 0.33
gpt-oss-120b on H100 61.07 GiB, on A100 65.93, GLM-4.6 on 8 B200 108.5; Llama-3.1-8B as AWQ on H100
5.44, as GPTQ 5.37; Qwen3-8B-FP8 on A100 8.90.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.sharding import MARLIN, Padding, quantization_in_force

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture
    from plimsoll.models.quantization import Quantization, Scheme

_BLACKWELL: Final = 10
_HOPPER: Final = (9, 0)
_AITER: Final = "cdna4"
_MARLIN_FROM: Final = (7, 5)
_NATIVE_FP8: Final = (8, 9)
"""From here on kernels multiply fp8 themselves."""


def held(
    architecture: Architecture, accelerator: Accelerator, constants: Constants
) -> Architecture:
    """The model with its weights as they lie on this GPU, not as the checkpoint stores them."""
    stored = architecture.quantization
    if stored is None:
        return architecture
    machete = constants.flag("awq_machete") and accelerator.compute == _HOPPER
    plain = _MARLIN_FROM <= accelerator.compute < _NATIVE_FP8
    key = ("vllm.held", machete, plain)
    return architecture.remembered(
        key,
        lambda: replace(architecture, quantization=_repacked(stored, machete=machete, plain=plain)),
    )


def _repacked(stored: Quantization, *, machete: bool, plain: bool) -> Quantization:
    def one(scheme: Scheme) -> Scheme:
        if scheme.name == "fp8" and scheme.group_out > 1 and plain:
            return replace(scheme, group_out=1, scale_bytes=2)
        if scheme.zero_bits and stored.method == "awq" and machete:
            return replace(scheme, zero_bits=16)
        return scheme

    return replace(
        stored,
        default=one(stored.default) if stored.default else None,
        special=tuple((pattern, one(scheme)) for pattern, scheme in stored.special),
    )


def one_kernel(held: Quantization, accelerator: Accelerator) -> bool:
    """Whether MXFP4 experts of gpt-oss have one kernel alone on a GPU: Marlin's, before Hopper.

    By its padding gpt-oss-120b took the 65.97 GiB that are counted (0.10.1, 0.11.2).
    """
    return held.method == "mxfp4" and (0, 0) != accelerator.compute < _HOPPER


def padding(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
) -> tuple[Padding, ...]:
    """What the kernels of this GPU and release pad experts' weights to."""
    held = quantization_in_force(architecture, settings.quantization)
    blackwell = accelerator.compute[0] == _BLACKWELL
    found = list(MARLIN)
    if accelerator.resource.startswith("amd.com/"):
        name = "mxfp4_amd"
        if held is not None and held.method != "mxfp4":
            name = "mxfp4_cdna4" if accelerator.family == _AITER else "mxfp4_cdna3"
        tile = int(constants.number(name))
        found = [Padding("mxfp4", tile, tile)] if tile else found
    elif held is not None and held.method == "mxfp4":
        groups = int(constants.number("mxfp4_hopper"))
        if blackwell:
            found = [Padding("mxfp4", int(constants.number("mxfp4_blackwell")), 256)]
        elif accelerator.compute == _HOPPER and groups:
            twice = constants.flag("mxfp4_scales_twice")
            found = [Padding("mxfp4", 64, 1, 256, groups, 4, stored_too=twice)]
    if blackwell and constants.flag("experts_blackwell"):
        found.append(Padding("", 128))
    block = held.default.group_out if held is not None and held.default is not None else 0
    alone = parallelism.tensor > 1 and not parallelism.expert
    if block > 1 and alone and constants.flag("blocks_padded"):
        found.append(Padding("fp8", block))
    return tuple(found)
