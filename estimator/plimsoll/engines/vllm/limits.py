"""What a start of vLLM has to hold beside its budget.

What loading takes at its peak, where the engine quantizes while it loads:

    need        before 0.16, by fp8: all weights in 16 bits, which are made first and quantized
                layer by layer once they are all there; from 0.13 on while they are read, when the
                model still holds those in 16 bits: with the quantized ones beside them. Else no
                more than what stays
    has         physical - context - what others hold

Source: vllm/model_executor/layers/quantization/fp8.py of 0.6.6 to 0.15.1 (create_weights makes
params_dtype, process_weights_after_loading quantizes; from 0.13.0 patched_weight_loader calls it,
https://github.com/vllm-project/vllm/issues/31273; from 0.16.0 weights are made on the meta
device, one layer at a time). experts_int8.py makes 8 bits from the start, and bitsandbytes
quantizes tensor by tensor (model_loader/bitsandbytes_loader.py).

With ``--enable-sleep-mode`` weights lie in a pool that gives nothing back while it is open:

    need        the weights, and of experts that are converted once they are read a share that stays
                beside what they became (MXFP4, NVFP4; from 0.21 on data-center Blackwell 16 bits)

Source: https://github.com/vllm-project/vllm/issues/34877, 43951, 48680 and 52511.

The blocks of recurrent state, for models that have one and decode in full CUDA graphs:

    sequences   max_num_seqs <= blocks of the pool, from 0.20 on; before, and only for layers whose
                convolution asserts it (0.11 to 0.17), the largest decode batch that is captured
    blocks      floor(KV memory / bytes of a block), at both ends of what KV memory can be

Source: vllm/config/compilation.py of 0.20.0 to 0.33.0 (resolve_cudagraph_mode_and_sizes; before,
vllm/v1/worker/gpu_model_runner.py); vllm/model_executor/layers/mamba/ops/causal_conv1d.py of 0.11.0
to 0.17.0 and https://github.com/vllm-project/vllm/pull/34571.

What comes after the cache is taken, against what the budget leaves of the GPU:

    need        CUDA graphs as they are captured, then one pass of the sampler for all sequences
    has         physical - budget - context - what others hold + activation peak + graphs charged
    budget      physical x utilization; where the cache is of a fixed size or there is none, the sum
                of the terms
    sampler     the second runner warms it with every sampling parameter (vllm/v1/worker/gpu/
                warmup.py), the first engine not at all
    slack       up to 150 MiB, which vLLM itself leaves (redundancy_buffer_memory)

With adapters graphs are captured twice from 0.11.1 on; what a start-up of 0.11.1 took for that is
the most that it is taken for, up to the release that charges graphs.

The activation peak was measured before the cache and is free again; so a peak that is the sampler's
own pays for its warm-up, and only the graphs are left to be held. Where graphs are charged, by
the engine's own estimate, what they take beyond it is left.

Source: vllm/v1/worker/gpu_worker.py (determine_available_memory, compile_or_warm_up_model).
"""

from __future__ import annotations

from dataclasses import replace
from math import hypot
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Limit, LimitName, Span, Term, TermName
from plimsoll.engines.layers.sharding import (
    quantization_in_force,
    scheme_in_force,
    stage_weights,
)
from plimsoll.engines.ranges import BLACKWELL, HOPPER, OTHER, gpu_group
from plimsoll.engines.vllm import lora
from plimsoll.engines.vllm.capture import sizes
from plimsoll.engines.vllm.kernels import padding
from plimsoll.engines.vllm.offload import offloads
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.engines.vllm.overheads import captured, charged, context, sampling
from plimsoll.engines.vllm.traits import DENSE, kind, second_runner, traits
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import Part
from plimsoll.paths import Field
from plimsoll.units import MIB, gib, gib_down, gib_up, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism, Terms
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.engines.vllm.kv import Cache
    from plimsoll.models.architecture import Architecture, Block

_NOT_COMPARED, _CAPTURED, _ALL_SEQUENCES = range(3)
"""Values of the figure ``state_blocks``; its note says what each means."""
_BOTH_HELD: Final = 2
"""Of the figure ``whole_before_quantized``."""
_PLAIN: Final = "16 bits"
"""Of the figure ``stranded_by_sleep``: experts that are not quantized."""
_DATA_CENTER: Final = 10
"""Compute capability, its first number, of Blackwell in data centers."""
_SLACK: Final = 150 * MIB
_OWN_ALL_REDUCE: Final = 2
"""GPUs without NVLink up to which vLLM's own all-reduce serves (custom_all_reduce.py)."""


def states(
    architecture: Architecture,
    resolved: Resolved,
    cache: Cache,
    room: Sequence[Span],
    accelerator: Accelerator,
    constants: Constants,
) -> Limit | None:
    """Sequences against the blocks of the cache; None where nothing compares them.

    room: bytes that each stage has for its cache.
    """
    figure = constants["state_blocks"]
    rule = int(figure.value)
    if rule == _NOT_COMPARED or resolved.eager or not traits(architecture).states:
        return None
    if rule == _CAPTURED and architecture.model_type not in figure.names:
        return None
    number = resolved.seqs
    if rule == _CAPTURED:
        number = min(number, int(constants.number("capture_most")))
    blocks = Span(
        cache.holds([span.middle for span in room]),
        cache.holds([span.low for span in room]),
        cache.holds([span.high for span in room]),
    )
    has = blocks
    if figure.known is Known.ASSUMED:  # not every build of it refuses
        has = Span(blocks.middle, blocks.low, max(blocks.high, number))
    return Limit(
        name=LimitName.STATES,
        need=Span(number, number, number),
        has=has,
        each=max(cache.pool.stage_bytes),
        known=Known.ASSUMED if figure.known is Known.ASSUMED else Known.MODELLED,
        basis=f"{grouped(cache.pool.block)} tokens or one state each",
        said=finding(
            Rule.SEQUENCES_BEYOND_STATES if rule == _ALL_SEQUENCES else Rule.GRAPHS_BEYOND_STATES,
            Field.MAX_NUM_SEQS,
            resolved.seqs,
            most=blocks.middle,
            low=blocks.low,
            high=blocks.high,
            gpu=accelerator.title,
        ),
    )


def loading(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    *,
    physical: int,
    accelerator: Accelerator,
    constants: Constants,
) -> Limit | None:
    """The peak of loading on the stage that is loaded most; None where nothing more is held."""
    figure = constants["whole_before_quantized"]
    stored = architecture.quantization
    at_load = settings.quantization in figure.names and stored is None
    if not figure.value or not at_load or offloads(settings):
        return None
    peak = max(stage_weights(architecture, resolved.dtype, "", parallelism))
    beside = context(architecture, resolved, parallelism, accelerator, constants)
    left = physical - accelerator.reserved
    low, both = int(peak * (1 - figure.error)), peak
    if figure.value == _BOTH_HELD:
        # what 8 bits save is as large as what they take
        word = settings.quantization
        both += peak - max(stage_weights(architecture, resolved.dtype, word, parallelism))
    need = Span(both, low, round(both * (1 + figure.error)))
    has = Span(left - beside.middle, left - beside.high, left - beside.low)
    return Limit(
        name=LimitName.LOADING,
        need=need,
        has=has,
        known=figure.known,
        basis=f"{resolved.dtype}, before {settings.quantization}",
        said=finding(
            Rule.LOADED_BEFORE_QUANTIZED,
            Field.QUANTIZATION,
            settings.quantization,
            gpu=accelerator.title,
            needed=gib_up(need.middle),
            left=gib_down(max(0, has.middle)),
        ),
    )


def asleep(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    *,
    physical: int,
    accelerator: Accelerator,
    constants: Constants,
) -> Limit | None:
    """The peak of loading in sleep mode; None without it, and where no experts are converted."""
    if not VLLMOptions.of(settings).enable_sleep_mode or offloads(settings):
        return None
    figure = constants["stranded_by_sleep"]
    word = settings.quantization
    blackwell = gpu_group(accelerator) == BLACKWELL and accelerator.compute[0] == _DATA_CENTER
    names = frozenset(name for name in figure.names if name != _PLAIN or blackwell)
    experts = architecture.remembered(
        ("vllm.converted", word, names), lambda: _converted(architecture, word, names)
    )
    if not any(block.tensors for block in experts.blocks):
        return None
    padded = padding(architecture, settings, parallelism, accelerator, constants)
    converted = max(stage_weights(experts, resolved.dtype, word, parallelism, padded))
    whole = max(stage_weights(architecture, resolved.dtype, word, parallelism, padded))
    beside = context(architecture, resolved, parallelism, accelerator, constants)
    left = physical - accelerator.reserved
    stays = round(figure.value * converted)
    need = Span(whole + stays, whole, whole + round(stays * (1 + figure.error)))
    has = Span(left - beside.middle, left - beside.high, left - beside.low)
    return Limit(
        name=LimitName.LOADING,
        need=need,
        has=has,
        known=figure.known,
        basis="experts read and converted, in the pool of sleep mode",
        said=finding(
            Rule.STRANDED_BY_SLEEP,
            Field.EXTRA_ARGS,
            "--enable-sleep-mode",
            gpu=accelerator.title,
            needed=gib_up(need.middle),
            left=gib_down(max(0, has.middle)),
        ),
    )


def _converted(architecture: Architecture, word: str, names: frozenset[str]) -> Architecture:
    """A model of nothing but the experts that are held as named."""
    held = quantization_in_force(architecture, word)
    at_load = architecture.quantization is None
    kept: dict[int, Block] = {}
    for block in architecture.blocks:
        if id(block) in kept:
            continue
        tensors = tuple(
            tensor
            for tensor in block.tensors
            if tensor.part is Part.EXPERTS
            and (scheme.name if (scheme := scheme_in_force(held, at_load, tensor)) else _PLAIN)
            in names
        )
        kept[id(block)] = replace(block, tensors=tensors)
    blocks = tuple(kept[id(block)] for block in architecture.blocks)
    return replace(architecture, blocks=blocks, outside=(), extra=())


def after_cache(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    terms: Terms,
    *,
    physical: int,
    budget: int | None,
    last: bool,
    accelerator: Accelerator,
    constants: Constants,
) -> Limit:
    """What one stage takes once its cache is there, against what is left of the GPU.

    terms: of the stage. budget: bytes that the engine fills; None: its terms and no more.
    last: it is the stage that samples.
    """
    if budget is None:
        taken = Span(terms.bytes, terms.low, terms.high)
    else:
        taken = Span(budget, budget, budget)
    beside = context(architecture, resolved, parallelism, accelerator, constants)
    held = 0 if charges_others(resolved, constants) else accelerator.reserved
    left = physical - held
    free, beyond = _freed(
        terms[TermName.ACTIVATION],
        architecture,
        resolved,
        parallelism,
        accelerator,
        constants,
        last=last,
    )
    made = _graphs(architecture, resolved, parallelism, layers, accelerator, constants)
    made = _with_adapters(made, architecture, settings, resolved, layers, accelerator, constants)
    taking, basis, slack = Span(made.bytes, made.low, made.high), made.basis, _SLACK
    if charged(architecture, constants) and not resolved.eager:
        figure = constants["graphs_beyond_charge"]
        taking = Span(figure.bytes(), 0, round(figure.bytes() * (1 + figure.error)))
        basis = f"{basis}, beyond what is charged"
        if _by_nccl(parallelism, accelerator):
            slack += constants["unlinked_slack"].bytes()
    if beyond.middle:
        basis = f"{basis}, sampler of {grouped(resolved.seqs)} sequences"
    need = Span(
        taking.middle + beyond.middle,
        taking.low + beyond.low,
        taking.middle
        + beyond.middle
        + _together(taking.high - taking.middle, slack)
        + beyond.high
        - beyond.middle,
    )
    has = Span(
        left - taken.middle - beside.middle + free.middle,
        left - taken.high - beside.high + free.low,
        left - taken.low - beside.low + free.high,
    )
    return Limit(
        name=LimitName.AFTER_CACHE,
        need=need,
        has=has,
        known=made.known,
        basis=basis,
        said=finding(
            Rule.NO_ROOM_AFTER_CACHE,
            Field.UTILIZATION,
            str(resolved.utilization),
            gpu=accelerator.title,
            needed=gib(need.middle),
            left=gib(max(0, has.middle)),
            basis=basis,
        ),
    )


def _together(one: int, other: int) -> int:
    """Two errors that have nothing to do with each other."""
    return round(hypot(one, other))


def _graphs(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> Term:
    """What capturing graphs takes.

    More than two GPUs without NVLink speak by NCCL alone, which keeps buffers for each graph. On
    GPUs other than Hopper and data-center Blackwell experts and several ranks may take much more.
    """
    if resolved.eager:
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "eager mode")
    made = captured(architecture, resolved, parallelism, layers, accelerator, constants)
    high = min(made.high, round(made.bytes * constants.number("captured_most")))
    made = Term(made.name, made.bytes, made.low, max(made.bytes, high), made.known, made.basis)
    count = sizes(architecture, resolved, accelerator, constants).count
    plain = parallelism.tensor == 1 and kind(architecture) == DENSE
    if gpu_group(accelerator) == OTHER and not plain:
        most = round(constants.number("graphs_elsewhere_most") * count * layers * MIB)
        made = replace(made, high=max(made.high, most), known=Known.ASSUMED)
    if not _by_nccl(parallelism, accelerator):
        return made
    figure = constants["graphs_collective"]
    each = round(figure.value * count * layers * MIB)
    high = max(made.high, made.bytes + each, high + round(each * (1 + figure.error)))
    return replace(made, bytes=made.bytes + each, high=high, known=Known.ASSUMED)


def _with_adapters(
    made: Term,
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    layers: int,
    accelerator: Accelerator,
    constants: Constants,
) -> Term:
    """Graphs that are captured with adapters and without, where the budget is not charged."""
    twice = lora.graphs(made, settings, constants)
    most = constants.number("lora_graphs_most")
    if twice is made or not most:
        return twice
    count = 2 * sizes(architecture, resolved, accelerator, constants).count
    return replace(twice, high=max(twice.high, round(most * count * layers * MIB)))


def _by_nccl(parallelism: Parallelism, accelerator: Accelerator) -> bool:
    """Whether GPUs speak by NCCL alone: more than two of a kind that usually has no NVLink."""
    linked = gpu_group(accelerator) in (HOPPER, BLACKWELL) or "a100" in accelerator.name
    return parallelism.tensor > _OWN_ALL_REDUCE and not linked


def charges_others(resolved: Resolved, constants: Constants) -> bool:
    """Whether what other processes hold counts towards the budget."""
    return constants.flag("context_inside") and not resolved.first_engine


def _freed(
    peak: Term,
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
    *,
    last: bool,
) -> tuple[Span, Span]:
    """What a peak that is over leaves beside the sampler, and what the sampler takes beyond it."""
    none = Span(0, 0, 0)
    sampled, error = 0.0, 0.0
    warm = constants["second_warm_bytes_per_logit"]
    own = second_runner(architecture, constants)
    own = own and constants.number("second_sampler_bytes_per_logit") < warm.value
    if last and architecture.vocab_size and not resolved.first_engine:
        sampled = sampling(architecture, resolved, parallelism, accelerator, constants)
        if own:
            sequences = min(resolved.seqs, resolved.batched_tokens)
            sampled, error = warm.value * sequences * architecture.vocab_size, warm.error
    rest = Span(
        peak.bytes - round(sampled),
        peak.low - round(sampled * (1 + error)),
        peak.high - round(sampled * (1 - error)),
    )
    free = Span(max(0, rest.middle), max(0, rest.low), max(0, rest.high))
    if not own:  # the sampler's pass is part of the peak that was measured
        return free, none
    return free, Span(max(0, -rest.middle), max(0, -rest.high), max(0, -rest.low))
