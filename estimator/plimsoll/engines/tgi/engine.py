"""TGI as an `Engine`: it fills a batch at start-up, runs it, and gives out what is left.

    warm-up   a prefill of max_batch_prefill_tokens, its cache allocated, runs to its peak
    from 3.0  cache = free after it - (1 - fraction x wiggle room) x physical + the batch's cache
    before    cache = (free after it - (1 - fraction) x physical) x wiggle room + the batch's cache;
              the prefill makes the logits of every prompt token: 2 x 2 bytes x tokens x vocabulary
    starts    cache >= max_total_tokens; where that is unsaid it becomes what fits (from 3.0)
    as terms  weights + KV cache [/ wiggle room] + activation peak + context
              <= physical x fraction [x wiggle room]

CUDA graphs are captured afterwards, in the wiggle room; where they do not fit TGI goes on without
them. All layers keep all tokens; blocks are of one token with FlashInfer. Sources:
server/text_generation_server/models/flash_causal_lm.py (`warmup`) and backends/v3/src/lib.rs of
3.3.7, the last release: the project is in maintenance mode. No start-up of TGI was measured here,
so that everything but the rule is assumed.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from plimsoll.engines.assemble import (
    Engine,
    Held,
    around,
    as_asked,
    held_at_once,
    newer_version,
    stored_by_name,
    uncounted,
    weights_term,
    worst_stage,
)
from plimsoll.engines.base import Estimate, Known, Term, TermName, Terms, Workload
from plimsoll.engines.layers.gpu_memory import free_memory
from plimsoll.engines.layers.plain_cache import PlainStage, holds, need, plain_cache
from plimsoll.engines.layers.sharding import quantization_in_force, stage_weights, widths
from plimsoll.engines.tgi import checks
from plimsoll.engines.tgi.settings import (
    TABLE,
    Resolved,
    TGIOptions,
    load_quantization,
    read_arguments,
    resolve,
    write_arguments,
)
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import MixerKind
from plimsoll.paths import Field
from plimsoll.units import ceil_div, grouped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_KNOWN_KV_DTYPES: Final = frozenset(
    {"auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e4m3fn", "fp8_e5m2"}
)


class TGI(Engine):
    """TGI's memory model and command line; see `plimsoll.engines.assemble.Engine`."""

    name = "tgi"
    title = "TGI"
    stages = False
    share_flag = True
    share_said = Decimal(1)
    table = TABLE
    check = staticmethod(checks.problems)
    read = staticmethod(read_arguments)
    arguments = staticmethod(write_arguments)

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """What the worst rank of one replica needs; total for what `problems` lets through."""
        figures = TABLE.or_newest(settings.version)
        resolved = resolve(architecture, settings, parallelism, accelerator, figures)
        physical = free_memory(accelerator)
        usable = int(physical * resolved.share)
        word = load_quantization(settings.quantization)
        held = stage_weights(architecture, resolved.dtype, word, parallelism)
        stages = plain_cache(architecture, parallelism, resolved.kv_dtype, resolved.element)
        buffers = _non_torch(parallelism, figures)
        beside = [
            (
                _weights(held[stage], architecture, settings, resolved, figures),
                _activation(architecture, resolved, parallelism, stage, figures),
                buffers,
                _graphs(settings),
            )
            for stage in range(len(stages))
        ]
        room = [
            _given_out(usable - sum(t.bytes for t in terms), stage, resolved)
            for terms, stage in zip(beside, stages, strict=True)
        ]
        found = holds(stages, room)
        longest = max(resolved.max_model_len, architecture.max_model_len)
        fits = min(longest, found) if any(stage.token for stage in stages) else longest
        length = resolved.max_model_len
        if resolved.fits:
            length = max(1, min(length, fits))
        asked = held_at_once(workload, length)
        terms = [
            Terms((weight, _cache(stage, asked, architecture, resolved), *others))
            for (weight, *others), stage in zip(beside, stages, strict=True)
        ]
        worst = worst_stage(terms)
        total = min(found, TGIOptions.of(settings).max_batch_total_tokens or found)
        return Estimate(
            parallelism=parallelism,
            terms=terms[worst],
            stage=worst,
            stage_needs=tuple(one.bytes for one in terms),
            physical=physical,
            usable=usable,
            utilization=resolved.share,
            version=figures.version,
            max_model_len=length,
            max_num_seqs=resolved.requests,
            max_num_batched_tokens=resolved.prefill_tokens,
            kv_cache_dtype=resolved.kv_dtype,
            kv_capacity=room[worst],
            kv_tokens=total,
            max_concurrency=total / length,
            largest_max_model_len=fits,
            notes=tuple(_notes(architecture, settings, resolved, accelerator, figures)),
        )


def _given_out(left: int, stage: PlainStage, resolved: Resolved) -> int:
    """Bytes of cache that come of what the terms beside it leave: the batch's and a share."""
    batch = min(max(0, left), resolved.prefill_tokens * stage.token)
    return batch + int((left - batch) * Fraction(resolved.room))


def _weights(
    size: int,
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    figures: Constants,
) -> Term:
    in_force = quantization_in_force(architecture, load_quantization(settings.quantization))
    low, high = around(size, figures["weight_band"].error * (2 if architecture.multimodal else 1))
    if settings.quantization and in_force is None:
        low = size // 4
    dtype, word = resolved.dtype, settings.quantization
    held = as_asked(architecture, in_force, word)
    return weights_term(architecture, size, (low, high), Known.MODELLED, dtype, held, word)


def _cache(stage: PlainStage, held: Held, architecture: Architecture, resolved: Resolved) -> Term:
    size = need(stage, held.requests, held.tokens)
    batch = min(size, resolved.prefill_tokens * stage.token)
    room = Fraction(resolved.room)
    size = batch + ceil_div((size - batch) * room.denominator, room.numerator)
    plain = not any(
        m.kind is MixerKind.MLA or m.state_elements or m.conv_elements
        for m in architecture.mixers()
    )
    basis = f"{held}, {resolved.dtype if resolved.kv_dtype == 'auto' else resolved.kv_dtype}"
    known = Known.MODELLED if plain else Known.ASSUMED
    return Term(TermName.KV_CACHE, size, size if plain else 0, size, known, basis)


def _activation(
    architecture: Architecture,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    figures: Constants,
) -> Term:
    """The peak of the warm-up's prefill."""
    own = widths(architecture, parallelism.pipeline)[stage]
    hidden, tokens = architecture.hidden_size, resolved.prefill_tokens
    tensor, element = parallelism.tensor, resolved.element
    size = own.dense_pass(hidden, tensor, figures) * tokens * element
    if own.per_token:
        size += tokens * own.per_token * element * own.expert_workspaces(hidden, tensor)
    if resolved.all_logits:
        size += 2 * resolved.element * tokens * architecture.vocab_size
    band = figures["forward_hidden"].error
    return Term(
        TermName.ACTIVATION,
        round(size),
        0 if resolved.guessed else round(size * (1 - band)),
        round(size * (1 + band)),
        Known.ASSUMED,
        f"a prefill of {grouped(tokens)} tokens",
    )


def _non_torch(parallelism: Parallelism, figures: Constants) -> Term:
    many = parallelism.tensor > 1
    figure = figures["context_many" if many else "context_single"]
    size = figure.bytes()
    band = round(size * figure.error)
    basis = f"{parallelism.tensor} GPUs" if many else "one GPU"
    return Term(TermName.NON_TORCH, size, size - band, size + band, Known.ASSUMED, basis)


def _graphs(settings: EngineSettings) -> Term:
    basis = "switched off" if settings.enforce_eager else "captured in the wiggle room"
    return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, basis)


def _notes(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    accelerator: Accelerator,
    figures: Constants,
) -> Iterator[Finding]:
    yield finding(Rule.TGI_ASSUMED, Field.ENGINE)
    yield from newer_version(TABLE.title, figures)
    if resolved.kv_dtype not in _KNOWN_KV_DTYPES:
        dtype = resolved.kv_dtype
        yield finding(Rule.CACHE_DTYPE_ASSUMED, Field.KV_CACHE_DTYPE, dtype=dtype)
    if resolved.fits and resolved.max_model_len == architecture.max_model_len:
        yield finding(Rule.LONGEST_CONTEXT_TAKEN, Field.MAX_MODEL_LEN)
    yield from stored_by_name(architecture)
    yield from uncounted(settings, accelerator)
