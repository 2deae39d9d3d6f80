"""From what a manifest says of its model to the model: catalogue, base model, document or size.

Nothing is fetched and nothing is guessed: a name that nobody knows gives source `UNKNOWN`.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem, Unreadable, shown
from plimsoll.models import catalogue
from plimsoll.models.checkpoint.profile import FORMAT, from_profile
from plimsoll.models.config import architecture
from plimsoll.models.document import parse_document
from plimsoll.models.model import Model, ModelSource
from plimsoll.models.quantization_config import stored
from plimsoll.units import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.models.architecture import Architecture

_KEPT: Final = 64
"""Documents whose architecture is kept."""

_documents: OrderedDict[str, tuple[Architecture, bool, str]] = OrderedDict()


def resolve(
    *,
    uri: str = "",
    base_model: str = "",
    document: str | None = None,
    document_origin: str = "",
    parameters: int | None = None,
    bits: int | None = None,
    quantization: str = "",
) -> Model:
    """The model that these say; the most telling one wins.

    A document over baseModel over a uri of the catalogue over a size. quantization: how the
    checkpoint is stored, if it differs. Raises `Invalid` with paths below ``spec.model``.
    """
    name = _short(uri) or base_model
    if document is not None:
        model = _from_document(document, name, document_origin)
    elif base_model:
        model = _from_base(base_model, name)
    else:
        entry = catalogue.load().find(_short(uri)) if uri.startswith("hf://") else None
        if entry is not None:
            model = Model(
                name,
                ModelSource.CATALOGUE,
                entry.architecture,
                entry.architecture.parameters,
                None,
                f"catalogue:{entry.id}",
                (),
                _digest_of(entry.id),
            )
        elif parameters is not None:
            called = name or f"a model of {_nominal(parameters)} parameters"
            return Model(
                called,
                ModelSource.PARAMETERS,
                None,
                parameters,
                bits,
                "spec.model.parameters",
                (),
                f"{parameters}x{bits}",
            )
        else:
            near = catalogue.load().suggest(_short(uri))
            return Model(
                name or "an unnamed model",
                ModelSource.UNKNOWN,
                suggestions=near,
                origin=shown(uri)[1:-1],
            )
    return _stored_as(model, quantization)


def _short(uri: str) -> str:
    """The id within a uri: without scheme, without a revision after ``@``."""
    text = uri.partition("://")[2] if "://" in uri else uri
    return text.partition("@")[0].strip("/")


def _nominal(parameters: int) -> str:
    return count(parameters).replace(".00", "")


def _from_base(base: str, name: str) -> Model:
    wanted = _short(base)
    entry = catalogue.load().find(wanted)
    if entry is None:
        near = catalogue.load().suggest(wanted)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise Invalid(
            Problem(
                "spec.model.baseModel",
                shown(base),
                "an id of the catalogue",
                f"{hint}`plimsoll models list` shows all; for a model that is not there use "
                "spec.model.configMapRef with its config.json",
            )
        )
    return Model(
        name,
        ModelSource.BASE_MODEL,
        entry.architecture,
        entry.architecture.parameters,
        None,
        f"catalogue:{entry.id}",
        (),
        _digest_of(entry.id),
    )


def _from_document(document: str, name: str, origin: str) -> Model:
    digest = hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = _documents.get(digest)
    if kept is None:
        parsed = parse_document(document, "spec.model.configMapRef")
        built, is_profile, given = _architecture(parsed)
        kept = (built, is_profile, given)
        _documents[digest] = kept
        while len(_documents) > _KEPT:
            _documents.popitem(last=False)
    _documents.move_to_end(digest)
    architecture, is_profile, given = kept
    source = ModelSource.PROFILE if is_profile else ModelSource.CONFIG
    return Model(
        name or given or origin or "the model in the document",
        source,
        architecture,
        architecture.parameters,
        None,
        origin,
        (),
        digest,
    )


def _architecture(parsed: Mapping[str, Any]) -> tuple[Architecture, bool, str]:
    try:
        if parsed.get("format") == FORMAT:
            return from_profile(parsed), True, str(parsed.get("name") or "")[:256]
        return architecture(parsed), False, str(parsed.get("_name_or_path") or "")[:256]
    except Invalid as error:
        raise Invalid(
            *(replace(p, path=f"spec.model.configMapRef: {p.path}") for p in error.problems)
        ) from None


@lru_cache(maxsize=1024)
def _digest_of(entry_id: str) -> str:
    """Short hash of an entry's structure."""
    entry = catalogue.load().find(entry_id)
    assert entry is not None
    text = json.dumps([entry.config, entry.quant], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stored_as(model: Model, quantization: str) -> Model:
    """The model with its checkpoint stored another way."""
    if not quantization or model.architecture is None:
        return model
    try:
        architecture = _requantized(model.architecture, quantization)
    except Unreadable as error:
        raise Invalid(Problem("spec.model.quantization", error.given, error.wanted)) from None
    return replace(model, architecture=architecture, digest=f"{model.digest}+{quantization}")


@lru_cache(maxsize=256)
def _requantized(architecture: Architecture, quantization: str) -> Architecture:
    return replace(architecture, quantization=stored(quantization))
