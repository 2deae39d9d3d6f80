"""The workspace of sparse attention over MLA (DeepSeek V3.2 and V4, GLM-5), which experts share.

    indexer's keys   8 x f x max_model_len / r tokens of index + 4 x ceil(index / 128) bytes; f = 5,
                     from 0.32 on 2 above 262,144 tokens; r = 1, of DeepSeek V4 4; before 0.13
                     2 x max_model_len, twice, in the pass alone
    keys in 16 bits  f x max_model_len x latent x 2 bytes by FlashMLA with a cache in 8 bits: at
                     most a tenth more, which is not counted
    DeepSeek V4      4 x (max_model_len / 4 + window + batched tokens) x d x 2 bytes

The largest of these is there from the profile on, or the experts' workspaces if they are larger:
one buffer serves all of them.

Source: vLLM 0.11.0 to 0.33.0, vllm/v1/attention/backends/mla/indexer.py
(get_max_prefill_buffer_size), flashmla_sparse.py, vllm/model_executor/layers/sparse_attn_indexer.py
and vllm/models/deepseek_v4; vllm/v1/worker/workspace.py. GLM-5.2 with a context of 819,200
(0.26.0) peaked at 6.31 GiB, of which this is 4.03.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.vllm.compressed import gathered_elements
from plimsoll.models.architecture import MixerKind
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture, Mixer

_LENGTHS: Final = 5
"""Contexts whose keys are there in 16 bits at once."""
_LONG: Final = 262144
_IN_EIGHT_BITS: Final = 8
"""How many times as many of the indexer's keys that buffer holds."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Bytes on a rank. kept: from the profile on; passing: during the pass alone."""

    kept: int = 0
    passing: int = 0


def workspace(architecture: Architecture, resolved: Resolved, constants: Constants) -> Workspace:
    """What sparse attention reserves on a rank; nothing for models without an indexer."""
    mixer = architecture.remembered(("vllm.sparse",), lambda: _indexed(architecture))
    if mixer is None:
        return Workspace()
    length, tokens = resolved.max_model_len, resolved.batched_tokens
    index = mixer.index_dim * (mixer.ratio or 1)
    key = index + 4 * ceil_div(index, 128)
    if not constants.flag("experts_kept"):
        return Workspace(0, 2 * 2 * length * key)
    lengths = int(constants.number("sparse_long")) if length > _LONG else _LENGTHS
    gathered = _IN_EIGHT_BITS * lengths * length // (mixer.ratio or 1) * key
    if mixer.ratio:
        other = gathered_elements(architecture, length, tokens) * resolved.element
        return Workspace(max(gathered, other))
    return Workspace(gathered)


def _indexed(architecture: Architecture) -> Mixer | None:
    found = (m for m in architecture.mixers() if m.kind is MixerKind.MLA and m.index_dim)
    return next(found, None)
