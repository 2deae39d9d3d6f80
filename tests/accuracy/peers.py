"""Other people's formulas, so that they can be scored on the same rows.

It must not copy code: each formula is written from the description of it that its module, document
or article gives (`Peer.link`), as of the day in `Peer.read`. If one leaves something open, the
reading is taken that is better for it: physical memory and not a catalogue's round figure, the
utilization that the row states and not the formula's own, the exact number of parameters, and the
exact bytes of the weights' files. Rows of models that it says it cannot read are not held against
it.

    file      bytes of the checkpoint        n    GPUs of one copy: TP x PP
    budget    physical memory x utilization  L    layers, each counted as full attention

    KAITO          weights 1.02 file / n; activation 1.7 GiB + 5 % of the weights; non-torch
                   0.6 GiB; cache: budget - 2.3 GiB - 1.05 x weights;
                   a token: L x 2 x kv heads x head dim x 2 B / TP (MLA too is divided)
    llm-d          weights file / n; activation 4.8, 5.6, 2.5, 8.0 or 5.5 GiB by class, of the
                   whole copy; non-torch 0.15 GiB (n = 1) or 0.6; cache: budget less these;
                   a token: as KAITO, in the model's dtype, / n
    GPUStack       claim = 1.2 file + 2 GiB over all GPUs; cache: what the claim leaves
    hf-mem         one GPU only: weights file; a token: 2 x kv heads x head dim x bytes a layer
    rule of thumb  (P x 4 B) / (32 / Q) x 1.2, over all GPUs; cache: what that leaves; weights are
                   the part without the 1.2, activation is the 0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.decision.by_size import rule_of_thumb
from plimsoll.measured.rows import TermId
from plimsoll.models.architecture import MixerKind
from plimsoll.models.storage import stored_bytes
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import Parallelism
    from plimsoll.models.architecture import Architecture, Mixer

_ELEMENT: Final = {"float32": 4}
_ATTENTION: Final = (MixerKind.FULL, MixerKind.SLIDING, MixerKind.CHUNKED, MixerKind.MLA)
_MOST_BITS: Final = 16


@dataclass(frozen=True, slots=True)
class Start:
    """Which start-up a case is of. config_id: of its model. tokens, sequences: of a batch."""

    row: str
    config_id: str
    accelerator: Accelerator
    tokens: int
    sequences: int


@dataclass(frozen=True, slots=True)
class Case:
    """What a formula is told of a start-up.

    budget: bytes of one GPU that the engine may take; 0 if unknown. given: GiB of cache that
    were measured, for the term that is told them; None for the others. start: which one it is.
    """

    architecture: Architecture
    split: Parallelism
    kv_dtype: str
    max_model_len: int
    budget: float
    given: float | None = None
    start: Start | None = None

    @property
    def gpus(self) -> int:
        """GPUs of one copy."""
        return self.split.tensor * self.split.pipeline

    @property
    def file(self) -> int:
        """Bytes of the checkpoint."""
        return stored_bytes(self.architecture)


@dataclass(frozen=True)
class Peer:
    """One estimator. link, read: where its formula is described, and as of when.

    formulas: by term, in GiB, tokens or requests; None from one: it cannot tell of that case.
    """

    name: str
    link: str
    read: str
    says: str
    formulas: Mapping[TermId, Callable[[Case], float | None]]


def _mixer(own: Architecture) -> Mixer | None:
    """The attention that a config's plain fields describe: the first one."""
    mixers = (mixer for block in own.blocks for mixer in block.mixers)
    return next((mixer for mixer in mixers if mixer.kind in _ATTENTION), None)


def _token(case: Case, element: float) -> float | None:
    """Bytes of one token over the whole copy, each layer counted as full attention."""
    mixer = _mixer(case.architecture)
    if mixer is None:
        return None
    width = (
        mixer.head_dim
        if mixer.kind is MixerKind.MLA
        else mixer.kv_heads * (mixer.head_dim + mixer.v_head_dim)
    )
    return len(case.architecture.blocks) * width * element


def _element(case: Case) -> int:
    return _ELEMENT.get(case.architecture.dtype, 2)


def _held(case: Case, left: float | None, token: float | None) -> float | None:
    """Tokens that so many GiB of one GPU hold; token: bytes of one on that GPU."""
    if left is None or not token:
        return None
    return max(0.0, left) * GIB / token


def _kaito_weights(case: Case) -> float:
    return 1.02 * case.file / case.gpus / GIB


def _kaito_cache(case: Case) -> float | None:
    if not case.budget:
        return None
    return case.budget / GIB - 2.3 - 1.05 * _kaito_weights(case)


def _kaito_token(case: Case) -> float | None:
    token = _token(case, 2)
    return token / case.split.tensor if token else None


def _llmd_weights(case: Case) -> float:
    return case.file / case.gpus / GIB


_LLMD_BY_CLASS: Final = (
    ("Llama", 4.8),
    ("Qwen2", 5.6),
    ("Qwen3", 5.6),
    ("Pixtral", 2.5),
    ("Mistral3", 2.5),
)


def _llmd_activation(case: Case) -> float:
    own = case.architecture
    moe = any(b.feed_forward is not None and b.feed_forward.experts for b in own.blocks)
    for start, gib in _LLMD_BY_CLASS:
        plain = own.class_name.removeprefix(start)
        if plain != own.class_name and plain.startswith("For") and not moe:
            return gib
    return 8.0 if moe else 2.5 if own.multimodal else 5.5


def _llmd_non_torch(case: Case) -> float:
    return 0.15 if case.split.tensor == 1 else 0.6


def _llmd_cache(case: Case) -> float | None:
    if not case.budget:
        return None
    share = _llmd_activation(case) / case.gpus
    return case.budget / GIB - _llmd_weights(case) - share - _llmd_non_torch(case)


def _llmd_token(case: Case) -> float | None:
    mixer = _mixer(case.architecture)
    if mixer is None:
        return None
    known = case.architecture.class_name.startswith(("DeepseekV2", "DeepseekV3"))
    if mixer.kind is MixerKind.MLA and not known:
        return None
    token = _token(case, _element(case))
    return token / case.gpus if token else None


def _llmd_concurrency(case: Case) -> float | None:
    held = _held(case, _llmd_cache(case), _llmd_token(case))
    return None if held is None else float(held // case.max_model_len)


def _gpustack_cache(case: Case) -> float | None:
    if not case.budget:
        return None
    return (case.budget - (1.2 * case.file + 2 * GIB) / case.gpus) / GIB


def _hf_mem_weights(case: Case) -> float | None:
    return case.file / GIB if case.gpus == 1 else None


def _hf_mem_token(case: Case) -> float | None:
    mixer = _mixer(case.architecture)
    if case.gpus > 1 or mixer is None or mixer.kind is MixerKind.MLA:
        return None
    return _token(case, 1 if case.kv_dtype.startswith("fp8") else _element(case))


def bits(own: Architecture) -> int:
    """Bits of a parameter as people say them: 4 for a 4-bit checkpoint, whatever is left alone."""
    quantization = own.quantization
    if quantization is None:
        return 8 * _ELEMENT.get(own.dtype, 2)
    schemes = (quantization.default, *(scheme for _, scheme in quantization.special))
    return min((s.bits for s in schemes if s is not None), default=_MOST_BITS)


def _rule_weights(case: Case) -> float:
    return case.architecture.parameters * bits(case.architecture) / 8 / case.gpus / GIB


def _rule_cache(case: Case) -> float | None:
    if not case.budget:
        return None
    whole = rule_of_thumb(case.architecture.parameters, bits(case.architecture))
    return (case.budget - whole / case.gpus) / GIB


PEERS: Final = (
    Peer(
        "KAITO",
        "https://github.com/kaito-project/kaito/blob/056b828/pkg/workspace/estimator/"
        "nodesestimator/estimator.go",
        "2026-08-21",
        "1.02 x file size, 2.3 GiB and 5 % of the weights, every layer full attention in 16 bits",
        {
            TermId.WEIGHTS: _kaito_weights,
            TermId.ACTIVATION: lambda case: 1.7 + 0.05 * _kaito_weights(case),
            TermId.NON_TORCH: lambda case: 0.6,
            TermId.KV_GIB: _kaito_cache,
            TermId.KV_TOKENS: lambda case: _held(case, _kaito_cache(case), _kaito_token(case)),
            TermId.TOKENS_GIVEN_GIB: lambda case: _held(case, case.given, _kaito_token(case)),
        },
    ),
    Peer(
        "llm-d",
        "https://github.com/llm-d-incubation/llm-d-planner/blob/e50305a/src/planner/"
        "capacity_planner.py",
        "2026-04-27",
        "bytes of the tensors over all GPUs, one activation figure per class of models",
        {
            TermId.WEIGHTS: _llmd_weights,
            TermId.ACTIVATION: lambda case: _llmd_activation(case) / case.gpus,
            TermId.NON_TORCH: _llmd_non_torch,
            TermId.KV_GIB: _llmd_cache,
            TermId.KV_TOKENS: lambda case: _held(case, _llmd_cache(case), _llmd_token(case)),
            TermId.TOKENS_GIVEN_GIB: lambda case: _held(case, case.given, _llmd_token(case)),
            TermId.CONCURRENCY: _llmd_concurrency,
        },
    ),
    Peer(
        "GPUStack",
        "https://github.com/gpustack/gpustack/blob/47277d7/gpustack/policies/utils.py",
        "2026-08-21",
        "1.2 x file size and 2 GiB, whatever the context",
        {
            TermId.WEIGHTS: _llmd_weights,
            TermId.ACTIVATION: lambda case: 0.2 * _llmd_weights(case),
            TermId.GRAPHS: lambda case: 2.0 / case.gpus,
            TermId.KV_GIB: _gpustack_cache,
        },
    ),
    Peer(
        "hf-mem",
        "https://github.com/alvarobartt/hf-mem",
        "0.5.6",
        "bytes of the tensors, and the cache of every layer as full attention; one GPU",
        {
            TermId.WEIGHTS: _hf_mem_weights,
            TermId.TOKENS_GIVEN_GIB: lambda case: _held(case, case.given, _hf_mem_token(case)),
        },
    ),
    Peer(
        "rule of thumb",
        "https://www.substratus.ai/blog/calculating-gpu-memory-for-llm/",
        "2023-11-16",
        "parameters x bytes x 1.2",
        {
            TermId.WEIGHTS: _rule_weights,
            TermId.ACTIVATION: lambda case: 0.2 * _rule_weights(case),
            TermId.KV_GIB: _rule_cache,
        },
    ),
)
"""The estimators that are scored beside ours."""
