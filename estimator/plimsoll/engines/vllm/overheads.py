"""What a rank needs beside weights and cache under vLLM: non-torch memory, graphs, activation.

Non-torch memory, graphs and the context:

    non-torch     by GPUs that speak to one another; charged to the budget
    graphs        (0.35 + 0.018 x layers of the rank [+ 0.45: experts or MLA]) GiB x graphs / 102,
                  at least 0.1; with tensor parallelism up to 1.95; charged to the budget from
                  0.20 on (by the second runner from 0.29 on)
    graphs' sizes 1, 2, 4, 8 ... 248 by 8, 256 ... by 16, up to min(2 x seqs, 512)
    context       outside the budget: the CUDA context and what NCCL takes before vLLM measures

Figures with sources in data/constants.json; measured on H100 with NVLink only.

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

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.layers.sharding import Widths, quantization_in_force, widths
from plimsoll.engines.vllm.compressed import pass_elements
from plimsoll.engines.vllm.defaults import SECOND_ENGINE
from plimsoll.engines.vllm.multimodal import encoder
from plimsoll.engines.vllm.sparse import workspace
from plimsoll.engines.vllm.traits import second_runner, traits
from plimsoll.units import GIB

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_BLACKWELL: Final = 10


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


def graph_sizes(seqs: int, most: int) -> int:
    """How many batch sizes are captured."""
    limit = min(2 * seqs, most)
    small = sum(size <= limit for size in (1, 2, 4))
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
    and before 0.29 with the second runner, it charges nothing: `outside` says what lies beside the
    budget then.
    """
    if resolved.eager:
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "eager mode")
    if not _charged(architecture, constants):
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


def _charged(architecture: Architecture, constants: Constants) -> bool:
    """Whether CUDA graphs count towards the budget."""
    second = second_runner(architecture, constants)
    return constants.flag("second_graphs_charged" if second else "graphs_charged")


def outside(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> int:
    """Bytes that the budget does not count and the GPU must have: context, uncharged graphs."""
    if parallelism.tensor * parallelism.pipeline * parallelism.data == 1:
        figure = constants["context_single"]
    else:
        figure = constants["context_moe" if traits(architecture).experts else "context_many"]
    size = figure.bytes()
    if not resolved.eager and not _charged(architecture, constants):
        found = _graphs(architecture, resolved, layers, accelerator, constants)
        size += round(found.least * GIB)
    return size


def captured(
    architecture: Architecture,
    resolved: Resolved,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> int:
    """Bytes that capturing CUDA graphs takes on a rank, as its log says, charged or not."""
    if resolved.eager:
        return 0
    return round(_graphs(architecture, resolved, layers, accelerator, constants).size * GIB)


@dataclass(frozen=True, slots=True)
class _Graphs:
    """What captured graphs take, in GiB, and how many there are."""

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
    count = graph_sizes(resolved.seqs, most) * int(number("graphs_modes"))
    share = count / number("graphs_fitted")
    own = traits(architecture)
    error = constants["graphs_base"].error
    base = (number("graphs_base") + number("graphs_per_layer") * layers) * share
    extra = number("graphs_moe") * share if own.experts or own.latent else 0.0
    size = max(base + extra, number("graphs_least"))
    high = max(size, base * (1 + error) + extra * (1 + constants["graphs_moe"].error))
    if own.states:
        high = max(high, size * number("graphs_hybrid_factor"))
    return _Graphs(size, min(size, base * (1 - error)), high, count)


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
    per_token = own.dense_pass(hidden, parallelism.tensor, constants)
    if not last:
        per_token += number("forward_handover") * hidden
    latent = pass_elements(architecture, parallelism.tensor)
    forward = max(per_token, latent) * tokens * element
    if _eight_bits(architecture, settings):
        forward += own.dense / parallelism.tensor * tokens
    sparse = workspace(architecture, resolved, constants)
    forward += sparse.passing
    experts = max(
        _expert_workspace(architecture, settings, own, tokens, element, parallelism),
        float(sparse.kept),
    )
    if not constants.flag("experts_kept"):
        forward, experts = forward + experts, 0.0
    peak = max(sampler, forward)
    figure = constants[logit if sampler >= forward else "forward_hidden"]
    band = max(
        figure.error * peak + constants["forward_hidden"].error * experts,
        number("activation_floor_band") * GIB,
    )
    assumed = figure.known is Known.ASSUMED or tokens > _MANY_TOKENS or latent > 0
    if latent:
        band = max(band, constants.number("compressed_pass_band") * (peak + experts))
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
