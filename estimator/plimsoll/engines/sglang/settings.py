"""What SGLang is told and what holds otherwise: figures by version, flags, options, defaults.

The default of ``--mem-fraction-static``: the engine's own rule, by version.

    to 0.4.5        by tensor-parallel size: 0.88, 0.87 (2), 0.85 (4), 0.81 (8), 0.79 (16)
    0.4.6, 0.4.7    the same up to 80 GiB, else 0.88; above 96 GiB the smaller of
                    f + 48 GiB x (1 - f) / GPU and (GPU - 18 GiB) / GPU
    0.4.8 to 0.5.2  (GPU - reserved) / GPU; reserved by GPU size: 2.8 + n/10, 9.5 + n/2, 12 + n/2
                    or 32 GiB (n = TP x PP), 4 GiB more with data-parallel attention
    from 0.5.3      reserved MiB = 512 + 1.5 x max(chunk, 2048) + 128 x TP x PP + 2 x graphs
                    [+ 3 or 4.5 x graphs x DP with data-parallel attention]
                    [+ 8 x prefill graphs, or 1536 with MLA, from 0.5.10]; at least 10240 above
                    60 GiB
    images          x 0.9 (to 0.5.0), x 0.95 x (1.1 - 0.1 x tower / ViT-L), between 0.8 and 1.05

GPU is the memory that ``nvidia-smi`` shows, in MiB; graphs the largest captured batch. Source:
sglang/srt/server_args.py of the versions named in data/constants.json, and from 0.5.19
sglang/srt/arg_groups/memory_hook.py (`handle_gpu_memory_settings`).

If the user says nothing:

    context            as said, else the model's own
    chunk, graphs      by GPU memory and version (data/constants.json); with data-parallel
                       attention the chunk is divided by its ranks after the share is set
    page               as said, else 1; 64 for sparse attention and the backends that want it
    KV cache dtype     as said, else the checkpoint's, else the model's

How flags and the split of a replica go together:

    --tp-size --pp-size --dp-size        tensor, pipeline, data; dp replicas have GPUs of their own
    the same with --enable-dp-attention  dp lies inside tp: tensor = tp / dp, data = dp; the fields
                                         tensor and data mean the same as these flags. A tensor
                                         that data does not divide is that of attention alone
    --attn-dp-size                       both flags in one (0.5.23)
    --ep-size, --enable-ep-moe           experts whole on ranks, each cut over tp / ep of them
    --moe-a2a-backend                    all but none: experts and shared experts whole, ep = tp
    --chunked-prefill-size               maxNumBatchedTokens; -1: off, then --max-prefill-tokens
    --mem-fraction-static                gpuMemoryUtilization
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Options, Reading
from plimsoll.engines.flags import is_flag
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.sglang.compressed import PAGE, is_compressed
from plimsoll.engines.tables import VersionTable
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import MixerKind, Part
from plimsoll.paths import Field
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

TABLE: Final = VersionTable("SGLang", Path(__file__).parent / "data/constants.json")


@dataclass(frozen=True, slots=True)
class Tier:
    """What a GPU of a size starts with. chunk: prefill tokens at once; graphs: the largest batch
    that is captured, below four tensor-parallel GPUs and from four on.
    """

    chunk: int
    graphs: int
    graphs_from_four: int


@lru_cache(maxsize=512)
def tier(version: str, mib: int) -> Tier:
    """The defaults of a version for a GPU of so many MiB (as ``nvidia-smi`` says)."""
    wanted = TABLE.parse(version)
    rows = next(
        entry["rows"]
        for entry in reversed(TABLE.data["tiers"]["from"])
        if TABLE.parse(entry["since"]) <= wanted
    )
    row = next(row for row in rows if mib < row[0] or row[0] == 0)
    return Tier(row[1], row[2], row[3])


@lru_cache(maxsize=512)
def sliding_pool(version: str, class_name: str) -> bool:
    """Whether sliding layers of a model class have a pool of their own in a version."""
    since = TABLE.data["sliding_pools"]["classes"].get(class_name)
    return since is not None and TABLE.parse(since) <= TABLE.parse(version)


@lru_cache(maxsize=512)
def buffered_states(version: str, class_name: str) -> bool:
    """Whether requests of a model class hold slots for snapshots of their states by default."""
    table = TABLE.data["buffered_states"]
    return class_name in table["classes"] and TABLE.parse(table["since"]) <= TABLE.parse(version)


_LEAST: Final = 0.05
_VIT_L: Final = 24 * 1024**2
"""Layers x hidden size squared of the vision tower that the rule compares with."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rule looks at. mib: of the GPU; ranks: tensor x pipeline; graphs: the largest
    captured batch, 0 where none is; attention_ranks: data-parallel attention's, else 0.
    """

    mib: int
    tensor: int
    ranks: int
    chunk: int
    graphs: int
    attention_ranks: int
    prefill_graphs: bool


def default_fraction(architecture: Architecture, asked: Asked, figures: Constants) -> Decimal:
    """The share that the engine takes where nothing is said."""
    rule = int(figures.number("fraction_rule"))
    if rule <= 1:
        share = _by_ranks(asked, figures, rule)
    else:
        reserved = _by_size(asked) if rule == 2 else _by_use(architecture, asked, figures)
        share = round((asked.mib - reserved) / max(1, asked.mib), 3)
    if architecture.multimodal:
        share *= _vision(architecture, int(figures.number("vision_rule")))
    return Decimal(str(round(max(_LEAST, share), 6)))


def _by_ranks(asked: Asked, figures: Constants, rule: int) -> float:
    ranks = asked.ranks if rule else asked.tensor
    name = next((n for n in (16, 8, 4, 2) if ranks >= n), 1)
    share = figures.number(f"fraction_tensor_{name}")
    if rule == 0:
        return share
    if asked.mib > 80 * 1024:
        share = figures.number("fraction_tensor_1")
    huge = figures.number("fraction_huge")
    if huge and asked.mib > 180_000:
        return huge
    if asked.mib > 96 * 1024:
        more = share + 48 * 1024 * (1 - share) / asked.mib
        return min(more, (asked.mib - 18 * 1024) / asked.mib)
    return share


def _by_size(asked: Asked) -> float:
    """MiB reserved on a GPU of a size."""
    steps = ((35, 2.8, 10), (90, 9.5, 2), (160, 12.0, 2))
    step = next((s for s in steps if asked.mib < s[0] * 1024), None)
    reserved = 32 * 1024.0 if step is None else (step[1] + asked.ranks / step[2]) * 1024
    return reserved + (4 * 1024 if asked.attention_ranks else 0)


def _by_use(architecture: Architecture, asked: Asked, figures: Constants) -> float:
    """MiB reserved for prefill, graphs and parallelism."""
    reserved = 512 + 1.5 * max(asked.chunk, 2048) + asked.ranks / 8 * 1024 + 2 * asked.graphs
    if asked.attention_ranks:
        many = 4.5 if asked.graphs > 300 else 3.0
        reserved += many * asked.graphs * asked.attention_ranks
    if asked.prefill_graphs and figures.flag("prefill_graphs"):
        latent = any(m.kind is MixerKind.MLA for m in architecture.mixers())
        reserved += 1536 if latent else 8 * prefill_graph_sizes(asked.chunk)
    return max(reserved, 10 * 1024) if asked.mib > 60 * 1024 else reserved


def prefill_graph_sizes(most: int) -> int:
    """How many sizes of prefill batches are captured, up to so many tokens."""
    spans = (
        (4, 32, 4),
        (48, 256, 16),
        (288, 512, 32),
        (576, 1024, 64),
        (1280, 4096, 256),
        (4608, most, 512),
    )
    return sum(len(range(first, min(last, most) + 1, step)) for first, last, step in spans)


def _vision(architecture: Architecture, rule: int) -> float:
    """What is left of the share for models with a vision tower."""
    if rule == 0:
        return 1.0
    if rule == 1:
        return 0.9
    layers, hidden = _tower(architecture)
    if not layers:
        return 1.0
    return 0.95 * max(0.8, min(1.05, 1.1 - 0.1 * layers * hidden**2 / _VIT_L))


def _tower(architecture: Architecture) -> tuple[int, int]:
    """Layers and hidden size of the vision tower, as the rule reads them; (0, 0) for none.

    The rule asks the config for ``num_hidden_layers`` and takes 24 where it is called ``depth``,
    as Qwen's towers call it.
    """
    for tensor in architecture.outside:
        if tensor.part is Part.VISION and tensor.copies > 1 and len(tensor.shape) > 1:
            layers = 24 if architecture.model_type.startswith("qwen") else tensor.copies
            return layers, tensor.shape[-1]
    return 0, 0


DEFAULT_PREFILL: Final = 16384
"""Tokens of a prefill batch where chunking is off (``--max-prefill-tokens``)."""
_PAGES: Final = {"flashmla": 64, "cutlass_mla": 128, "trtllm_mla": 64, "trtllm_mha": 64}
_FOUR: Final = 4


@dataclass(frozen=True, slots=True)
class SGLangOptions(Options):
    """What only SGLang can be told. chunked_prefill_size: 0 or less switches chunking off."""

    attention_backend: str | None = None
    attn_dp_size: int | None = None
    chunked_prefill_size: int | None = None
    cuda_graph_max_bs: int | None = None
    disable_hybrid_swa_memory: bool | None = None
    disable_piecewise_cuda_graph: bool | None = None
    disable_radix_cache: bool | None = None
    enable_dp_attention: bool | None = None
    enable_dp_lm_head: bool | None = None
    expert_parallel_size: int | None = None
    mamba_full_memory_ratio: str | None = None
    mamba_radix_cache_strategy: str | None = None
    mamba_ssm_dtype: str | None = None
    max_mamba_cache_size: int | None = None
    max_prefill_tokens: int | None = None
    max_total_tokens: int | None = None
    moe_a2a_backend: str | None = None
    moe_dense_tp_size: int | None = None
    swa_full_tokens_ratio: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """One start-up. chunk: prefill tokens at once; graphs: the largest captured batch (0: none).

    prefill: the largest batch of prefill tokens that is captured (0: none). page: tokens of a
    page; radix: whether prefixes are kept; attention_ranks: ranks of data-parallel attention,
    else 1.
    """

    max_model_len: int
    chunk: int
    graphs: int
    prefill: int
    fraction: Decimal
    dtype: str
    element: int
    kv_dtype: str
    page: int
    radix: bool
    attention_ranks: int


def has_attention_ranks(settings: EngineSettings) -> bool:
    """Whether attention is data-parallel within the tensor-parallel group."""
    options = SGLangOptions.of(settings)
    return bool(options.enable_dp_attention) or (options.attn_dp_size or 1) > 1


def tensor_counts(settings: EngineSettings, data: int) -> int:
    """Data ranks that lie inside the tensor size as a user writes it."""
    return data if has_attention_ranks(settings) else 1


def spreads_experts(settings: EngineSettings) -> bool:
    """Whether tokens are sent to their experts, so that experts and shared experts lie whole."""
    return (SGLangOptions.of(settings).moe_a2a_backend or "none") != "none"


def expert_ways(settings: EngineSettings, world: int, expert: bool) -> int:
    """Over how many ranks one expert is cut: TP / EP; TP of attention's data ranks included."""
    if not expert:
        return world
    said = SGLangOptions.of(settings).expert_parallel_size
    return max(1, world // said) if said and not spreads_experts(settings) else 1


def resolve(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism,
    accelerator: Accelerator,
    figures: Constants,
) -> Resolved:
    """The settings with the engine's defaults filled in."""
    options = SGLangOptions.of(settings)
    start = tier(figures.version, accelerator.memory // MIB)
    ranks = parallelism.data if has_attention_ranks(settings) else 1
    tensor = parallelism.tensor * ranks
    chunk = settings.max_num_batched_tokens or start.chunk
    if (options.chunked_prefill_size or 0) < 0:
        chunk = options.max_prefill_tokens or DEFAULT_PREFILL
    graphs = options.cuda_graph_max_bs or (
        start.graphs_from_four if tensor >= _FOUR else start.graphs
    )
    requests = settings.max_num_seqs
    if (
        requests is not None
        and options.cuda_graph_max_bs is None
        and figures.flag("graphs_capped_by_requests")
    ):
        graphs = min(graphs, requests)
    captures = _captures_prefill(architecture, settings, parallelism, accelerator, figures)
    asked = Asked(
        accelerator.memory // MIB,
        tensor,
        tensor * parallelism.pipeline,
        chunk,
        0 if settings.enforce_eager and figures.flag("graphs_dropped_when_off") else graphs,
        ranks if ranks > 1 else 0,
        captures,
    )
    captured = captures and figures.flag("prefill_graphs")
    dtype = weight_dtype(architecture, settings.dtype)
    return Resolved(
        max(1, settings.max_model_len or architecture.max_model_len),
        max(1, chunk // ranks),
        0 if settings.enforce_eager else graphs,
        _captured(architecture, chunk, figures) if captured else 0,
        settings.utilization
        if settings.utilization is not None
        else default_fraction(architecture, asked, figures),
        dtype,
        WEIGHT_BYTES.get(dtype, 2),
        _kv_dtype(architecture, settings.kv_cache_dtype),
        settings.block_size or _page(architecture, options.attention_backend),
        not options.disable_radix_cache,
        ranks,
    )


def _captures_prefill(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism,
    accelerator: Accelerator,
    figures: Constants,
) -> bool:
    """Whether prefill batches are captured: not with data-parallel attention, stages, tokens sent
    to experts, on GPUs that are not NVIDIA's, nor (to 0.5.13) with a tower.
    """
    options, first = SGLangOptions.of(settings), figures.flag("prefill_graphs_when_off")
    return not (
        options.disable_piecewise_cuda_graph
        or (settings.enforce_eager and not first)
        or has_attention_ranks(settings)
        or parallelism.pipeline > 1
        or spreads_experts(settings)
        or accelerator.resource.startswith("amd.com/")
        or (architecture.multimodal and first)
    )


def _captured(architecture: Architecture, chunk: int, figures: Constants) -> int:
    """Tokens of the largest prefill batch that is captured."""
    latent = any(m.kind is MixerKind.MLA for m in architecture.mixers())
    return min(chunk, int(figures.number("prefill_graphs_mla_tokens"))) if latent else chunk


def _kv_dtype(architecture: Architecture, word: str) -> str:
    """The cache dtype in force; compressed caches are always of 8 bits."""
    found = kv_dtype(architecture, word)
    return "fp8_e4m3" if found == "auto" and is_compressed(architecture) else found


def _page(architecture: Architecture, backend: str | None) -> int:
    if is_compressed(architecture):
        return PAGE
    if any(m.index_dim for m in architecture.mixers()):
        return 64
    return _PAGES.get(backend or "", 1)


GRAMMAR: Final = flags.grammar("SGLang", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    if not args:
        return Reading(settings, asked)
    ranks = any(_is_for_attention(flag) for flag in args)
    # Data-parallel attention changes what --tp-size means: it is compared once dp is known.
    plain = replace(asked, expert=None, tensor=None if ranks else asked.tensor)
    command = flags.read(GRAMMAR, args, settings, plain)
    options, split, problems = command.options, command.split, command.problems
    settings = _chunk(command.settings, options, problems)
    if ranks:
        split = _attention_split(split, asked, options, problems)
    split = replace(split, expert=_expert(options, asked, problems))
    settings = replace(settings, options=SGLangOptions(**options).or_none())
    return command.reading(settings, split)


def _is_for_attention(flag: str) -> bool:
    """Whether a flag makes attention data-parallel."""
    names = {"enable_dp_attention", "attn_dp_size"}
    return is_flag(flag) and GRAMMAR.find(flag.partition("=")[0])[0].sets in names


def _chunk(
    settings: EngineSettings, options: dict[str, Any], problems: list[Finding]
) -> EngineSettings:
    """``--chunked-prefill-size`` is maxNumBatchedTokens, unless it switches chunking off."""
    chunk, typed = options.get("chunked_prefill_size"), settings.max_num_batched_tokens
    if chunk is not None and typed not in (None, chunk):
        problems.append(
            finding(
                Rule.FLAG_CONTRADICTS_FIELD,
                Field.EXTRA_ARGS,
                f"--chunked-prefill-size={chunk}",
                typed=Field.MAX_NUM_BATCHED_TOKENS,
                value=str(typed),
            )
        )
    if chunk is None or chunk <= 0:
        return settings
    del options["chunked_prefill_size"]
    return replace(settings, max_num_batched_tokens=chunk)


def _attention_split(
    split: AskedSplit, asked: AskedSplit, options: dict[str, Any], problems: list[Finding]
) -> AskedSplit:
    """The split with data ranks inside the tensor size: tensor becomes that of attention."""
    data = split.data
    if (ways := options.get("attn_dp_size")) is not None:
        if data not in (None, 1, ways):
            rule, given = Rule.ATTENTION_RANKS_BESIDE_COPIES, f"--attn-dp-size={ways}"
            problems.append(finding(rule, Field.EXTRA_ARGS, given, data=data or 1))
        data = ways if ways > 1 else data or 1
    said, own = split.tensor, asked.tensor
    typed = own if own is None or own % (data or 1) else own // (data or 1)
    split = replace(split, data=data, tensor=typed)
    if said is None:
        return split
    if not data or said % data:
        given, rule = f"--tp-size={said}", Rule.ATTENTION_RANKS_DO_NOT_DIVIDE
        problems.append(finding(rule, Field.EXTRA_ARGS, given, data=str(data or "unsaid")))
        return split
    if own not in (None, said, said // data):
        rule, given = Rule.ATTENTION_RANKS_CONTRADICT, f"--tp-size={said}"
        problems.append(finding(rule, Field.EXTRA_ARGS, given, tensor=own or 1, data=data))
    return replace(split, tensor=said // data)


def _expert(options: dict[str, Any], asked: AskedSplit, problems: list[Finding]) -> bool | None:
    """Whether experts lie whole on ranks, by the flags or the typed field."""
    ranks = options.get("expert_parallel_size")
    if ranks == 1:
        del options["expert_parallel_size"]
    whole = [options.pop(name, None) for name in ("enable_ep_moe", "enable_deepep_moe")]
    if options.get("moe_a2a_backend", "none") != "none":
        whole.append(True)
    if ranks is None and not any(whole):
        return asked.expert
    said = (ranks or 1) > 1 or any(whole)
    if asked.expert not in (None, said):
        problems.append(
            finding(
                Rule.FEATURE_CONTRADICTS_FIELD,
                Field.EXTRA_ARGS,
                written="--ep-size",
                typed=Field.EXPERT,
                value=str(asked.expert).lower(),
            )
        )
    return said


def write_arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``sglang.launch_server`` that make it run as estimated, the user's own last."""
    split, options = estimate.parallelism, SGLangOptions.of(settings).as_mapping()
    tensor = split.tensor * (split.data if has_attention_ranks(settings) else 1)
    values = flags.values_to_write(estimate, settings) | {"tensor": tensor}
    if options["attn_dp_size"]:
        values["data"] = None
    options["expert_parallel_size"] = (
        options["expert_parallel_size"] or tensor if split.expert else None
    )
    if settings.max_num_batched_tokens is not None:
        options["chunked_prefill_size"] = settings.max_num_batched_tokens
    return (*GRAMMAR.write(values, options), *GRAMMAR.passed_on(settings))
