"""Weights that lie in host memory, cache that does, and a cache whose size is fixed.

    --cpu-offload-gb X     parameters of the layers, in order, until X GiB are out: a rank keeps
                           weights - min(X, its layers), less at most one parameter more
    --offload-group-size   of every G layers the last N go out; in exchange the GPU keeps, for each
                           prefetched step, buffers as large as one such layer
    auto                   the groups where there is a group size, else the amount
    --num-gpu-blocks-override B   B blocks of the pool, whatever the profile run says
    KV connectors          those that keep the cache on the host take nothing of a GPU, but before
                           0.23 (later those without support) layers are then not grouped by kind

Where only some parameters may go out (``--cpu-offload-params``, ``--offload-params``) it is not
known how much; such flags are not read here.

Source: vLLM 0.6.3 (vllm/model_executor/models/utils.py, maybe_offload_to_cpu) to 0.33.0
(vllm/config/offload.py, vllm/model_executor/offloader), vllm/v1/core/kv_cache_planning.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known
from plimsoll.engines.layers.sharding import stage_layers, stage_weights
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import EngineSettings, Parallelism, Term
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.pool import BlockPool
    from plimsoll.models.architecture import Architecture, Block

_ON_HOST: Final = frozenset(
    {"OffloadingConnector", "SharedStorageConnector", "ExampleConnector",
     "SimpleCPUOffloadConnector"}
)  # fmt: skip
"""Connectors that keep blocks in host memory or files, with no buffer on the GPU."""
_BY_KIND: Final = frozenset({"OffloadingConnector", "SimpleCPUOffloadConnector"})
_LARGEST_SHARE: Final = 0.5
"""A layer's largest parameter, as a share of the layer, at most (gate and up of a dense model)."""


def holds_on_the_host(config: str) -> bool:
    """Whether a ``--kv-transfer-config`` is one that takes no GPU memory."""
    return _connector(config) in _ON_HOST


def _connector(config: str) -> str:
    return str(json.loads(config).get("kv_connector"))


def groups_layers(settings: EngineSettings, constants: Constants) -> bool:
    """Whether layers may be cached by kind: a KV connector that cannot makes them all full."""
    config = VLLMOptions.of(settings).kv_transfer_config
    if config is None:
        return True
    able = _connector(config) in _BY_KIND
    return able and constants.flag("connectors_by_kind")


def kept(
    architecture: Architecture,
    settings: EngineSettings,
    dtype: str,
    parallelism: Parallelism,
    stage: int,
    weights: Term,
) -> Term:
    """The weights that stay on a rank of a stage; as they are where nothing goes out.

    dtype: of the unquantized weights. weights: the term before.
    """
    options = VLLMOptions.of(settings)
    group, backend = options.offload_group_size, options.offload_backend
    if group and backend != "uva":
        number = min(group, _or_one(options.offload_num_in_group))
        steps = _or_one(options.offload_prefetch_step)
        layers = _layer_bytes(architecture, settings, dtype, parallelism)
        start, end = stage_layers(len(layers), parallelism.pipeline)[stage]
        gone = [size for i, size in enumerate(layers[start:end]) if i % group >= group - number]
        held = min(steps, len(gone)) * max(gone, default=0)
        return _less(weights, sum(gone) - held, 0, f"{len(gone)} layers in host memory")
    amount = settings.cpu_offload
    if not amount or backend == "prefetch":
        return weights
    layers = _layer_bytes(architecture, settings, dtype, parallelism)
    start, end = stage_layers(len(layers), parallelism.pipeline)[stage]
    here = layers[start:end]
    out = min(amount, sum(here))
    beyond = min(sum(here) - out, int(max(here, default=0) * _LARGEST_SHARE))
    return _less(weights, out, beyond, f"{out / GIB:.1f} GiB in host memory")


def _or_one(number: int | None) -> int:
    return 1 if number is None else number


def _less(weights: Term, out: int, beyond: int, words: str) -> Term:
    """A term with `out` bytes gone, and perhaps `beyond` more."""
    if out <= 0:
        return weights
    return replace(
        weights,
        bytes=max(0, weights.bytes - out),
        low=max(0, weights.low - out - beyond),
        high=max(0, weights.high - out),
        known=Known.MODELLED if weights.known is Known.EXACT else weights.known,
        basis=f"{weights.basis}, {words}",
    )


def _layer_bytes(
    architecture: Architecture, settings: EngineSettings, dtype: str, parallelism: Parallelism
) -> tuple[int, ...]:
    """Bytes of every layer on one rank."""
    split = replace(parallelism, pipeline=1)
    key = ("vllm.offload", dtype, settings.quantization, split)
    return architecture.remembered(
        key, lambda: _measured(architecture, settings.quantization, dtype, split)
    )


def _measured(
    architecture: Architecture, quantization: str, dtype: str, split: Parallelism
) -> tuple[int, ...]:
    def alone(block: Block) -> int:
        part = replace(architecture, blocks=(block,), outside=(), extra=(), rotary_elements=0)
        return stage_weights(part, dtype, quantization, split)[0]

    sizes = {key: alone(b) for key, b in {id(b): b for b in architecture.blocks}.items()}
    return tuple(sizes[id(block)] for block in architecture.blocks)


def offloads(settings: EngineSettings) -> bool:
    """Whether weights are held in host memory."""
    return bool(settings.cpu_offload or VLLMOptions.of(settings).offload_group_size)


def fixed_cache(settings: EngineSettings, pool: BlockPool) -> Sequence[int] | None:
    """Bytes of cache on each stage where its size is fixed by flag; None where it is not."""
    blocks = VLLMOptions.of(settings).num_gpu_blocks_override
    if blocks is not None:
        return [blocks * size for size in pool.stage_bytes]
    if settings.kv_cache_memory is not None:
        return [settings.kv_cache_memory] * len(pool.stage_bytes)
    return None


def fixing_flag(settings: EngineSettings) -> str:
    """The flag that fixes the cache, for people."""
    by_blocks = VLLMOptions.of(settings).num_gpu_blocks_override is not None
    return "--num-gpu-blocks-override" if by_blocks else "--kv-cache-memory-bytes"
