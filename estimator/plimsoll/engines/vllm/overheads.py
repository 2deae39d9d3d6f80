"""What a rank needs beside weights and cache under vLLM: non-torch memory, graphs, activation.

Non-torch memory, graphs and the context:

    non-torch     by GPUs that speak to one another; charged to the budget
    graphs        (0.35 + 0.018 x layers of the rank [+ 0.45: experts or MLA]) GiB x graphs / 102,
                  at least 0.1; with tensor parallelism up to 1.95; charged to the budget from
                  0.20 on (by the second runner from 0.29 on)
    graphs' sizes 1, 2, 4, 8 ... by 8; the first engine up to seqs, rounded up; from 0.8 up to 512
                  (no more than batched tokens), from 0.10 up to min(2 x seqs, 512); from 0.11.1
                  by 16 above 256
    context       outside the budget: the CUDA context and what NCCL takes before vLLM measures

What lies outside the budget is compared in `plimsoll.engines.vllm.limits`. Figures with sources in
data/constants.json; measured on H100 with NVLink only.

The activation is the peak that vLLM measures when it profiles:

    N = min(max_num_seqs, T), T batched tokens, V vocabulary, h hidden size, I dense width
    sampler   bytes per logit x N x V + base + 1.1 x T x h x 2  last stage; not divided by TP
    forward   (3 x I / tp + 4.25 x h) x T x 2          + 2 x T x h x 2 before the last stage
              + I / tp x T where inputs are copied in 8 bits (fp8 and int8 checkpoints)
    experts   T x k x 2 x (max(I_e / tp, h) + max(2 I_e / tp, h))   stay allocated: added; T x dp
    text      max(sampler, forward) + experts
              before 0.13 experts' workspaces end with the pass: max(sampler, forward + experts)
    peak      max(encoder's pass, what it leaves + text), see `plimsoll.engines.vllm.multimodal`

The figures come from data/constants.json: fitted to 52 start-ups of 0.19 on H100; they change
with the engine's sampler and with its model runner (`second_runner`). The bytes per logit hold
for 16-bit logits; 32-bit ones add 2. MXFP4 experts run in kernels without workspaces. The 8-bit
copy is made at the down projection (vllm/_custom_ops.py, scaled_fp8_quant and scaled_int8_quant).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Span, Term, TermName
from plimsoll.engines.layers.sharding import Widths, quantization_in_force, widths
from plimsoll.engines.vllm.defaults import SECOND_ENGINE
from plimsoll.engines.vllm.multimodal import encoder
from plimsoll.engines.vllm.traits import second_runner, traits
from plimsoll.units import GIB, ceil_div

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_BLACKWELL: Final = 10
_OWN_ALL_REDUCE: Final = 2
"""GPUs without NVLink up to which vLLM's own all-reduce serves (custom_all_reduce.py)."""


def non_torch(parallelism: Parallelism, accelerator: Accelerator, constants: Constants) -> Term:
    """Buffers that torch does not hold: NCCL, custom all-reduce, cuBLAS."""
    tensor = parallelism.tensor * (parallelism.data if parallelism.expert else 1)
    if tensor >= 2:
        name = f"non_torch_tensor_{2 if tensor < 4 else 4 if tensor < 8 else 8}"
        basis = f"{tensor} GPUs in tensor or expert parallelism"
    elif parallelism.pipeline > 1:
        name, basis = "non_torch_pipeline", f"{parallelism.pipeline} pipeline stages"
    else:
        name, basis = "non_torch_single", "one GPU"
    blackwell = accelerator.compute[0] == _BLACKWELL
    if accelerator.family != "hopper" and not blackwell:
        name = _elsewhere(name, accelerator)
    figure = constants[name]
    size = figure.bytes()
    if constants.flag("context_inside") and accelerator.compute >= SECOND_ENGINE:
        size += constants["context_single"].bytes()
        basis += ", with the CUDA context"
    band = max(round(size * figure.error), GIB // 10, size // 4 if blackwell else 0)
    known = Known.ASSUMED if blackwell else figure.known
    return Term(TermName.NON_TORCH, size, max(0, size - band), size + band, known, basis)


def _elsewhere(name: str, accelerator: Accelerator) -> str:
    """The figure for GPUs other than Hopper and Blackwell: AMD's, or NVIDIA's without the
    workspaces of the fused all-reduce.
    """
    vendor = "amd" if accelerator.compute == (0, 0) else "other"
    alone = name in ("non_torch_single", "non_torch_pipeline")
    return f"non_torch_{vendor}_{'single' if alone else 'tensor'}"


_TO_SEQS, _TO_MOST, _TO_TWICE, _WIDER_STEPS = range(4)
"""Values of the figure ``graph_sizes``; its note says what each means."""


def graph_sizes(resolved: Resolved, most: int, rule: int) -> int:
    """How many batch sizes are captured. most: the largest; rule: a value of ``graph_sizes``."""
    if resolved.first_engine or rule == _TO_SEQS:
        limit = ceil_div(resolved.seqs, 8) * 8 if resolved.seqs > 4 else resolved.seqs
    elif rule == _TO_MOST:
        limit = min(most, resolved.batched_tokens)
    else:
        limit = min(2 * resolved.seqs, most)
    small = sum(size <= limit for size in (1, 2, 4))
    if rule < _WIDER_STEPS or resolved.first_engine:
        return small + limit // 8
    return small + len(range(8, min(limit, 248) + 1, 8)) + len(range(256, limit + 1, 16))


def graphs(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> Term:
    """What captured CUDA graphs take on a rank of `layers` layers; 0 in eager mode.

    The engine charges its own estimate to the budget, not what capturing then takes. Before 0.20,
    and before 0.29 with the second runner, it charges nothing: `captured` says what lies beside the
    budget then.
    """
    if resolved.eager:
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "eager mode")
    if not charged(architecture, constants):
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "outside the budget")
    found = _graphs(architecture, resolved, layers, accelerator, constants)
    size, high = found.size, found.most
    if parallelism.tensor > 1:  # the engine's own estimate, which is charged, is noisy then
        share = min(1.0, found.count / constants.number("graphs_fitted"))
        high = max(high, constants.number("graphs_tensor_most") * share)
    known = Known.MODELLED if accelerator.family == "hopper" else Known.ASSUMED
    return Term(
        TermName.CUDA_GRAPHS,
        round(size * GIB),
        round(found.least * GIB),
        round(high * GIB),
        known,
        f"{found.count} graphs, {layers} layers",
    )


def charged(architecture: Architecture, constants: Constants) -> bool:
    """Whether CUDA graphs count towards the budget."""
    second = second_runner(architecture, constants)
    return constants.flag("second_graphs_charged" if second else "graphs_charged")


def context(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
) -> Span:
    """Bytes that the budget does not count and the GPU must have: the CUDA context, and NCCL."""
    if constants.flag("context_inside") and not resolved.first_engine:
        return Span(0, 0, 0)
    alone = parallelism.gpus == 1 or not constants.flag("context_with_nccl")
    name = "context_single"
    if not alone:
        name = "context_moe" if traits(architecture).experts else "context_many"
    if accelerator.family != "hopper":
        name = "context_other_single" if alone else "context_other_many"
    figure = constants[name]
    size = figure.bytes()
    return Span(size, int(size * (1 - figure.error)), round(size * (1 + figure.error)))


def captured(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> Term:
    """What capturing CUDA graphs takes on a rank, as its log says, charged or not.

    Without NVLink more than two GPUs speak by NCCL alone, which keeps buffers for each graph.
    """
    if resolved.eager:
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "eager mode")
    found = _graphs(architecture, resolved, layers, accelerator, constants)
    number = constants.number
    wide = constants["captured_hopper" if accelerator.family == "hopper" else "captured_other"]
    size = found.size
    high = max(size, found.base * (1 + wide.error)) + found.extra * number("captured_experts")
    if parallelism.tensor > _OWN_ALL_REDUCE and not _linked(accelerator):
        figure = constants["graphs_collective"]
        each = figure.value * found.count * layers / 1024
        size, high = size + each, high + each * (1 + figure.error)
    known = Known.MODELLED if accelerator.family == "hopper" else Known.ASSUMED
    sizes = (round(size * GIB), round(found.least * GIB), round(high * GIB))
    return Term(TermName.CUDA_GRAPHS, *sizes, known, f"{found.count} graphs, {layers} layers")


def _linked(accelerator: Accelerator) -> bool:
    """Whether GPUs of a kind usually speak by NVLink."""
    name = accelerator.name
    return accelerator.family == "hopper" or accelerator.compute[0] == _BLACKWELL or "a100" in name


@dataclass(frozen=True, slots=True)
class _Graphs:
    """What captured graphs take, in GiB, and how many there are. base, extra: parts of size."""

    base: float
    extra: float
    size: float
    least: float
    most: float
    count: int


def _graphs(
    architecture: Architecture,
    resolved: Resolved,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> _Graphs:
    number = constants.number
    sm100 = accelerator.compute[0] == _BLACKWELL
    most = int(number("graph_size_most_sm100" if sm100 else "graph_size_most"))
    rule = int(number("graph_sizes"))
    count = graph_sizes(resolved, most, rule) * int(number("graphs_modes"))
    share = count / number("graphs_fitted")
    own = traits(architecture)
    error = constants["graphs_base"].error
    base = (number("graphs_base") + number("graphs_per_layer") * layers) * share
    extra = number("graphs_moe") * share if own.experts or own.latent else 0.0
    size = max(base + extra, number("graphs_least"))
    high = max(size, base * (1 + error) + extra * (1 + constants["graphs_moe"].error))
    if own.states:
        high = max(high, size * number("graphs_hybrid_factor"))
    return _Graphs(base, extra, size, min(size, base * (1 - error)), high, count)


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
    logit = _bytes_per_logit(architecture, constants)
    if last and architecture.vocab_size:
        sampler = sampling(architecture, resolved, constants)
        sampler += number("sampler_hidden_factor") * tokens * hidden * element
    per_token = own.dense_pass(hidden, parallelism.tensor, constants)
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


def sampling(architecture: Architecture, resolved: Resolved, constants: Constants) -> float:
    """Bytes in which the last stage samples for all sequences at once, logits and all."""
    logit = constants.number(_bytes_per_logit(architecture, constants)) + resolved.element - 2
    sequences = min(resolved.seqs, resolved.batched_tokens)
    return logit * sequences * architecture.vocab_size + constants.number("sampler_base") * GIB


def _bytes_per_logit(architecture: Architecture, constants: Constants) -> str:
    """The name of the figure."""
    second = second_runner(architecture, constants)
    return "second_sampler_bytes_per_logit" if second else "sampler_bytes_per_logit"


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
    rows = tokens * parallelism.data * own.per_token
    return rows * element * own.expert_workspaces(architecture.hidden_size, ways)
