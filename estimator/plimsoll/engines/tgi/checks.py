"""Why TGI would refuse to start with a model, a split and a GPU, memory aside.

It must not compute memory.

    tensor                heads, KV heads and partitions divide, as for vLLM's layers
    pipeline, data        TGI has neither
    max-input-tokens      < max-total-tokens <= max-batch-total-tokens
    states, expert        no state-space layers beside attention; experts are cut, never whole

Source: launcher/src/main.rs and server/text_generation_server/models of 3.3.7.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import EngineSettings, Parallelism
from plimsoll.engines.layers import faults
from plimsoll.engines.tgi.constants import TABLE
from plimsoll.engines.tgi.defaults import load_quantization
from plimsoll.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_ENGINE: Final = "spec.engine"


def problems(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism | None,
    accelerator: Accelerator | None,
) -> tuple[Finding | Problem, ...]:
    """Everything that is wrong, all at once, each with its field."""
    shared = EngineSettings(
        dtype=settings.dtype, quantization=load_quantization(settings.quantization)
    )
    split = None if parallelism is None else Parallelism(tensor=parallelism.tensor)
    version = TABLE.problem(settings.version)
    return tuple(
        chain(
            (version,) if version else (),
            _lengths(settings),
            _split(parallelism) if parallelism else (),
            faults.problems(architecture, shared, split, accelerator),
        )
    )


def _split(parallelism: Parallelism) -> Iterator[Finding | Problem]:
    for name, value, fix in (
        ("pipeline", parallelism.pipeline, "take tensor parallelism"),
        ("data", parallelism.data, "run more replicas"),
    ):
        if value > 1:
            yield Problem(
                f"{_ENGINE}.parallelism.{name}",
                str(value),
                f"1: TGI has no {name} parallelism",
                fix,
            )
    if parallelism.expert:
        yield Problem(
            f"{_ENGINE}.parallelism.expert", "true", "false: TGI cuts experts over its GPUs"
        )


def _lengths(settings: EngineSettings) -> Iterator[Finding | Problem]:
    own = dict(settings.own)
    total = settings.max_model_len
    prompt, batch = own.get("max-input-tokens", ""), own.get("max-batch-total-tokens", "")
    if total is not None and prompt.isdigit() and int(prompt) >= total:
        yield Problem(
            f"{_ENGINE}.extraArgs", f"--max-input-tokens={prompt}", f"below maxModelLen ({total})"
        )
    if total is not None and batch.isdigit() and int(batch) < total:
        yield Problem(
            f"{_ENGINE}.extraArgs",
            f"--max-batch-total-tokens={batch}",
            f"at least maxModelLen ({total})",
        )
    if settings.kv_cache_memory is not None:
        yield Problem(
            f"{_ENGINE}.kvCacheMemory",
            str(settings.kv_cache_memory),
            "nothing: TGI has no size of the cache in bytes",
            "set gpuMemoryUtilization, or --max-batch-total-tokens in spec.engine.extraArgs",
        )
    if settings.block_size is not None:
        yield Problem(
            f"{_ENGINE}.blockSize",
            str(settings.block_size),
            "nothing: TGI takes the block size from its attention kernels",
        )
