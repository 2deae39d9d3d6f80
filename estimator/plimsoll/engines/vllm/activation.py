"""The peak of what a forward pass needs and gives back: what vLLM measures when it profiles.

It must not count weights, cache or CUDA graphs.

    N = min(max_num_seqs, T), T batched tokens, V vocabulary, h hidden size, I dense width
    sampler   bytes per logit x N x V + base + 1.1 x T x h x 2  last stage; not divided by TP
    forward   (3 x I / tp + 4.25 x h) x T x 2          + 2 x T x h x 2 before the last stage
              + I / tp x T where inputs are copied in 8 bits (fp8 and int8 checkpoints)
    experts   T x k x 2 x (max(I_e / tp, h) + max(2 I_e / tp, h))   stay allocated: added; T x dp
    text      max(sampler, forward) + experts
              before 0.13 experts' workspaces end with the pass: max(sampler, forward + experts)
    peak      max(encoder's pass, what it leaves + text), see `plimsoll.engines.vllm.encoder`

The figures come from data/constants.json: fitted to 52 start-ups of 0.19 on H100; they change
with the engine's sampler and with its model runner (`runner`). The bytes per logit hold for 16-bit
logits; 32-bit ones add 2. MXFP4 experts run in kernels without workspaces. The 8-bit copy is made
at the down projection (vllm/_custom_ops.py, scaled_fp8_quant and scaled_int8_quant).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.layers.sharding import quantization_in_force
from plimsoll.engines.layers.widths import Widths, widths
from plimsoll.engines.vllm.runner import second_runner
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_MANY_TOKENS: Final = 16384
"""From here on no start-up was measured."""
_EIGHT_BITS: Final = frozenset({"fp8", "int8"})
"""Schemes whose kernels multiply 8 bits by 8 bits."""


def activation(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    constants: Constants,
) -> Term:
    """The activation peak on one rank of one pipeline stage."""
    number = constants.number
    tokens, hidden = resolved.batched_tokens, architecture.hidden_size
    element = resolved.element
    own = widths(architecture, parallelism.pipeline)[stage]
    last = stage == parallelism.pipeline - 1
    sampler = 0.0
    sequences = min(resolved.seqs, tokens)
    logit = "sampler_bytes_per_logit"
    if second_runner(architecture, constants):
        logit = "second_sampler_bytes_per_logit"
    if last and architecture.vocab_size:
        sampler = (number(logit) + element - 2) * sequences * architecture.vocab_size
        sampler += number("sampler_hidden_factor") * tokens * hidden * element
        sampler += number("sampler_base") * GIB
    per_token = (
        number("forward_intermediate") * own.dense / parallelism.tensor
        + number("forward_hidden") * hidden
    )
    if not last:
        per_token += number("forward_handover") * hidden
    forward = per_token * tokens * element
    if _eight_bits(architecture, settings):
        forward += own.dense / parallelism.tensor * tokens
    experts = _expert_workspace(architecture, settings, own, tokens, element, parallelism)
    if not constants.flag("experts_kept"):
        forward, experts = forward + experts, 0.0
    peak = max(sampler, forward)
    figure = constants[logit if sampler >= forward else "forward_hidden"]
    band = max(
        figure.error * peak + constants["forward_hidden"].error * experts,
        number("activation_floor_band") * GIB,
    )
    assumed = figure.known is Known.ASSUMED or tokens > _MANY_TOKENS
    basis = (
        f"{sequences} sequences x {architecture.vocab_size} logits"
        if sampler >= forward
        else f"{tokens} batched tokens"
    )
    text = total = peak + experts
    low, most = text - band, text + band
    if architecture.multimodal and (stage == 0 or not second_runner(architecture, constants)):
        from plimsoll.engines.vllm.encoder import encoder  # most models have none

        seen = encoder(architecture, settings, resolved, parallelism, constants)
        total = text + seen.held
        low = max(text + seen.held_low - band, seen.low)
        most = max(text + seen.held_high + band, seen.high)
        if seen.peak > total:
            total, basis, assumed = seen.peak, seen.basis, seen.known is Known.ASSUMED
        elif seen.held_high > seen.held or seen.high > total:
            assumed = assumed or seen.known is Known.ASSUMED
    return Term(
        TermName.ACTIVATION,
        round(total),
        max(0, round(low)),
        round(most),
        Known.ASSUMED if assumed else Known.MODELLED,
        basis,
    )


def _eight_bits(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether a linear's input is copied in 8 bits before it is multiplied."""
    quantization = quantization_in_force(architecture, settings.quantization)
    scheme = quantization.default if quantization is not None else None
    return scheme is not None and scheme.name in _EIGHT_BITS


def _expert_workspace(
    architecture: Architecture,
    settings: EngineSettings,
    own: Widths,
    tokens: int,
    element: int,
    parallelism: Parallelism,
) -> float:
    """Bytes of the fused experts' workspaces, which outlive the forward pass."""
    if not own.per_token:
        return 0.0
    quantization = quantization_in_force(architecture, settings.quantization)
    if quantization is not None and quantization.method == "mxfp4":
        return 0.0
    ways = 1 if parallelism.expert else parallelism.tensor * parallelism.data
    hidden, width = architecture.hidden_size, own.expert / ways
    rows = tokens * parallelism.data * own.per_token
    return rows * element * (max(width, hidden) + max(2 * width, hidden))
