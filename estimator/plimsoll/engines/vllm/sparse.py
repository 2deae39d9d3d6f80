"""The workspace of sparse attention over MLA (DeepSeek V3.2 and V4, GLM-5), which experts share.

    indexer's keys   8 x f x max_model_len / r tokens of index + 4 x ceil(index / 128) bytes; f = 5,
                     from 0.32 on 2 above 262,144 tokens; r = 1, of DeepSeek V4 4; before 0.13
                     2 x max_model_len, twice, in the pass alone
    keys in 16 bits  f x max_model_len x latent x 2 bytes by FlashMLA with a cache in 8 bits: at
                     most a tenth more, which is not counted
    DeepSeek V4      4 x (max_model_len / 4 + window + batched tokens) x d x 2 bytes
    logits, on AMD   rows x max_model_len / r x 4 bytes from 0.23 on; rows: batched tokens, from
                     0.30 on at most seqs x (1 + speculative tokens). And 0.5 GiB in the pass alone

The largest of these is there from the profile on, or the experts' workspaces if they are larger:
one buffer serves all of them.

Source: vLLM 0.11.0 to 0.33.0, vllm/v1/attention/backends/mla/indexer.py
(get_max_prefill_buffer_size), flashmla_sparse.py, vllm/model_executor/layers/sparse_attn_indexer.py
and vllm/models/deepseek_v4; vllm/v1/worker/workspace.py; on AMD
vllm/v1/attention/ops/rocm_aiter_mla_sparse.py of 0.22.1 to 0.33.0 (Instinct MI300 and MI350; other
cards take as much for every head of the index, which is not counted). GLM-5.2 with a context of
819,200 (0.26.0) peaked at 6.31 GiB, of which this is 4.03.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.vllm.compressed import gathered_elements
from plimsoll.models.architecture import MixerKind
from plimsoll.units import MIB, ceil_div

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture, Mixer

_LENGTHS: Final = 5
"""Contexts whose keys are there in 16 bits at once."""
_LONG: Final = 262144
_IN_EIGHT_BITS: Final = 8
"""How many times as many of the indexer's keys that buffer holds."""
_NO_LOGITS, _OF_TOKENS, _OF_SEQUENCES = range(3)
"""Values of the figure ``sparse_logits_amd``."""
_CHUNK: Final = 512 * MIB
"""VLLM_SPARSE_INDEXER_MAX_LOGITS_MB where nobody says it."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Bytes on a rank. kept: from the profile on; passing: during the pass alone."""

    kept: int = 0
    passing: int = 0


def workspace(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    accelerator: Accelerator,
    constants: Constants,
) -> Workspace:
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
        gathered = max(gathered, gathered_elements(architecture, length, tokens) * resolved.element)
    rows = _logits_rows(settings, resolved, accelerator, constants)
    logits = rows * (length // (mixer.ratio or 1)) * 4
    return Workspace(max(gathered, logits), _CHUNK if rows else 0)


def _logits_rows(
    settings: EngineSettings, resolved: Resolved, accelerator: Accelerator, constants: Constants
) -> int:
    """Rows of logits of the indexer that AMD's kernels hold for decoding."""
    rule = int(constants.number("sparse_logits_amd"))
    if rule == _NO_LOGITS or not accelerator.resource.startswith("amd.com/"):
        return 0
    if rule == _OF_TOKENS:
        return resolved.batched_tokens
    draft = settings.speculative
    guessed = (draft.tokens or 0) if draft is not None else 0
    return min(resolved.batched_tokens, resolved.seqs * (1 + guessed))


def _indexed(architecture: Architecture) -> Mixer | None:
    found = (m for m in architecture.mixers() if m.kind is MixerKind.MLA and m.index_dim)
    return next(found, None)
