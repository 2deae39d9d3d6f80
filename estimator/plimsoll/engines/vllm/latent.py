"""Latent attention (MLA) under vLLM: what its kernels reserve, and the GPUs that have none.

While the engine profiles, from 0.11 on, each layer makes room for the keys and values of a cached
prompt, all heads of the rank:

    passing     rows x (rows of kv_b_proj) / tp + tokens x ((q + v) / tp + 3 x h)     elements
    rows        min(max(8 x max_model_len, 4 x max_num_seqs x block), 65,536)

Where Triton attends (all but Hopper and data-center Blackwell), from 0.33 on, parts of every
decoded token are reserved for the whole life of the engine, in the buffer that experts share:

    kept        max_num_seqs x heads / tp x splits x (kv_lora_rank + 1) x 4 bytes
    splits      min(the power of 2 from max_model_len / 512 on, 2 x multiprocessors)

Loaded with the weights:

    FlashInfer's workspace   128 MiB from 0.11.1 to 0.24, whatever kernel then attends: whoever
                             looks for one imports all, and this one makes it when it is imported
    rotary tables            in 32 bits where FlashInfer rotates, from 0.14 on, and of gpt-oss
    indexer                  2048 x batched tokens x 4 bytes of the places of what it chose

What does not start: a cache of 8 bits where Triton attends, before 0.18 on any GPU and from 0.26
on below compute capability 8.9; sparse attention below 9.0, and on 12.x before 0.24.

Source: vLLM 0.10.2 to 0.33.0, vllm/v1/attention/backends/mla (common.py, later
vllm/model_executor/layers/attention/mla_attention.py; triton_mla.py; supports_compute_capability
of the ...sparse backends), vllm/platforms/cuda.py (_get_backend_priorities). Its own start-up, run
with GPUs that are not there (0.33.0): DeepSeek-V3 on an H100 5.29 GB where this gives 5.32,
DeepSeek-V2-Lite on an A100 2.395 where it gives 2.398.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.layers.dtypes import is_eight_bit_float, kv_dtype
from plimsoll.engines.layers.sharding import rotary_elements
from plimsoll.engines.ranges import AMD, BLACKWELL, HOPPER, gpu_group
from plimsoll.engines.vllm.first import WHOLE_HEADS
from plimsoll.engines.vllm.options import TABLE
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import MixerKind
from plimsoll.paths import Field
from plimsoll.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture, Block, Mixer

_MOST_ROWS: Final = 65536
_BLOCK: Final = 16
_LENGTHS: Final = 8
_BLOCKS_EACH: Final = 4
_HIDDEN: Final = 3
_SPLIT: Final = 512
_ELEMENT: Final = 4
_WORKSPACE: Final = 128 * MIB
_CHOSEN: Final = 2048
_PLACE: Final = 4
_SPARSE_FROM: Final = (9, 0)
_NATIVE_FP8: Final = (8, 9)
_SMALL_BLACKWELL: Final = 12
_PROCESSORS: Final = {
    "a100": 108, "a800": 108, "a30": 56, "a40": 84, "a10g": 80, "a10": 72, "a16": 10, "a2": 10,
    "l40": 142, "l20": 92, "l4": 58, "a6000": 84, "a5000": 64, "a4000": 48, "6000-ada": 142,
    "rtx-3090": 82, "rtx-4090": 128, "rtx-5090": 170, "pro-6000": 188, "t4": 40, "v100": 80,
    "h100": 132, "h200": 132, "gh200": 132, "h800": 132, "h20": 78, "b200": 148, "b300": 148,
}  # fmt: skip
"""Streaming multiprocessors by a part of a card's name, from NVIDIA's data sheets."""
_MANY_PROCESSORS: Final = 188
"""Of a card that is not listed: those of the largest."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Bytes on a rank. passing: of a pass through one layer; kept: from then on.

    after_experts: layers attend while the workspaces of earlier experts are there.
    """

    passing: int = 0
    kept: int = 0
    after_experts: bool = False


def block(
    architecture: Architecture,
    settings: EngineSettings,
    accelerator: Accelerator,
    constants: Constants,
) -> int | None:
    """Tokens of a block of the cache: as asked, but where the kernel has only one size."""
    own = int(constants.number("latent_block"))
    hopper = accelerator.compute[0] == _SPARSE_FROM[0]
    if own and hopper and _latent(architecture) is not None:
        return own
    return settings.block_size


def loaded(
    architecture: Architecture, resolved: Resolved, accelerator: Accelerator, constants: Constants
) -> int:
    """Bytes that are loaded with the weights on every rank and are none."""
    element = resolved.element
    size = 0
    if architecture.model_type in constants["rotary_in_32_bits"].names and element < _ELEMENT:
        size += rotary_elements(architecture) * (_ELEMENT - element)
    mixer = _mixer(architecture)
    if mixer is None or resolved.first_engine:
        return size
    small = accelerator.compute[0] == _SMALL_BLACKWELL
    workspace = constants.flag("latent_small_workspace" if small else "latent_workspace")
    if workspace and gpu_group(accelerator) != AMD:
        size += _WORKSPACE
    if mixer.index_dim and not mixer.ratio:
        size += _CHOSEN * resolved.batched_tokens * _PLACE
    return size


def _mixer(architecture: Architecture) -> Mixer | None:
    """The first mixer with latent attention."""
    if architecture.model_type in WHOLE_HEADS:
        return None
    return architecture.remembered(
        ("vllm.latent-mixer",),
        lambda: next((m for m in architecture.mixers() if m.kind is MixerKind.MLA), None),
    )


def workspace(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    accelerator: Accelerator,
    constants: Constants,
) -> Workspace:
    """What latent attention reserves on a rank; nothing for other models."""
    found = _latent(architecture)
    if found is None or resolved.first_engine or not constants.flag("latent_pass"):
        return Workspace()
    block, mixer = found
    heads, both, tp = mixer.heads, _rows(block, "kv_b_proj.weight"), parallelism.tensor
    queries = _rows(block, "q_b_proj.weight") or _rows(block, "q_proj.weight")
    page = settings.block_size or _BLOCK
    length, seqs = resolved.max_model_len, resolved.seqs
    rows = min(max(_LENGTHS * length, _BLOCKS_EACH * seqs * page), _MOST_ROWS)
    rank = next(t.shape[1] for t in block.tensors if t.name.endswith("kv_b_proj.weight"))
    values = both - (queries - heads * (mixer.head_dim - rank))
    passing = (rows * both + resolved.batched_tokens * (queries + values)) // tp
    passing += resolved.batched_tokens * _HIDDEN * architecture.hidden_size
    kept = 0
    if constants.flag("latent_splits") and _by_triton(accelerator):
        splits = min(_power(max(1, length // _SPLIT)), 2 * processors(accelerator))
        kept = seqs * heads // tp * splits * (rank + 1) * _ELEMENT
    return Workspace(passing * resolved.element, kept, _experts(architecture) > 1)


def gpu_faults(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator
) -> Iterator[Finding]:
    """A cache of 8 bits, or sparse attention, for which there are no kernels."""
    mixer = _mixer(architecture)
    compute, version = accelerator.compute, settings.version
    if mixer is None or compute == (0, 0):
        return
    figures = TABLE.or_newest(version)
    small = compute[0] == _SMALL_BLACKWELL
    facts: dict[str, Any] = {"gpu": accelerator.title, "compute": f"{compute[0]}.{compute[1]}"}
    if mixer.index_dim or mixer.ratio:
        if compute < _SPARSE_FROM or (small and not figures.flag("sparse_on_small_blackwell")):
            yield finding(
                Rule.SPARSE_ATTENTION_WITHOUT_KERNELS,
                Field.ALLOWED,
                accelerator.title,
                version=figures.version,
                **facts,
            )
        return
    cached = kv_dtype(architecture, settings.kv_cache_dtype)
    if not is_eight_bit_float(cached) or not _by_triton(accelerator):
        return
    rule = int(figures.number("latent_eight_bits"))
    if rule == _NOWHERE or (rule == _NATIVE and compute < _NATIVE_FP8):
        yield finding(
            Rule.LATENT_CACHE_OF_EIGHT_BITS,
            Field.KV_CACHE_DTYPE,
            cached,
            version=figures.version,
            **facts,
        )


_NOWHERE, _NATIVE = 1, 3
"""Values of the figure ``latent_eight_bits``; its note says what each means."""


def _experts(architecture: Architecture) -> int:
    """Layers with experts."""
    layers = (block.feed_forward for block in architecture.blocks)
    return sum(layer is not None and layer.experts > 0 for layer in layers)


def _latent(architecture: Architecture) -> tuple[Block, Mixer] | None:
    """The first layer with latent attention over all tokens, and its mixer."""

    def found() -> tuple[Block, Mixer] | None:
        if architecture.model_type in WHOLE_HEADS:
            return None
        for block in architecture.blocks:
            for mixer in block.mixers:
                plain = mixer.kind is MixerKind.MLA and not mixer.index_dim and not mixer.ratio
                if plain and _rows(block, "kv_b_proj.weight"):
                    return block, mixer
        return None

    return architecture.remembered(("vllm.latent",), found)


def _rows(block: Block, name: str) -> int:
    return next((t.shape[0] for t in block.tensors if t.name.endswith(f".{name}")), 0)


def _by_triton(accelerator: Accelerator) -> bool:
    return gpu_group(accelerator) not in (HOPPER, BLACKWELL)


def _power(number: int) -> int:
    """The power of 2 that is no less."""
    return 1 << (number - 1).bit_length()


def processors(accelerator: Accelerator) -> int:
    """Streaming multiprocessors of a card."""
    known = (n for part, n in _PROCESSORS.items() if part in accelerator.name)
    return next(known, _MANY_PROCESSORS)
