"""SGLang as an `Engine`: weights and token pool in the static share, everything else in the rest.

The start-up condition is the engine's own (``profile_max_num_token``), with ``free`` what it sees
before it loads:

    free      physical - context                          context, NCCL: gone before
    pool      free x fraction - weights [- 100 MiB for images from 0.5.19]
    starts    pool holds at least a token; here: what is asked of it
    as terms  weights + KV cache + context x fraction <= physical x fraction
              \\_______ required ______________________/    \\____ usable ____/

    rest      free x (1 - fraction) must hold the request table, the graphs and the largest
              prefill. Where it does not, the engine fills its pool and runs out of memory all
              the same: then the KV cache is the whole pool, and what is missing stands under
              activation.

`kv_tokens` is max_total_num_tokens as logged, times data-parallel ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from plimsoll.engines.layers.sharding import quantization_in_force, stage_layers
from plimsoll.engines.sglang import checks
from plimsoll.engines.sglang.compressed import DEFAULT_REQUESTS, held, is_compressed
from plimsoll.engines.sglang.memory import (
    Amount,
    context,
    forward,
    graphs,
    load_quantization,
    prefill_graphs,
    request_table,
    sends_tokens,
    weights,
)
from plimsoll.engines.sglang.pools import KNOWN_KV_DTYPES, Pools, pools
from plimsoll.engines.sglang.releases import model_notes
from plimsoll.engines.sglang.settings import (
    TABLE,
    Resolved,
    read_arguments,
    resolve,
    tensor_counts,
    write_arguments,
)
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import ceil_div, gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture


class SGLang(Engine):
    """SGLang's memory model and command line; see `plimsoll.engines.assemble.Engine`."""

    name = "sglang"
    share_flag = True
    title = "SGLang"
    narrow_cache = "fp8_e4m3"
    table = TABLE
    check = staticmethod(checks.problems)
    read = staticmethod(read_arguments)
    tensor_counts = staticmethod(tensor_counts)
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
        case = _Case(architecture, settings, parallelism, resolved, figures)
        physical = free_memory(accelerator)
        usable = int(physical * resolved.fraction)
        gone = context(parallelism, case.tensor, accelerator, figures)
        before = _share(gone, resolved)
        reserve = figures["multimodal_reserve"].bytes() if architecture.multimodal else 0
        slack = figures["weight_slack"].bytes()
        lying = held(architecture, accelerator, figures)
        loaded = [size + slack for size in weights(lying, settings, resolved, parallelism)]
        store = pools(architecture, settings, resolved, parallelism, figures)
        room = [usable - before.bytes - reserve - size for size in loaded]
        tokens = store.tokens(room)
        compressed = is_compressed(architecture)
        seqs = _requests(settings, resolved, tokens, figures, compressed=compressed)
        asked = held_at_once(
            workload,
            resolved.max_model_len,
            parallelism.data,
            lambda requests, tokens: sum(
                store.need(stage, requests, tokens) for stage in range(len(store.stages))
            ),
        )
        basis = f"{asked}, {case.kv_word}"
        rest = physical - gone.bytes - usable + before.bytes
        stages = []
        for stage, (start, end) in enumerate(
            stage_layers(len(architecture.blocks), parallelism.pipeline)
        ):
            beside = case.beside(stage, end - start, seqs)
            short = Amount(*(max(0, n - rest) for n in beside.in_all))
            cache = store.need(stage, asked.requests, asked.tokens)
            pool = max(cache, room[stage])
            filled = Amount(*(pool if n else cache for n in (short.bytes, short.low, short.high)))
            terms = (
                _weights(loaded[stage], case),
                _cache(filled, case, basis),
                _activation(short, beside, rest, reserve),
                _before(before, gone),
                _graphs(beside, resolved),
            )
            stages.append(Terms(terms))
        worst = worst_stage(stages)
        usable = _capped(usable, stages[worst], store, worst, asked)
        return Estimate(
            parallelism=parallelism,
            terms=stages[worst],
            stage=worst,
            stage_needs=tuple(one.bytes for one in stages),
            physical=physical,
            usable=usable,
            utilization=resolved.fraction,
            version=figures.version,
            max_model_len=resolved.max_model_len,
            max_num_seqs=seqs,
            max_num_batched_tokens=resolved.chunk,
            kv_cache_dtype=resolved.kv_dtype,
            kv_capacity=room[worst],
            kv_tokens=tokens * parallelism.data,
            max_concurrency=(
                store.requests(room, tokens, resolved.max_model_len) * parallelism.data
            ),
            largest_max_model_len=store.longest(
                room, max(resolved.max_model_len, architecture.max_model_len)
            ),
            notes=tuple(_notes(case, accelerator, settings)),
        )

    def shortened(self, estimate: Estimate, settings: EngineSettings) -> int:
        """It starts with any pool, if the rest holds all beside it; longer requests are refused."""
        beside = estimate.terms[TermName.ACTIVATION]
        reserve = TABLE.or_newest(settings.version)["multimodal_reserve"].bytes()
        if settings.max_model_len is not None or beside.high > reserve:
            return 0
        return estimate.largest_max_model_len


@dataclass(frozen=True, slots=True)
class _Beside:
    """What the rest must hold: the request table, graphs of decoding and prefill, a prefill."""

    table: Amount
    graphs: Amount
    prefill: Amount
    forward: Amount

    @property
    def in_all(self) -> tuple[int, int, int]:
        total = self.table + self.graphs + self.prefill + self.forward
        return total.bytes, total.low, total.high


@dataclass(frozen=True, slots=True)
class _Case:
    """One start-up: what all terms look at."""

    architecture: Architecture
    settings: EngineSettings
    parallelism: Parallelism
    resolved: Resolved
    figures: Constants

    @property
    def tensor(self) -> int:
        """GPUs of one tensor-parallel group, data-parallel attention included."""
        return self.parallelism.tensor * self.resolved.attention_ranks

    @property
    def kv_word(self) -> str:
        """The dtype of the cache in one word."""
        dtype = self.resolved.kv_dtype
        return self.resolved.dtype if dtype == "auto" else dtype

    def beside(self, stage: int, layers: int, seqs: int) -> _Beside:
        """What the rest must hold on a rank of one stage."""
        a, r, f = self.architecture, self.resolved, self.figures
        return _Beside(
            request_table(ceil_div(seqs, r.attention_ranks), r),
            graphs(a, r, self.tensor, layers, f),
            prefill_graphs(r, layers, f),
            forward(a, self.settings, r, self.parallelism, self.tensor, stage, f),
        )


def _share(gone: Amount, resolved: Resolved) -> Amount:
    """The static share of what was gone before: its part of the sum that must stay below usable."""
    return Amount(*(int(n * resolved.fraction) for n in (gone.bytes, gone.low, gone.high)))


def _requests(
    settings: EngineSettings,
    resolved: Resolved,
    tokens: int,
    figures: Constants,
    *,
    compressed: bool,
) -> int:
    """Requests that run at once: as said, else by the tokens of the pool."""
    ranks = resolved.attention_ranks
    each = min(max(tokens * 512 // resolved.max_model_len, 2048), 4096)
    if compressed:
        each = max(1, DEFAULT_REQUESTS // ranks)
    if settings.max_num_seqs is not None:
        each = max(1, settings.max_num_seqs // ranks)
    if figures.flag("requests_halved"):
        each = max(1, min(each, tokens // 2)) if tokens > 1 else each
    return each * ranks


def _weights(size: int, case: _Case) -> Term:
    architecture, settings = case.architecture, case.settings
    in_force = quantization_in_force(architecture, load_quantization(settings.quantization))
    unknown = bool(settings.quantization) and in_force is None
    default = in_force.default if in_force is not None else None
    packed = default is not None and default.name in ("mxfp4", "nvfp4")
    wide = (
        architecture.assumed
        or architecture.multimodal
        or packed
        or unknown
        or (in_force is not None and architecture.quantization is None)
        or case.resolved.attention_ranks > 1
    )
    figure = case.figures["weight_band_wide" if wide else "weight_band"]
    slack = case.figures["weight_slack"].bytes()
    most = case.figures["weight_slack_most"].bytes() - slack
    low, high = around(size, figure.error)
    band = (size // 4 if unknown else max(0, min(size - slack, low)), max(size + most, high))
    known = figure.known if wide else Known.MODELLED
    held = as_asked(architecture, in_force, settings.quantization)
    dtype, word = case.resolved.dtype, settings.quantization
    return weights_term(architecture, size, band, known, dtype, held, word)


def _cache(size: Amount, case: _Case, basis: str) -> Term:
    known = Known.EXACT if case.resolved.kv_dtype in KNOWN_KV_DTYPES else Known.ASSUMED
    low = size.low if known is Known.EXACT else size.low // 4
    return Term(TermName.KV_CACHE, size.bytes, low, size.high, known, basis)


def _activation(short: Amount, beside: _Beside, rest: int, reserve: int) -> Term:
    """What the rest cannot hold, and what images have set aside; mostly nothing."""
    need = gib(beside.in_all[0])
    basis = f"about {need} in the {gib(max(0, rest))} beside the static share"
    return Term(
        TermName.ACTIVATION,
        short.bytes + reserve,
        short.low + reserve,
        short.high + reserve,
        Known.ASSUMED if short.high else Known.MODELLED if reserve else Known.EXACT,
        basis,
    )


def _before(before: Amount, gone: Amount) -> Term:
    return Term(
        TermName.NON_TORCH,
        before.bytes,
        before.low,
        before.high,
        Known.MODELLED,
        f"static share of the {gib(gone.bytes)} gone before weights are loaded",
    )


def _graphs(beside: _Beside, resolved: Resolved) -> Term:
    if not resolved.graphs and not resolved.prefill:
        return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, "switched off")
    size = gib((beside.graphs + beside.prefill).bytes)
    basis = f"about {size}, beside the static share"
    return Term(TermName.CUDA_GRAPHS, 0, 0, 0, Known.EXACT, basis)


def _capped(usable: int, terms: Terms, store: Pools, stage: int, asked: Held) -> int:
    """Usable bytes where ``--max-total-tokens`` ends the pool below what is asked of it."""
    if not store.most or asked.requests * asked.tokens <= store.most:
        return usable
    cache = min(store.need(stage, 1, store.most), max(0, terms[TermName.KV_CACHE].low - 1))
    return min(usable, terms.low_beside_cache + cache)


def _notes(case: _Case, accelerator: Accelerator, settings: EngineSettings) -> Iterator[Finding]:
    yield from newer_version(TABLE.title, case.figures)
    yield from model_notes(case.architecture, settings)
    if sends_tokens(case.architecture, settings, case.parallelism, case.resolved.attention_ranks):
        yield finding(Rule.SHARED_EXPERTS_WHOLE, Field.EXTRA_ARGS, ranks=case.tensor)
    if case.resolved.kv_dtype not in KNOWN_KV_DTYPES:
        dtype = case.resolved.kv_dtype
        yield finding(Rule.CACHE_SIZE_ASSUMED, Field.KV_CACHE_DTYPE, dtype=dtype)
    yield from stored_by_name(case.architecture)
    yield from uncounted(settings, accelerator)
