"""Changes to a request by field path, as advice words them: what would be edited in the manifest.

It must not judge a change. A path that is not in `_SETTERS` is an error of ours (`KeyError`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import Lora
from plimsoll.models.architecture import Architecture
from plimsoll.models.quantization_config import stored

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Change

MAX_MODEL_LEN: Final = "spec.engine.maxModelLen"
MAX_NUM_SEQS: Final = "spec.engine.maxNumSeqs"
KV_CACHE_DTYPE: Final = "spec.engine.kvCacheDtype"
LORA_SLOTS: Final = "spec.engine.lora.maxLoras"
DRAFT: Final = "spec.engine.speculative"
IMAGES: Final = "spec.workload.imagesPerPrompt"
VIDEOS: Final = "spec.workload.videosPerPrompt"
UTILIZATION: Final = "spec.engine.gpuMemoryUtilization"
TENSOR: Final = "spec.engine.parallelism.tensor"
PIPELINE: Final = "spec.engine.parallelism.pipeline"
CONCURRENT: Final = "spec.workload.concurrentSequences"
ALLOWED: Final = "spec.accelerator.allowed"
GPUS: Final = "spec.accelerator.gpusPerReplica"
STORED: Final = "spec.model.quantization"

Setter = Callable[["Request", str], "Request"]


def apply(request: Request, changes: Iterable[Change]) -> Request:
    """The request after the changes, made together."""
    for change in changes:
        request = _SETTERS[change.path](request, change.value)
    return request


def stored_as(architecture: Architecture, method: str) -> Architecture:
    """The same model from a checkpoint stored as `method`, a word of ``spec.model.quantization``.

    Kept with the architecture, so that an engine derives what it needs of it only once.
    """
    key = ("stored as", method)
    known = architecture.memo.get(key)
    if not isinstance(known, Architecture):
        known = replace(architecture, quantization=stored(method))
        architecture.memo[key] = known
    return known


def _engine(field: str, read: Callable[[str], object]) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {field: read(text)}
        return replace(request, engine=replace(request.engine, **fields))

    return change


def _wanted(field: str, read: Callable[[str], object]) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {field: read(text)}
        return replace(request, wanted=replace(request.wanted, **fields))

    return change


def _split(field: str) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {field: int(text)}
        split = replace(request.wanted.split, **fields)
        return replace(request, wanted=replace(request.wanted, split=split))

    return change


def _slots(request: Request, text: str) -> Request:
    adapters = replace(request.engine.lora or Lora(), slots=int(text))
    return replace(request, engine=replace(request.engine, lora=adapters))


def _images(request: Request, text: str) -> Request:
    """Without images there are no videos either, unless they are asked for."""
    engine = replace(request.engine, images=int(text))
    if engine.images == 0 and engine.videos is None:
        engine = replace(engine, videos=0)
    return replace(request, engine=engine)


def _draft(request: Request, text: str) -> Request:
    if text != "null":
        raise KeyError(f"{DRAFT}: {text}")
    return replace(request, engine=replace(request.engine, speculative=None))


def _concurrent(request: Request, text: str) -> Request:
    return replace(request, workload=replace(request.workload, concurrent=int(text)))


def _stored(request: Request, text: str) -> Request:
    model = request.model
    if model.architecture is None:
        return request
    return replace(
        request,
        model=replace(
            model,
            architecture=stored_as(model.architecture, text),
            digest=f"{model.digest}+{text}",
        ),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.strip("[]").split(","))


_SETTERS: Final[dict[str, Setter]] = {
    MAX_MODEL_LEN: _engine("max_model_len", int),
    MAX_NUM_SEQS: _engine("max_num_seqs", int),
    KV_CACHE_DTYPE: _engine("kv_cache_dtype", str),
    UTILIZATION: _engine("utilization", Decimal),
    IMAGES: _images,
    VIDEOS: _engine("videos", int),
    LORA_SLOTS: _slots,
    DRAFT: _draft,
    TENSOR: _split("tensor"),
    PIPELINE: _split("pipeline"),
    GPUS: _wanted("gpus_per_replica", int),
    ALLOWED: _wanted("allowed", _names),
    CONCURRENT: _concurrent,
    STORED: _stored,
}
