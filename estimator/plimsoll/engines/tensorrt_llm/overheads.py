"""What is neither weights nor cache: the peak of a forward pass, buffers, CUDA graphs.

It must not decide what is left for the cache.

    T batched tokens, h hidden size, I dense width, k experts per token, N sequences, V logits
    forward     (3 x I / tp + 4.25 x h) x T x 2
    experts     T x k x 2 x (max(I_e / tp, h) + max(2 I_e / tp, h)), added; MXFP4 as well
    engines     31 bytes x N x beams x V more: decoder, runtime buffers, logits (N: max_batch_size)
    buffers     CUDA context and workspaces; NCCL with more than one GPU
    graphs      PyTorch backend: a base and a share for every layer

The PyTorch backend measures its peak with prompts of T tokens, of which only the last gives
logits: no term for them. Most of this is assumed (data/constants.json says what from): few logs
are public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.tensorrt_llm.stages import bounds
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.engines.base import Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.tensorrt_llm.defaults import Resolved
    from plimsoll.models.architecture import Architecture


def _widths(architecture: Architecture, pipeline: int) -> tuple[tuple[int, int, int], ...]:
    """Dense width, one expert's and experts per token, the largest of every stage."""

    def make() -> tuple[tuple[int, int, int], ...]:
        found = []
        for start, end in bounds(len(architecture.blocks), pipeline):
            parts = [b.feed_forward for b in architecture.blocks[start:end] if b.feed_forward]
            dense = max((max(p.intermediate, p.shared_intermediate) for p in parts), default=0)
            expert = max((p.expert_intermediate for p in parts if p.experts), default=0)
            used = max((p.experts_per_token for p in parts if p.experts), default=0)
            found.append((dense, expert, used))
        return tuple(found)

    return remembered(architecture, ("tensorrt_llm.widths", pipeline), make)


def activation(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    figures: Constants,
) -> Term:
    """The peak of a forward pass on one rank of a stage, and an engine's buffers for logits."""
    dense, expert, used = _widths(architecture, parallelism.pipeline)[stage]
    tensor = 1 if resolved.attention_dp else parallelism.tensor
    tokens, hidden, element = resolved.batched_tokens, architecture.hidden_size, resolved.element
    wide = figures.number("forward_intermediate") * dense / tensor
    peak = (wide + figures.number("forward_hidden") * hidden) * tokens * element
    if used:
        cut = expert / parallelism.tensor
        peak += tokens * used * element * (max(cut, hidden) + max(2 * cut, hidden))
    band = peak * figures["forward_hidden"].error
    basis = f"{tokens} batched tokens"
    if not resolved.pytorch and stage == parallelism.pipeline - 1:
        figure = figures["engine_logit_bytes"]
        sequences = resolved.seqs * resolved.beams
        logits = figure.value * sequences * architecture.vocab_size
        peak += logits
        band += logits * figure.error
        basis += f", {sequences} sequences x {architecture.vocab_size} logits"
    return Term(
        TermName.ACTIVATION,
        round(peak),
        max(0, round(peak - band)),
        round(peak + band),
        Known.ASSUMED,
        basis,
    )


def buffers(parallelism: Parallelism, figures: Constants) -> Term:
    """CUDA context, workspaces and what several GPUs speak to one another with."""
    context = figures["runtime_gib"]
    size, band = context.bytes(), context.bytes() * context.error
    basis = "CUDA context and workspaces"
    if parallelism.gpus > 1:
        shared = figures["communication_gib"]
        size += shared.bytes()
        band += shared.bytes() * shared.error
        basis += f", {parallelism.gpus} GPUs"
    return Term(
        TermName.NON_TORCH, size, round(size - band), round(size + band), Known.ASSUMED, basis
    )


def graphs(resolved: Resolved, layers: int, figures: Constants) -> Term:
    """What captured CUDA graphs take on a rank of so many layers."""
    if not resolved.graphs:
        why = "eager mode" if resolved.pytorch else "engines capture none"
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, why)
    base, each = figures["graph_base_gib"], figures["graph_per_layer_gib"]
    size = round((base.value + each.value * layers) * GIB)
    return Term(
        TermName.CUDA_GRAPHS,
        size,
        round(size * (1 - base.error)),
        round(size * (1 + base.error)),
        Known.ASSUMED,
        f"{layers} layers",
    )
