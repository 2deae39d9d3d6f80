"""What vLLM's first engine keeps otherwise: states beside the pool, whole heads of latent models.

    pool         attention alone; the block is not grown for states
    states       a tensor of the model itself, made for all sequences at once, on every rank:
                 sequences x (convolution + recurrent elements) / tp, in the model's dtype where
                 no flag says another (0.10.1: --mamba-cache-dtype, --mamba-ssm-cache-dtype);
                 where graphs are captured, for as many sequences as the largest graph
                 (MiniMax-Text-01: max_num_seqs). Charged to the budget like weights
    latents      before 0.7.1 a model with MLA caches whole heads, keys and values padded to 256
                 elements each; MiniCPM3 does in every version, values padded to its keys

Source: vllm/model_executor/models/mamba_cache.py, minimax_cache.py and minimax_text_01.py of 0.8.5
(0.6.3: jamba.py), deepseek_v2.py of 0.6.3 and 0.7.0, minicpm3.py of 0.33.0 (and its list of types
with MLA: vllm/transformers_utils/model_arch_config_convertor.py, is_deepseek_mla).
MiniMax-Text-01 at TP 8 loaded 62.53 GiB where its weights are 58.13:
https://github.com/MiniMax-AI/MiniMax-01/issues/42. Nemotron Nano 9B v2 with recurrent states in
32 bits asked for 33.75 GiB of them at 256 sequences: https://github.com/vllm-project/vllm/issues/23230.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES
from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.engines.vllm.traits import traits
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div, grouped

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture, Mixer

_PADDED_HEAD: Final = 256
WHOLE_HEADS: Final = frozenset({"minicpm3"})
"""Model types whose latent attention vLLM computes from every head's keys and values."""
_QUERIES: Final = ("q_b_proj.weight", "q_proj.weight")
_STEP: Final = 8
_AS_SAID: Final = frozenset({"minimax_text_01", "minimax"})
"""Model types whose states are made for max_num_seqs, whatever graphs there are."""


def cached(architecture: Architecture, resolved: Resolved, constants: Constants) -> Architecture:
    """The model as its cache is made."""
    own = traits(architecture)
    apart = resolved.first_engine and own.states
    heads = architecture.model_type in WHOLE_HEADS
    whole = own.latent and (heads or not constants.flag("latent_cache"))
    if not apart and not whole:
        return architecture
    return architecture.remembered(
        ("vllm.first", apart, whole), lambda: _cached(architecture, apart=apart, whole=whole)
    )


def _cached(architecture: Architecture, *, apart: bool, whole: bool) -> Architecture:
    def kept(mixers: tuple[Mixer, ...]) -> tuple[Mixer, ...]:
        found = (m for m in mixers if not (apart and (m.state_elements or m.conv_elements)))
        return tuple(_whole(m, width) if whole and m.kind is MixerKind.MLA else m for m in found)

    width = _width(architecture) if architecture.model_type in WHOLE_HEADS else _PADDED_HEAD
    made = {id(b): replace(b, mixers=kept(b.mixers)) for b in architecture.blocks}
    return replace(architecture, blocks=tuple(made[id(b)] for b in architecture.blocks))


def _width(architecture: Architecture) -> int:
    """Elements of a query head, and so of a key head, of the first latent layer."""
    for block in architecture.blocks:
        heads = next((m.heads for m in block.mixers if m.kind is MixerKind.MLA), 0)
        rows = (t.shape[0] for t in block.tensors if t.name.endswith(_QUERIES))
        found = next(rows, 0)
        if heads and found:
            return found // heads
    return _PADDED_HEAD


def _whole(mixer: Mixer, width: int) -> Mixer:
    """A latent mixer as one that caches every head, of that width."""
    return replace(
        mixer,
        kind=MixerKind.FULL,
        kv_heads=mixer.heads,
        index_dim=0,
        head_dim=width,
        v_head_dim=width,
    )


def states(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
) -> Term | None:
    """The states of all sequences on one rank of a stage; None where the pool holds them."""
    if not resolved.first_engine or not traits(architecture).states:
        return None
    sequences = resolved.seqs
    if architecture.model_type not in _AS_SAID and not resolved.eager:
        sequences = ceil_div(sequences, _STEP) * _STEP
    start, end = stage_layers(len(architecture.blocks), parallelism.pipeline)[stage]
    options = VLLMOptions.of(settings)
    rows = WEIGHT_BYTES.get(options.mamba_cache_dtype or "", resolved.element)
    recurrent = WEIGHT_BYTES.get(options.mamba_ssm_cache_dtype or "", rows)
    size = sequences * sum(
        ceil_div(m.conv_elements, parallelism.tensor) * rows
        + ceil_div(m.state_elements, parallelism.tensor) * recurrent
        for block in architecture.blocks[start:end]
        for m in block.mixers
    )
    return Term(TermName.STATES, size, size, size, Known.EXACT, f"{grouped(sequences)} sequences")
