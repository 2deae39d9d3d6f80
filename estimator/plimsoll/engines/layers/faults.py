"""What the layers refuse, whichever engine has them: a split, a dtype, a GPU.

No version and no flag of an engine is known here.

    heads % kv_heads = 0
    heads % tp = 0                    kv_heads % tp = 0 or tp % kv_heads = 0
    padded vocabulary % tp = 0        pipeline stages <= layers
    fp8 blocks                        experts, and input of a partition: % block = 0
    4-bit kernels (Marlin)            output of a partition % 64 = 0, input % group = 0
    fp8 weights, fp8 cache, bfloat16  compute capability 8.0
    MIG slices                        tensor = pipeline = 1

Source: vLLM 0.33.0, vllm/config/model.py, vllm/model_executor/layers/quantization,
vllm/model_executor/layers/linear.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, is_eight_bit_float, kv_dtype
from plimsoll.engines.layers.sharding import (
    VOCAB_PADDING,
    local_shape,
    quantization_in_force,
    scheme_in_force,
)
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import Split
from plimsoll.models.storage import surely_quantized
from plimsoll.paths import Field
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import VersionTable
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture, Tensor
    from plimsoll.models.quantization import Quantization, Scheme

_DTYPES: Final = "auto, bfloat16, float16, half, float32 or float"
_MARLIN_OUT: Final = 64
_PACKED: Final = 8
"""4-bit values in one word, which AWQ's own kernels cannot cut (awq.py, create_weights)."""
_FUSED: Final = ("gate_proj.weight", "up_proj.weight")
_AMPERE: Final = (8, 0)
_EXPERTS: Final = (Split.EXPERT_COLUMN, Split.EXPERT_ROW)
_LEAST_GROUP: Final = 32
"""Elements of a group of 4-bit experts, at least, in kernels that halve it until it divides."""
_CUT: Final = (Split.COLUMN, Split.ROW, Split.KV_HEADS, Split.EXPERT_COLUMN, Split.EXPERT_ROW)


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
    fp8_from: tuple[int, ...] = _AMPERE,
    *,
    halved: bool = True,
) -> Iterator[Finding]:
    """Everything that the layers refuse, each with its field.

    fp8_from: compute capability from which fp8 weights have kernels; () if the engine says it
    of each quantization itself. halved: 4-bit experts that Marlin cannot cut go to a kernel that
    halves their groups until they divide.
    """
    yield from dtype(settings)
    yield from groups(architecture)
    if parallelism:
        yield from _split(architecture, settings, parallelism, halved=halved)
    if accelerator:
        yield from _gpu(architecture, settings, accelerator, fp8_from)
    if parallelism and accelerator:
        yield from slices(parallelism, accelerator)


def tensor_parallel_sizes(
    architecture: Architecture, most: int, *, halved: bool = True
) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `most` that the engine accepts for this model."""
    return architecture.remembered(
        ("layers.sizes", most, halved),
        lambda: tuple(
            tp
            for tp in range(1, most + 1)
            if not tuple(_find_faults(architecture, "", tp, tp, False, halved=halved))
        ),
    )


def divides(architecture: Architecture, parallelism: Parallelism) -> bool:
    """Whether a split divides heads, vocabulary and every linear of a model."""
    tensor = parallelism.tensor
    ranks = tensor * parallelism.data
    return not _tensor_faults(architecture, "", tensor, ranks, parallelism.expert)


def dtype(settings: EngineSettings, known: str = _DTYPES) -> Iterator[Finding]:
    """A dtype of weights that is not known. known: those that the engine takes, as a sentence."""
    if settings.dtype and settings.dtype != "auto" and settings.dtype not in WEIGHT_BYTES:
        yield finding(Rule.UNKNOWN_DTYPE, Field.DTYPE, settings.dtype, known=known)


def groups(architecture: Architecture) -> Iterator[Finding]:
    """Key/value heads that do not divide the heads: none of the kernels groups them so."""
    uneven = architecture.remembered(("layers.groups",), lambda: _uneven(architecture))
    if uneven:
        yield finding(Rule.HEADS_NOT_GROUPED, Field.MODEL, uneven[1], heads=uneven[0])


def _uneven(architecture: Architecture) -> tuple[int, int] | None:
    """The first heads and key/value heads of which the one are no multiple of the other."""
    pairs = (
        (m.heads, m.kv_heads)
        for m in architecture.mixers()
        if m.kv_heads > 1 and not m.state_elements
    )
    return next(((heads, own) for heads, own in pairs if heads % own), None)


def context_beyond_model(
    architecture: Architecture, settings: EngineSettings, flag: str, *, lengthened: bool
) -> Iterator[Finding]:
    """A context longer than the model's. flag: what can lengthen it; lengthened: it is used."""
    length, longest = settings.max_model_len, architecture.max_model_len
    if length is not None and 0 < longest < length and not lengthened:
        rule = Rule.CONTEXT_BEYOND_MODEL
        yield finding(rule, Field.MAX_MODEL_LEN, length, longest=longest, flag=flag)


def batch_below_sequences(settings: EngineSettings) -> Iterator[Finding]:
    """Fewer batched tokens than sequences, of which each needs one."""
    tokens, sequences = settings.max_num_batched_tokens, settings.max_num_seqs
    if tokens is not None and sequences is not None and tokens < sequences:
        rule = Rule.BATCH_BELOW_SEQUENCES
        yield finding(rule, Field.MAX_NUM_BATCHED_TOKENS, tokens, sequences=sequences)


def cache_size(settings: EngineSettings, engine: str, flag: str) -> Iterator[Finding]:
    """Bytes of cache for an engine that takes tokens. flag: the one that does."""
    size, rule = settings.kv_cache_memory, Rule.NO_CACHE_SIZE
    if size is not None:
        yield finding(rule, Field.KV_CACHE_MEMORY, size, engine=engine, flag=flag)


@dataclass(frozen=True, slots=True)
class Quantizations:
    """An engine's words for quantizations. at_load: it can quantize so while it loads; stored: the
    checkpoint must be stored so; others: it knows them, and what they need is not known here.

    spans: of words that not every version knows, the first that does and the first that does no
    more; "" for no end.
    """

    at_load: tuple[str, ...]
    stored: tuple[str, ...]
    others: tuple[str, ...] = ()
    spans: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def known_in(self, table: VersionTable, version: str) -> tuple[str, ...]:
        """The words that a version knows; all of them for one that is newer than the table."""
        words = (*self.at_load, *self.stored, *self.others)
        return tuple(word for word in words if _knows(self.spans, word, table, version))


def quantization(
    architecture: Architecture, settings: EngineSettings, table: VersionTable, known: Quantizations
) -> Iterator[Finding]:
    """A quantization that is unknown, or that cannot be applied to an unquantized checkpoint.

    An engine newer than its table may know more words than are known here.
    """
    word, engine, version = settings.quantization.lower(), table.title, settings.version
    if not word:
        return
    words = known.known_in(table, version)
    at_load = tuple(name for name in known.at_load if name in words)
    near = tuple(get_close_matches(word, words)) or at_load
    if word not in words and not table.or_newest(version).newer:
        since, until = known.spans.get(word, ("", ""))
        if since or until:
            later = bool(since) and table.number(version) < table.parse(since)
            rule = Rule.QUANTIZATION_OF_EARLIER_RELEASE
            yield finding(
                Rule.QUANTIZATION_OF_LATER_RELEASE if later else rule,
                Field.QUANTIZATION,
                settings.quantization,
                near=near,
                engine=engine,
                version=table.or_newest(version).version,
                release=since if later else until,
            )
            return
        rule = Rule.UNKNOWN_QUANTIZATION
        yield finding(rule, Field.QUANTIZATION, settings.quantization, engine=engine, near=near)
    elif word in known.stored and architecture.quantization is None:
        rule = Rule.QUANTIZATION_NOT_WHILE_LOADING
        yield finding(rule, Field.QUANTIZATION, word, engine=engine, known=at_load)


def words(table: VersionTable, name: str) -> Mapping[str, tuple[str, str]]:
    """Words and their versions, by the name of their table in an engine's data file."""
    found: Mapping[str, list[str]] = table.data[name]["words"]
    return MappingProxyType({word: (span[0], span[1]) for word, span in found.items()})


def cache_words(
    settings: EngineSettings, table: VersionTable, spans: Mapping[str, tuple[str, str]]
) -> Iterator[Finding]:
    """A cache dtype that the engine's command line does not take. spans: as in `Quantizations`."""
    word, version = settings.kv_cache_dtype, settings.version
    if word.lower() in ("", "auto") or table.or_newest(version).newer:
        return
    known = tuple(name for name in spans if _knows(spans, name, table, version))
    if word.lower() in known:
        return
    yield finding(Rule.UNKNOWN_CACHE_TYPE, Field.KV_CACHE_DTYPE, word, known=("auto", *known))


def _knows(
    spans: Mapping[str, tuple[str, str]], word: str, table: VersionTable, version: str
) -> bool:
    """Whether a version knows a word."""
    since, until = spans.get(word, ("", ""))
    own = table.number(version)
    return (not since or table.parse(since) <= own) and (not until or own < table.parse(until))


def _split(
    architecture: Architecture, settings: EngineSettings, parallelism: Parallelism, *, halved: bool
) -> Iterator[Finding]:
    word, ranks = settings.quantization, parallelism.tensor * parallelism.data
    yield from _tensor_faults(
        architecture, word, parallelism.tensor, ranks, parallelism.expert, halved=halved
    )
    yield from stages(architecture, parallelism)
    if parallelism.expert and not any(
        block.feed_forward is not None and block.feed_forward.experts
        for block in architecture.blocks
    ):
        yield finding(Rule.NO_EXPERTS, Field.EXPERT, True)


def stages(architecture: Architecture, parallelism: Parallelism) -> Iterator[Finding]:
    """More pipeline stages than layers."""
    layers = len(architecture.blocks)
    if parallelism.pipeline > max(1, layers):
        yield finding(Rule.TOO_MANY_STAGES, Field.PIPELINE, parallelism.pipeline, layers=layers)


def _tensor_faults(
    architecture: Architecture,
    quantization: str,
    tp: int,
    ranks: int,
    expert: bool,
    *,
    halved: bool = True,
) -> tuple[Finding, ...]:
    """What a tensor-parallel size does not divide."""
    key = ("layers.faults", quantization, tp, ranks, expert, halved)
    return architecture.remembered(
        key,
        lambda: tuple(_find_faults(architecture, quantization, tp, ranks, expert, halved=halved)),
    )


def _find_faults(
    architecture: Architecture,
    quantization: str,
    tp: int,
    ranks: int,
    expert: bool,
    *,
    halved: bool,
) -> Iterator[Finding]:
    if tp == 1 and ranks == 1:
        return
    heads = architecture.heads
    if heads and heads % tp:
        near = _nearest(heads, tp)
        yield finding(Rule.HEADS_DO_NOT_DIVIDE, Field.TENSOR, tp, heads=heads, near=near)
        return
    kv = {m.kv_heads for m in architecture.mixers() if m.kv_heads > 1 and not m.state_elements}
    for count in sorted(kv):
        if count % tp and tp % count:
            near = _nearest(count, tp)
            yield finding(Rule.KV_HEADS_DO_NOT_DIVIDE, Field.TENSOR, tp, heads=count, near=near)
    vocabulary = ceil_div(architecture.vocab_size, VOCAB_PADDING) * VOCAB_PADDING
    if vocabulary % tp:
        yield finding(Rule.VOCABULARY_DOES_NOT_DIVIDE, Field.TENSOR, tp, padded=vocabulary)
    fault = _partition_fault(architecture, quantization, tp, ranks, expert, halved=halved)
    if fault:
        yield fault


def _partition_fault(
    architecture: Architecture,
    quantization: str,
    tp: int,
    ranks: int,
    expert: bool,
    *,
    halved: bool,
) -> Finding | None:
    """The first linear whose partition the engine cannot cut.

    Where only a word says how a checkpoint is stored, a linear counts that surely is quantized.
    """
    scheme_of_all = quantization_in_force(architecture, quantization)
    by_name = scheme_of_all is not None and scheme_of_all.by_name
    surely = surely_quantized(architecture) if by_name else ()
    at_load = architecture.quantization is None
    seen: set[int] = set()
    for block in architecture.blocks:
        if id(block) in seen:
            continue
        seen.add(id(block))
        for tensor in block.tensors:
            if tensor.split not in _CUT or len(tensor.shape) < 2:
                continue
            shape, _ = local_shape(tensor, block, tp, ranks, expert)
            along_input = tensor.split in (Split.ROW, Split.EXPERT_ROW)
            axis = -1 if along_input else 0
            if tensor.split is not Split.KV_HEADS and shape != tensor.shape:
                ways = ranks if tensor.split in (Split.EXPERT_COLUMN, Split.EXPERT_ROW) else tp
                if tensor.shape[axis] % ways:
                    return finding(
                        Rule.TENSOR_DOES_NOT_DIVIDE,
                        Field.TENSOR,
                        tp,
                        tensor=tensor.name,
                        size=tensor.shape[axis],
                        ways=ways,
                    )
            scheme = scheme_in_force(scheme_of_all, at_load, tensor)
            if scheme is None or shape == tensor.shape:
                continue
            if by_name and tensor.part not in surely:
                continue
            packed = scheme.name == "w4a16" and tensor.split in _EXPERTS
            if halved and packed and _halves(scheme_of_all):
                if along_input and shape[-1] % _LEAST_GROUP and scheme.group_in >= _LEAST_GROUP:
                    return finding(
                        Rule.QUANTIZATION_BLOCK_CUT,
                        Field.TENSOR,
                        tp,
                        tensor=tensor.name,
                        step=_LEAST_GROUP,
                        size=shape[-1],
                    )
                continue
            awq = scheme_of_all is not None and scheme_of_all.method == "awq"
            outputs = _PACKED if awq else _MARLIN_OUT
            fault = _scheme_fault(tensor, shape, scheme, along_input, outputs)
            if fault:
                rule, step, size = fault
                return finding(rule, Field.TENSOR, tp, tensor=tensor.name, step=step, size=size)
    return None


def _halves(quantization: Quantization | None) -> bool:
    """Whether experts that Marlin cannot cut go to a kernel that halves groups, down to 32.

    Source: vllm/model_executor/layers/quantization/moe_wna16.py (create_weights), to which
    awq_marlin.py and gptq_marlin.py fall back; SGLang's files of these names.
    """
    return quantization is not None and quantization.method in ("awq", "gptq")


def _scheme_fault(
    tensor: Tensor, shape: tuple[int, ...], scheme: Scheme, along_input: bool, outputs: int
) -> tuple[Rule, int, int] | None:
    """What a quantization's kernels miss in a partition.

    MXFP4 and NVFP4 are padded instead, and q, k, v or gate, up in fp8 blocks are let through: the
    engine checks those of experts and of what is cut along its input. outputs: what the outputs of
    4-bit kernels must be a multiple of, of gate and up together: AWQ that Marlin cannot cut goes to
    kernels of its own. Gives the rule, what the size must be a multiple of, and the size.
    """
    size = shape[-1] if along_input else shape[0]
    step = scheme.group_in if along_input else scheme.group_out
    strict = along_input or tensor.split is Split.EXPERT_COLUMN
    blocks = scheme.name == "fp8" and scheme.group_out > 1 and strict
    groups = scheme.name == "w4a16"
    if (blocks or groups) and step > 1 and size % step:
        return Rule.QUANTIZATION_BLOCK_CUT, step, size
    fused = 2 * size if tensor.name.endswith(_FUSED) else size
    if groups and not along_input and fused % outputs:
        return Rule.KERNEL_OUTPUTS_CUT, outputs, size
    return None


def _nearest(number: int, tp: int) -> tuple[str, ...]:
    """The divisors of a number below and above a size."""
    below = max(d for d in range(1, min(tp, number + 1)) if number % d == 0)
    above = next((d for d in range(tp + 1, number + 1) if number % d == 0), None)
    return (str(below), str(above)) if above else (str(below),)


def _gpu(
    architecture: Architecture,
    settings: EngineSettings,
    accelerator: Accelerator,
    fp8_from: tuple[int, ...],
) -> Iterator[Finding]:
    if accelerator.compute == (0, 0):
        return
    compute = f"{accelerator.compute[0]}.{accelerator.compute[1]}"
    scheme = quantization_in_force(architecture, settings.quantization)
    if (
        scheme is not None
        and scheme.default is not None
        and scheme.default.name == "fp8"
        and accelerator.compute < fp8_from
    ):
        yield finding(
            Rule.FP8_WEIGHTS_NEED_AMPERE,
            Field.QUANTIZATION if architecture.quantization is None else Field.MODEL,
            scheme.method,
            gpu=accelerator.title,
            compute=compute,
        )
    cache_dtype = kv_dtype(architecture, settings.kv_cache_dtype)
    if is_eight_bit_float(cache_dtype) and accelerator.compute < _AMPERE:
        yield finding(
            Rule.FP8_CACHE_NEEDS_AMPERE,
            Field.KV_CACHE_DTYPE,
            cache_dtype,
            gpu=accelerator.title,
            compute=compute,
        )
    if settings.dtype == "bfloat16" and accelerator.compute < _AMPERE:
        yield finding(Rule.NO_BFLOAT16, Field.DTYPE, settings.dtype, gpu=accelerator.title)


def too_old(accelerator: Accelerator, oldest: tuple[int, int], engine: str) -> Iterator[Finding]:
    """A GPU below the compute capability that an engine has kernels for."""
    own, gpu = accelerator.compute, accelerator.title
    if (0, 0) != own < oldest:
        needs, compute = f"{oldest[0]}.{oldest[1]}", f"{own[0]}.{own[1]}"
        yield finding(
            Rule.GPU_TOO_OLD,
            Field.ALLOWED,
            gpu,
            needs=needs,
            gpu=gpu,
            compute=compute,
            engine=engine,
        )


def slices(parallelism: Parallelism, accelerator: Accelerator) -> Iterator[Finding]:
    """MIG slices have no way to one another: NCCL refuses them."""
    if not accelerator.mig_of:
        return
    for place, size in (
        (Field.TENSOR, parallelism.tensor),
        (Field.PIPELINE, parallelism.pipeline),
    ):
        if size > 1:
            yield finding(Rule.SLICES_APART, place, size, gpu=accelerator.title)
