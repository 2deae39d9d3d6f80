"""What vLLM's first engine keeps otherwise: states beside the pool, whole heads of latent models.

    pool         attention alone; the block is not grown for states
    states       a tensor of the model itself, made for all sequences at once, on every rank:
                 sequences x (convolution + recurrent elements) / tp, all in the model's dtype;
                 where graphs are captured, for as many sequences as the largest graph
                 (MiniMax-Text-01: max_num_seqs). Charged to the budget like weights
    latents      before 0.7.1 a model with MLA caches whole heads, keys and values padded to 256
                 elements each

Source: vllm/model_executor/models/mamba_cache.py, minimax_cache.py and minimax_text_01.py of 0.8.5
(0.6.3: jamba.py), deepseek_v2.py of 0.6.3 and 0.7.0. MiniMax-Text-01 at TP 8 loaded 62.53 GiB where
its weights are 58.13: https://github.com/MiniMax-AI/MiniMax-01/issues/42.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.layers.sharding import stage_layers
from plimsoll.engines.vllm.traits import traits
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture, Mixer

_PADDED_HEAD: Final = 256
_STEP: Final = 8
_AS_SAID: Final = frozenset({"minimax_text_01", "minimax"})
"""Model types whose states are made for max_num_seqs, whatever graphs there are."""


def cached(architecture: Architecture, resolved: Resolved, constants: Constants) -> Architecture:
    """The model as its cache is made."""
    own = traits(architecture)
    apart = resolved.first_engine and own.states
    whole = own.latent and not constants.flag("latent_cache")
    if not apart and not whole:
        return architecture
    return architecture.remembered(
        ("vllm.first", apart, whole), lambda: _cached(architecture, apart=apart, whole=whole)
    )


def _cached(architecture: Architecture, *, apart: bool, whole: bool) -> Architecture:
    def kept(mixers: tuple[Mixer, ...]) -> tuple[Mixer, ...]:
        found = (m for m in mixers if not (apart and (m.state_elements or m.conv_elements)))
        return tuple(_whole(m) if whole and m.kind is MixerKind.MLA else m for m in found)

    made = {id(b): replace(b, mixers=kept(b.mixers)) for b in architecture.blocks}
    return replace(architecture, blocks=tuple(made[id(b)] for b in architecture.blocks))


def _whole(mixer: Mixer) -> Mixer:
    """A latent mixer as one that caches every head."""
    return replace(
        mixer,
        kind=MixerKind.FULL,
        kv_heads=mixer.heads,
        index_dim=0,
        head_dim=_PADDED_HEAD,
        v_head_dim=_PADDED_HEAD,
    )


def states(
    architecture: Architecture, resolved: Resolved, parallelism: Parallelism, stage: int
) -> Term | None:
    """The states of all sequences on one rank of a stage; None where the pool holds them."""
    if not resolved.first_engine or not traits(architecture).states:
        return None
    sequences = resolved.seqs
    if architecture.model_type not in _AS_SAID and not resolved.eager:
        sequences = ceil_div(sequences, _STEP) * _STEP
    start, end = stage_layers(len(architecture.blocks), parallelism.pipeline)[stage]
    each = sum(
        ceil_div(m.conv_elements, parallelism.tensor)
        + ceil_div(m.state_elements, parallelism.tensor)
        for block in architecture.blocks[start:end]
        for m in block.mixers
    )
    size = sequences * each * resolved.element
    return Term(TermName.STATES, size, size, size, Known.EXACT, f"{sequences} sequences")
