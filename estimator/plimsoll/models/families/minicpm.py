"""MiniCPM: dense, with experts, with latent attention, and MiniCPM-V with its tower.

Source of the resampler: MiniCPM-V's own code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from plimsoll.models.architecture import Split
from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder
from plimsoll.models.blocks.family import MLP_BIAS, Family, latent_of
from plimsoll.models.blocks.fields import Fields
from plimsoll.models.blocks.parts import Tensors, linear, loose
from plimsoll.models.blocks.towers import P, filled, projector_norm, siglip
from plimsoll.models.families.llama import llama
from plimsoll.models.families.qwen import QWEN2, QWEN3

_WITH_LLAMA, _WITH_QWEN2, _WITH_QWEN3 = 2.5, 2.6, 4.5
"""Versions of MiniCPM-V that changed the text model."""
_HELD: Final = frozenset({2.5, 4.0, 4.5})
"""Others whose count is the published one."""
_SIGLIP400: Final = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "image_size": 980,
    "patch_size": 14,
}


MINICPM3: Final = Family(traits=Traits(tied=True), latent=latent_of, mlp_bias=MLP_BIAS)
"""MiniCPM3: latent attention, tied."""


def minicpm(f: Fields) -> Built:
    """MiniCPM 1, 2 and 4: LLaMA, tied if the config says nothing; experts in MiniCPM-MoE."""
    t = Traits(tied=True)
    if f.integer("num_experts", default=0, low=0):
        width = f.integer("intermediate_size")
        t = replace(
            t, moe=Moe(f.integer("num_experts"), f.integer("num_experts_per_tok", default=2), width)
        )
    return decoder(f, t)


def minicpm_v(f: Fields) -> Built:
    """The text model of MiniCPM-V, by its version: MiniCPM, LLaMA, Qwen 2 or Qwen 3."""
    version = f.raw("version")
    number = float(version) if isinstance(version, (int, float)) and 0 < version < 100 else 0.0
    if number == _WITH_QWEN2:
        return QWEN2(f)
    text = llama if number < _WITH_QWEN3 else QWEN3
    built = (minicpm if number < _WITH_LLAMA else text)(f)
    return replace(built, assumed=number not in _HELD)


def minicpmv_vision(top: Fields, v: Fields, text: int) -> Tensors:
    """MiniCPM-V 2.5 to 4: SigLIP, and queries that look at it once."""
    v = filled(v, _SIGLIP400)
    if top.flag("drop_vision_last_layer"):
        fewer = max(1, v.integer("num_hidden_layers", high=1000) - 1)
        v = Fields({**v.data, "num_hidden_layers": fewer}, v.path, v.problems)
    tensors, h = siglip(v)
    tensors += loose("projector.query", (top.integer("query_num", default=64), text), part=P)
    if h != text:
        tensors += linear("projector.kv_proj", text, h, Split.NONE, P)
    tensors += linear("projector.in_proj", 3 * text, text, Split.NONE, P, bias=True)
    tensors += linear("projector.out_proj", text, text, Split.NONE, P, bias=True)
    for name in ("ln_q", "ln_kv", "ln_post"):
        tensors += projector_norm(name, text)
    return tensors + loose("projector.proj", (text, text), part=P)
