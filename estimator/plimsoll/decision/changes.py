"""How a change of one field is made in a request, as if its reader had edited the manifest.

A field that is not in `_SETTERS` is an error of ours (`KeyError`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from plimsoll.decision.splits import tensor_counts
from plimsoll.engines.base import Lora
from plimsoll.models.architecture import Architecture
from plimsoll.models.quantization_config import stored
from plimsoll.models.resolve import resolve
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.request import Request
    from plimsoll.decision.verdict import Change

Setter = Callable[["Request", str], "Request"]


def apply(request: Request, changes: Iterable[Change]) -> Request:
    """The request after the changes, made together."""
    for change in changes:
        request = _SETTERS[change.field](request, change.value)
    return request


def stored_as(architecture: Architecture, method: str) -> Architecture:
    """The same model from a checkpoint stored as `method`, a word such as awq.

    Kept with the architecture, so that an engine derives what it needs of it only once.
    """
    key = ("stored as", method)
    known = architecture.memo.get(key)
    if not isinstance(known, Architecture):
        known = replace(architecture, quantization=stored(method))
        architecture.memo[key] = known
    return known


def _engine(name: str, read: Callable[[str], object]) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {name: read(text)}
        return replace(request, engine=replace(request.engine, **fields))

    return change


def _wanted(name: str, read: Callable[[str], object]) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {name: read(text)}
        return replace(request, wanted=replace(request.wanted, **fields))

    return change


def _split(field: str) -> Setter:
    def change(request: Request, text: str) -> Request:
        fields: dict[str, Any] = {field: int(text)}
        split = replace(request.wanted.split, **fields)
        return replace(request, wanted=replace(request.wanted, split=split))

    return change


def _tensor(request: Request, text: str) -> Request:
    """The tensor size as the user writes it."""
    split = replace(request.wanted.split, tensor=max(1, int(text) // tensor_counts(request)))
    return replace(request, wanted=replace(request.wanted, split=split))


def _slots(request: Request, text: str) -> Request:
    adapters = replace(request.engine.lora or Lora(), slots=int(text))
    return replace(request, engine=replace(request.engine, lora=adapters))


def _images(request: Request, text: str) -> Request:
    """Without images there are no videos either, unless they are asked for."""
    engine = replace(request.engine, images=int(text))
    if engine.images == 0 and engine.videos is None:
        engine = replace(engine, videos=0)
    return replace(request, engine=engine)


def _nothing(text: str) -> None:
    """What a field holds once it is taken out; no other value is ever advised of it."""
    if text:
        raise KeyError(text)


def _concurrent(request: Request, text: str) -> Request:
    return replace(request, workload=replace(request.workload, concurrent=int(text)))


def _store_as(request: Request, text: str) -> Request:
    model = request.model
    if model.architecture is None or not text:
        return request
    return replace(
        request,
        model=replace(
            model,
            architecture=stored_as(model.architecture, text),
            digest=f"{model.digest}+{text}",
        ),
    )


def _at(request: Request, text: str) -> Request:
    """Another checkpoint of the catalogue; or weights of which nothing says where they are."""
    if not text:
        return replace(request, model=replace(request.model, uri=""))
    return replace(request, model=resolve(uri=text))


def _like(request: Request, text: str) -> Request:
    """A model of the structure of one of the catalogue."""
    return replace(request, model=resolve(base_model=text, uri=request.model.uri))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.strip("[]").split(","))


_SETTERS: Final[dict[Field, Setter]] = {
    Field.MAX_MODEL_LEN: _engine("max_model_len", int),
    Field.MAX_NUM_SEQS: _engine("max_num_seqs", int),
    Field.KV_CACHE_DTYPE: _engine("kv_cache_dtype", str),
    Field.MAX_NUM_BATCHED_TOKENS: _engine("max_num_batched_tokens", int),
    Field.KV_CACHE_MEMORY: _engine("kv_cache_memory", _nothing),
    Field.ENFORCE_EAGER: _engine("enforce_eager", "true".__eq__),
    Field.DTYPE: _engine("dtype", str),
    Field.UTILIZATION: _engine("utilization", Decimal),
    Field.IMAGES: _images,
    Field.VIDEOS: _engine("videos", int),
    Field.LORA_SLOTS: _slots,
    Field.SPECULATIVE: _engine("speculative", _nothing),
    Field.TENSOR: _tensor,
    Field.PIPELINE: _split("pipeline"),
    Field.GPUS: _wanted("gpus_per_replica", int),
    Field.ALLOWED: _wanted("allowed", _names),
    Field.CONCURRENT: _concurrent,
    Field.STORED: _store_as,
    Field.URI: _at,
    Field.BASE_MODEL: _like,
}
