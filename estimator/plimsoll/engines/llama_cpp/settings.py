"""What llama.cpp is told and what holds otherwise: flags, options, defaults, figures by version.

If the user says nothing:

    cells            what --ctx-size says; else what the workload and max_model_len ask for
    one request      the whole context where slots share one cache, else its share of it
    unsaid context   4096 tokens, from b7410 the model's own
    slots            --parallel; unsaid 1, from b6907 four that share one cache; as many as the
                     workload holds at once
    layers on GPU    all, unless --gpu-layers says fewer
    micro-batch      at most the batch, and that at most the context

Source: common/common.h, src/llama-context.cpp and tools/server of llama.cpp.

On the command line ``--flag=value`` is refused: the engine's own parser does not know it.

    --split-mode row, tensor    not modelled: the estimate is of a split by layers, and a denial
                                becomes a warning that names the flag
    --fit on                    the engine lowers what nobody said until it fits: the same
    --model, --hf-file          a name such as model-Q4_K_M.gguf says the file type
    --hf-repo                   owner/model-GGUF:Q8_0; without a type the engine takes Q4_K_M
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Options, Reading
from plimsoll.engines.llama_cpp.files import CACHE_TYPES, FILE_TYPES, file_type
from plimsoll.engines.tables import VersionTable
from plimsoll.errors import Unreadable
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import ceil_div, parse_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate, Workload
    from plimsoll.engines.tables import Constants, Version
    from plimsoll.models.architecture import Architecture

_BUILD: Final = re.compile(r"(?:[A-Za-z0-9._-]{0,64}[-_])?[bB]?([0-9]{3,6})(?:\.0)?")


class Builds(VersionTable):
    """The data file, by build number."""

    def parse(self, text: str) -> Version:
        """``"b9440"``, ``"9440"`` or ``"server-cuda-b9440"``. Raises `Unreadable`."""
        match = _BUILD.fullmatch(text.strip()) if len(text) <= 128 else None
        if match is None:
            raise Unreadable(text, "a build of llama.cpp such as b9440")
        oldest = int(self.data["oldest"].partition(".")[0])
        if int(match[1]) < oldest:
            raise Unreadable(text, f"a build of llama.cpp from b{oldest} on")
        return (int(match[1]), 0, 0)

    def _constants(self, version: Version) -> Constants:
        return replace(super()._constants(version), version=f"b{version[0]}")


TABLE: Final = Builds("llama.cpp", Path(__file__).parent / "data/constants.json")
ALL_LAYERS: Final = 1 << 30
_MOST_SLOTS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class LlamaCppOptions(Options):
    """What only llama.cpp can be told. mmproj: the file of a projector; False: none."""

    gpu_layers: str | None = None
    ctx_size: int | None = None
    kv_unified: bool | None = None
    split_mode: str | None = None
    fit: str | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    ubatch_size: int | None = None
    tensor_split: str | None = None
    flash_attn: str | None = None
    swa_full: bool | None = None
    kv_offload: bool | None = None
    cpu_moe: bool | None = None
    n_cpu_moe: int | None = None
    mmproj: str | bool | None = None
    spec_type: str | None = None
    spec_draft_n_max: int | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """One start-up with everything said.

    max_model_len: tokens that one request may have. context: tokens of cache that are asked
    for, all slots together. fixed: the user gave the context, so that it is what there will be.
    slots: requests at a time. unified: they share one cache. file: nominal file type; known:
    whether that was said or follows from the checkpoint. k_type, v_type: of the cache.
    gpu_layers: layers, and the output as one more. shares: of each GPU. host_experts: first
    layers whose experts stay in main memory. on_gpu: the cache lies with its layers. drafts: tokens
    that are drafted and may be taken back. own_head: by the model's own last layer (MTP).
    """

    max_model_len: int
    context: int
    fixed: bool
    slots: int
    unified: bool
    batch: int
    micro_batch: int
    file: str
    known: bool
    k_type: str
    v_type: str
    flash_attention: bool
    swa_full: bool
    gpu_layers: int
    shares: tuple[Fraction, ...]
    host_experts: int
    on_gpu: bool
    projector: bool
    drafts: int
    own_head: bool


def resolve(
    architecture: Architecture, settings: EngineSettings, workload: Workload, figures: Constants
) -> Resolved:
    """The settings with the defaults of a build filled in; total."""
    options = LlamaCppOptions.of(settings)
    slots = _slots(settings, workload, figures)
    unified = _unified(settings, options, figures)
    said = options.ctx_size
    fixed = bool(said)
    length = settings.max_model_len
    if length is None:
        whole = said or int(figures.number("default_context")) or architecture.max_model_len
        length = whole if unified else whole // slots if fixed else whole
    length = max(1, min(length, _most(architecture)))
    context = said or _asked(workload, length, slots, unified)
    batch = min(settings.max_num_batched_tokens or int(figures.number("batch")), max(context, 1))
    micro = min(batch, options.ubatch_size or int(figures.number("micro_batch")))
    flash = options.flash_attn or "auto"
    file, known = nominal_file(architecture, settings)
    return Resolved(
        length,
        context,
        fixed,
        slots,
        unified,
        batch,
        max(1, micro),
        file,
        known,
        _cache_type(options.cache_type_k or settings.kv_cache_dtype),
        _cache_type(options.cache_type_v or settings.kv_cache_dtype),
        figures.flag("flash_attention") if flash == "auto" else flash not in _OFF,
        bool(options.swa_full) or not figures.flag("sliding_cache"),
        _gpu_layers(options.gpu_layers or "all"),
        shares(options.tensor_split or ""),
        len(architecture.blocks) if options.cpu_moe else options.n_cpu_moe or 0,
        options.kv_offload is not False,
        architecture.multimodal and bool(options.mmproj),
        _drafts(options),
        _MTP in (options.spec_type or "").split(","),
    )


_MTP: Final = "draft-mtp"
_DRAFTS: Final = (_MTP, "draft-eagle3", "draft-dflash", "draft-dspark")
"""Kinds of drafting for which states are kept for every token drafted
(``need_n_rs_seq`` of common/common.h)."""
_DRAFTED: Final = 3


def _drafts(options: LlamaCppOptions) -> int:
    """Tokens drafted at once, of which states are kept; 0 for none."""
    if not any(kind in _DRAFTS for kind in (options.spec_type or "").split(",")):
        return 0
    said = options.spec_draft_n_max
    return _DRAFTED if said is None else said


_OFF: Final = ("off", "0", "false", "disabled", "False")


def nominal_file(architecture: Architecture, settings: EngineSettings) -> tuple[str, bool]:
    """The nominal file type, and whether the user or the checkpoint says it.

    Where neither does, it is the 16 bits that a conversion keeps: the most that it can be.
    """
    said = file_type(settings.quantization) if settings.quantization else None
    if said is not None:
        return said, True
    held = architecture.quantization
    if held is not None:
        own = file_type(held.method)
        if own is not None:
            return own, True
    plain = {"float32": "f32", "bfloat16": "bf16"}.get(architecture.dtype, "f16")
    return plain, False


def shares(text: str) -> tuple[Fraction, ...]:
    """The shares in ``--tensor-split`` (``3,1`` or ``3/1``); empty where they cannot be read."""
    found = []
    for part in text.replace("/", ",").split(",") if text else ():
        try:
            found.append(parse_ratio(part))
        except Unreadable:
            return ()
    return tuple(found)


def _slots(settings: EngineSettings, workload: Workload, figures: Constants) -> int:
    said = settings.max_num_seqs
    if said is None:
        said = max(int(figures.number("default_slots")), workload.concurrent or 1)
    return max(1, min(said, _MOST_SLOTS))


def _unified(settings: EngineSettings, options: LlamaCppOptions, figures: Constants) -> bool:
    if options.kv_unified is not None:
        return options.kv_unified
    if not figures.flag("unified_by_flag"):
        return settings.max_num_seqs in (None, 1) and int(figures.number("default_slots")) == 1
    return settings.max_num_seqs is None or settings.max_num_seqs == 1


def _asked(workload: Workload, length: int, slots: int, unified: bool) -> int:
    """Tokens of cache that hold one longest request and, if it is more, the workload."""
    tokens = length
    if workload.input_tokens is not None and workload.output_tokens is not None:
        tokens = max(1, min(length, workload.input_tokens + workload.output_tokens))
    if unified:
        return max(length, max(1, workload.concurrent or 1) * tokens)
    return length * max(slots, workload.concurrent or 1)


def _most(architecture: Architecture) -> int:
    return architecture.max_model_len if architecture.max_model_len > 0 else 1 << 40


def _gpu_layers(said: str) -> int:
    if said in ("all", "auto", "-1", "-2"):
        return ALL_LAYERS
    number = _integer(said)
    return ALL_LAYERS if number is None else number


def _cache_type(word: str) -> str:
    name = {"": "f16", "auto": "f16", "float16": "f16", "bfloat16": "bf16", "float32": "f32"}.get(
        word.lower(), word.lower()
    )
    return name if name in CACHE_TYPES else "f16"


def _integer(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 12 else None


def per_slot(context: int, slots: int, unified: bool, padding: int) -> int:
    """Cells of one cache: all of them where slots share it, else one slot's, padded."""
    each = context if unified else ceil_div(context, slots)
    return ceil_div(each, padding) * padding


ALL = "999"
"""More layers than any model has, on every build."""

_FILE = re.compile(
    rf"(?:^|[-._:/])({'|'.join(sorted(FILE_TYPES, key=len, reverse=True))})(?:[-.]|$)", re.I
)
_LONGEST_NAME = 512
GRAMMAR: Final = flags.grammar("llama.cpp", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and the typed split; never raises."""
    command = flags.read(GRAMMAR, args, settings, asked)
    options, problems = LlamaCppOptions(**command.options), command.problems
    spread = []
    if options.split_mode in ("row", "tensor"):
        spread.append(f"--split-mode {options.split_mode}")
    if options.fit == "on":
        spread.append("--fit on")
    if options.ctx_size == 0:
        options = replace(options, ctx_size=None)
    made = replace(
        command.settings,
        options=options.or_none(),
        unread=tuple(dict.fromkeys((*command.settings.unread, *spread))),
        shrinking=tuple(dict.fromkeys((*command.settings.shrinking, *spread))),
    )
    flag, file = named_file(made.flags)
    if file and not made.quantization:
        made = replace(made, quantization=file)
    elif file and file_type(made.quantization) not in (None, file):
        stated = made.quantization
        problems.append(
            finding(Rule.FILE_OF_OTHER_TYPE, Field.EXTRA_ARGS, flag, quantization=stated)
        )
    return command.reading(made)


_MODELS: Final = ("--model", "--hf-file", "--hf-repo", "--model-url")


def named_models(settings: EngineSettings) -> tuple[tuple[str, str], ...]:
    """The flags that name a model's file, each with the name."""
    pairs = ((flag, flag.partition(" ")) for flag in settings.flags)
    return tuple(
        (flag, value) for flag, (name, _, value) in pairs if GRAMMAR.find(name)[0].name in _MODELS
    )


def named_file(texts: Sequence[str]) -> tuple[str, str]:
    """The flag that names the model's file, and the file type in that name; empty for none."""
    default = "", ""
    for flag in texts:
        name, _, value = flag.partition(" ")
        kind = GRAMMAR.find(name)[0].name
        if kind not in _MODELS:
            continue
        found = _FILE.findall(value[-_LONGEST_NAME:])
        if found:
            return flag, file_type(found[-1]) or ""
        if kind == "--hf-repo" and value:
            default = flag, "q4_k_m"
    return default


def write_arguments(
    estimate: Estimate, settings: EngineSettings, context: int, unified: bool
) -> tuple[str, ...]:
    """The flags of ``llama-server`` that make it run as estimated, the user's own last."""
    options, figures = LlamaCppOptions.of(settings), TABLE.or_newest(settings.version)
    slots, several = estimate.max_num_seqs, estimate.parallelism.pipeline > 1
    values: dict[str, object] = {"max_num_batched_tokens": settings.max_num_batched_tokens}
    if settings.max_num_seqs is not None or slots != int(figures.number("default_slots")):
        values["max_num_seqs"] = slots
    layers = options.gpu_layers or ""
    types = (options.cache_type_k, options.cache_type_v)
    if settings.kv_cache_dtype and settings.kv_cache_dtype != "auto":
        both = estimate.kv_cache_dtype.split("/")
        types = (types[0] or both[0], types[1] or both[-1])
    written = options.as_mapping() | {
        "gpu_layers": layers if layers.isdecimal() else ALL,
        "ctx_size": options.ctx_size or context,
        "kv_unified": unified if slots > 1 and figures.flag("unified_by_flag") else None,
        "split_mode": options.split_mode or ("layer" if several else None),
        "fit": options.fit or "off" if figures.flag("fits_itself") else None,
        "cache_type_k": types[0],
        "cache_type_v": types[1],
        "kv_offload": False if options.kv_offload is False else None,
    }
    said = {"--split-mode row", "--split-mode tensor", "--fit on"}
    kept = replace(settings, unread=tuple(f for f in settings.unread if f not in said))
    return (*GRAMMAR.write(values, written), *GRAMMAR.passed_on(kept))
