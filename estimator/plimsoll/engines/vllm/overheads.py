"""What a rank needs beside weights and cache under vLLM: non-torch memory, graphs, activation.

Non-torch memory, graphs and the context:

    non-torch     by GPUs that speak to one another; charged to the budget
    graphs        `plimsoll.engines.vllm.capture`; charged to the budget from 0.20 on (by the
                  second runner from 0.29 on)
    context       outside the budget: the CUDA context and what NCCL takes before vLLM measures
    ranges        from measured start-ups by group, `plimsoll.engines.ranges`

What lies outside the budget is compared in `plimsoll.engines.vllm.limits`.
Figures with sources in data/constants.json, ranges in data/ranges.json.

The activation is the peak that vLLM measures when it profiles:

    N = min(max_num_seqs, T), T batched tokens, V vocabulary, h hidden size, I dense width
    sampler   bytes per logit x N x V + 4 x V x min(multiprocessors, N) + cuBLAS' workspace
              up to 0.16 it sorts: 12 bytes per logit more where N is from 2 to 127
              + (T + 2 x N) x h x 2                     last stage; not divided by TP
    gathered  no less than (2 + 1 / tp) x N x V x 2 of logits, where ranks have parts of them
    forward   (3 x I / tp + 4.25 x h) x T x 2          + 2 x T x h x 2 before the last stage
              2 x I where the feed-forward is not gated
              + I / tp x T where inputs are copied in 8 bits (fp8 and int8 checkpoints, on GPUs that
              multiply them)
    experts   T x k x 2 x (max(I_e / tp, h) + max(2 I_e / tp, h))   stay allocated: added; T x dp,
              up to 0.17 at most `experts_chunk` tokens; I_e, not 2 I_e, if they are not gated
    MXFP4     forward is no less than (k x (I_e / tp + h) + 4 x h) x T x 2 where Triton multiplies
              (Hopper); where Marlin does, from 0.22 on, workspaces are as those of all experts
    latent    forward is no less than what attention over latents makes room for; what its
              kernels keep shares the experts' buffer, see `plimsoll.engines.vllm.latent`
    text      max(sampler, forward) + experts; layers before the first with experts without them
              before 0.13 experts' workspaces end with the pass: max(sampler, forward + experts)
    peak      max(encoder's pass, what it leaves + text), see `plimsoll.engines.vllm.multimodal`

The figures come from data/constants.json: the forward pass is fitted to 52 start-ups of 0.19 on
H100; the sampler is what releases do, run without a GPU (tests/data/drystart), and changes with the
engine's sampler and with its model runner (`second_runner`). The bytes per logit hold for 16-bit
logits; 32-bit ones add 2. The 8-bit copy is made at the down projection (vllm/_custom_ops.py,
scaled_fp8_quant and scaled_int8_quant).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Span, Term, TermName
from plimsoll.engines.layers.sharding import Widths, quantization_in_force, widths
from plimsoll.engines.ranges import AMD, BLACKWELL, HOPPER, MANY, ONE, Group, gpu_group
from plimsoll.engines.vllm import latent
from plimsoll.engines.vllm.capture import multiplies_eight_bits, sizes, taken
from plimsoll.engines.vllm.compressed import pass_elements
from plimsoll.engines.vllm.defaults import SECOND_ENGINE
from plimsoll.engines.vllm.mixing import mixing_elements
from plimsoll.engines.vllm.multimodal import encoder
from plimsoll.engines.vllm.options import RANGES, TABLE
from plimsoll.engines.vllm.sparse import workspace
from plimsoll.engines.vllm.traits import kind, second_runner, traits
from plimsoll.units import GIB, MIB, grouped

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants, Version
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture


def non_torch(parallelism: Parallelism, accelerator: Accelerator, constants: Constants) -> Term:
    """Buffers that torch does not hold: NCCL, custom all-reduce, cuBLAS."""
    tensor = _speaking(parallelism)
    if tensor >= 2:
        name = f"non_torch_tensor_{2 if tensor < 4 else 4 if tensor < 8 else 8}"
        basis = f"{tensor} GPUs in tensor or expert parallelism"
    elif parallelism.pipeline > 1:
        name, basis = "non_torch_pipeline", f"{parallelism.pipeline} pipeline stages"
    else:
        name, basis = "non_torch_single", "one GPU"
    if gpu_group(accelerator) not in (HOPPER, BLACKWELL):
        name = _elsewhere(name, accelerator)
    figure = constants[name]
    size = figure.bytes()
    if constants.flag("context_inside") and accelerator.compute >= SECOND_ENGINE:
        size += constants["context_single"].bytes() + accelerator.reserved
        basis += ", with the CUDA context"
        basis += " and what others hold" if accelerator.reserved else ""
    term = Term(TermName.NON_TORCH, size, size, size, figure.known, basis)
    group = Group(gpu_group(accelerator), MANY if tensor > 1 else ONE, "", _release(constants))
    term = RANGES.of("nonTorch", group).around(term)
    if accelerator.shares_memory and constants.flag("runner_charged"):
        return _with_processes(term, constants)
    return term


def _with_processes(term: Term, constants: Constants) -> Term:
    """With what the engine's own processes take of a memory that CPU and GPU share.

    What is gone of it is counted, from 0.27 on whoever holds it (psutil's available memory in
    vllm/utils/mem_utils.py, MemorySnapshot.measure and memory_profiling).
    """
    figure = constants["unified_processes"]
    more = figure.bytes()
    low, high = round(more * (1 - figure.error)), round(more * (1 + figure.error))
    basis = f"{term.basis}, the engine's processes in the same memory"
    return Term(term.name, term.bytes + more, term.low + low, term.high + high, figure.known, basis)


def _speaking(parallelism: Parallelism) -> int:
    """How many GPUs reduce together."""
    return parallelism.tensor * (parallelism.data if parallelism.expert else 1)


def _release(constants: Constants) -> Version:
    return TABLE.number(constants.version)


def _elsewhere(name: str, accelerator: Accelerator) -> str:
    """The figure for GPUs other than Hopper and Blackwell: AMD's, or NVIDIA's without the
    workspaces of the fused all-reduce.
    """
    vendor = "amd" if accelerator.compute == (0, 0) else "other"
    alone = name in ("non_torch_single", "non_torch_pipeline")
    return f"non_torch_{vendor}_{'single' if alone else 'tensor'}"


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
    return captured(
        architecture, resolved, parallelism, layers, accelerator, constants, estimate=True
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
    *,
    estimate: bool = False,
) -> Term:
    """What capturing CUDA graphs takes on a rank of `layers` layers, charged or not.

    As its log says; or, with `estimate`, as the engine estimates it from the first few.
    """
    found = sizes(architecture, resolved, accelerator, constants)
    size = taken(architecture, found, layers, parallelism.tensor, accelerator, constants)
    words = f"{found.count} graphs, {layers} layers"
    term = Term(TermName.CUDA_GRAPHS, size, size, size, Known.MODELLED, words)
    group = _group(architecture, parallelism, accelerator, constants)
    measured = RANGES.of("graphsCharged" if estimate else "graphsCaptured", group)
    return _as_far_as_measured(measured.around(term), constants)


def ranged(
    term: Term,
    architecture: Architecture,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
) -> Term:
    """The activation's term with what start-ups like this one measured beside its own range: what
    compiling leaves behind at a first start, kernels that nobody modelled."""
    group = _group(architecture, parallelism, accelerator, constants)
    return RANGES.of("activation", group).at_least(term)


def _as_far_as_measured(term: Term, constants: Constants) -> Term:
    """The term, whose range reaches down to the largest graphs that any start-up measured."""
    most = round(constants.number("graphs_measured_most") * GIB)
    if term.bytes <= most:
        return term
    low = min(term.low, most)
    return Term(term.name, term.bytes, low, term.high, Known.ASSUMED, term.basis)


def _group(
    architecture: Architecture,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
) -> Group:
    """What a start-up's graphs are like."""
    ranks = MANY if _speaking(parallelism) > 1 else ONE
    return Group(gpu_group(accelerator), ranks, kind(architecture), _release(constants))


_MANY_TOKENS: Final = 16384
"""From here on no start-up was measured."""


def activation(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    accelerator: Accelerator,
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
        sampler = sampling(architecture, resolved, parallelism, accelerator, constants)
        sampler += (tokens + 2 * sequences) * hidden * element
    per_token = own.dense_pass(hidden, parallelism.tensor, constants, beside=True)
    handed = 0.0 if last else number("forward_handover") * hidden
    per_token += handed
    compressed = pass_elements(architecture, parallelism.tensor)
    mixing = mixing_elements(architecture, parallelism, stage, constants)
    triton = _triton_pass(architecture, settings, own, parallelism, accelerator)
    forward = max(per_token, compressed, mixing, triton) * tokens * element
    if multiplies_eight_bits(architecture, settings.quantization, accelerator):
        forward += own.beside / parallelism.tensor * tokens
    sparse = workspace(architecture, settings, resolved, accelerator, constants)
    heads = latent.workspace(architecture, settings, resolved, parallelism, accelerator, constants)
    forward += sparse.passing
    experts = max(
        _expert_workspace(
            architecture, settings, own, tokens, element, parallelism, accelerator, constants
        ),
        float(max(sparse.kept, heads.kept)),
    )
    before = own.dense_pass(hidden, parallelism.tensor, constants) + handed
    before = before * tokens * element if own.dense > own.beside else 0.0
    if not constants.flag("experts_kept"):
        forward, experts = forward + experts, 0.0
    forward = max(forward, before - experts)
    attending = heads.passing + max(heads.kept, experts if heads.after_experts else 0)
    forward = max(forward, attending - experts)
    peak = max(sampler, forward)
    figure = constants[logit if sampler >= forward else "forward_hidden"]
    band = max(
        figure.error * peak + constants["forward_hidden"].error * experts,
        number("activation_floor_band") * GIB,
    )
    assumed = figure.known is Known.ASSUMED or tokens > _MANY_TOKENS or compressed > 0
    if compressed:
        band = max(band, constants.number("compressed_pass_band") * (peak + experts))
    basis = (
        f"{grouped(sequences)} sequences x {grouped(architecture.vocab_size)} logits"
        if sampler >= forward
        else f"{grouped(tokens)} batched tokens"
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


_CUBLAS: Final = {True: 32 * MIB, False: 8_519_680}
"""cuBLAS' workspace in torch's allocator, from Hopper on and before."""
_HOPPER_ON: Final = (9, 0)
_FEW_ROWS: Final = 128
"""Below it torch sorts all rows as one (PyTorch 2.5 to 2.10, SortStable.cu)."""


def sampling(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
) -> float:
    """Bytes in which the last stage samples for all sequences at once, logits and all.

    Ranks that have parts of the logits gather them first: their own part, what all sent, and that
    put in order (`all_gather` of vllm/distributed/device_communicators/base_device_communicator.py,
    0.8 to 0.33).
    """
    sequences = min(resolved.seqs, resolved.batched_tokens)
    logits = sequences * architecture.vocab_size
    logit = constants.number(_bytes_per_logit(architecture, constants)) + resolved.element - 2
    if 1 < sequences < _FEW_ROWS:
        logit += constants.number("sampler_few_rows")
    size = logit * logits
    if not second_runner(architecture, constants):
        rows = min(sequences, latent.processors(accelerator))
        size += constants.number("sampler_buffer") * rows * architecture.vocab_size
    if parallelism.tensor > 1:
        size = max(size, (2 + 1 / parallelism.tensor) * logits * resolved.element)
    if constants.flag("sampler_workspace"):
        size += _CUBLAS[accelerator.compute >= _HOPPER_ON]
    return size


def _bytes_per_logit(architecture: Architecture, constants: Constants) -> str:
    """The name of the figure."""
    second = second_runner(architecture, constants)
    return "second_sampler_bytes_per_logit" if second else "sampler_bytes_per_logit"


def _expert_workspace(
    architecture: Architecture,
    settings: EngineSettings,
    own: Widths,
    tokens: int,
    element: int,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
) -> float:
    """Bytes of the fused experts' workspaces, which outlive the forward pass."""
    if not own.per_token:
        return 0.0
    quantization = quantization_in_force(architecture, settings.quantization)
    marlin = gpu_group(accelerator) not in (HOPPER, BLACKWELL, AMD)
    kept = marlin and constants.flag("mxfp4_workspaces")
    if quantization is not None and quantization.method == "mxfp4" and not kept:
        return 0.0
    rows = tokens * parallelism.data
    chunk = int(constants.number("experts_chunk"))
    rows = min(rows, chunk or rows) * own.per_token
    return rows * element * own.expert_workspaces(architecture.hidden_size, _ways(parallelism))


def _ways(parallelism: Parallelism) -> int:
    """How many ranks an expert is cut over."""
    return 1 if parallelism.expert else parallelism.tensor * parallelism.data


def _triton_pass(
    architecture: Architecture,
    settings: EngineSettings,
    own: Widths,
    parallelism: Parallelism,
    accelerator: Accelerator,
) -> float:
    """Elements of one token in MXFP4 experts that Triton multiplies."""
    quantization = quantization_in_force(architecture, settings.quantization)
    if quantization is None or quantization.method != "mxfp4" or not own.per_token:
        return 0.0
    if gpu_group(accelerator) != HOPPER:
        return 0.0
    hidden = architecture.hidden_size
    return own.per_token * (own.expert / _ways(parallelism) + hidden) + _ALIVE * hidden


_ALIVE: Final = 4
