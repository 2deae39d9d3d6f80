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

from plimsoll.errors import Invalid, PlimsollError, Problem, Unreadable, shown
from plimsoll.findings import Rule, finding
from plimsoll.models import catalogue
from plimsoll.models.checkpoint.profile import FORMAT, from_profile
from plimsoll.models.config import architecture
from plimsoll.models.document import parse_document
from plimsoll.models.model import Model, ModelSource
from plimsoll.models.quantization_config import stored
from plimsoll.paths import Field
from plimsoll.units import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture
    from plimsoll.paths import Places

_KEPT: Final = 64
"""Documents whose architecture is kept."""

_documents: OrderedDict[str, tuple[Architecture, bool, str]] = OrderedDict()


class Unresolved(PlimsollError, ValueError):
    """What is said of a model leads to none, and why, all of it at once.

    part: what the problems that are worded already are about; their paths are places in it.
    """

    def __init__(self, *problems: Finding | Problem, part: Field = Field.MODEL) -> None:
        self.part, self.problems = part, problems
        super().__init__("; ".join(map(str, problems)))

    def placed(self, places: Places) -> tuple[Finding | Problem, ...]:
        """The problems at the places of an object that states the model."""
        part = places.path(self.part)
        return tuple(
            replace(one, path=f"{part}: {one.path}" if one.path else part)
            if isinstance(one, Problem)
            else one
            for one in self.problems
        )


def resolve(
    *,
    uri: str = "",
    base_model: str = "",
    document: str | None = None,
    origin: str = "",
    parameters: int | None = None,
    bits: int | None = None,
    quantization: str = "",
) -> Model:
    """The model that these say; the most telling one wins.

    A document over baseModel over a uri of the catalogue over a size. quantization: how the
    checkpoint is stored, if it differs. origin: where the document or the size is stated.
    Raises `Unresolved`.
    """
    name = _short(uri) or base_model
    if document is not None:
        model = _from_document(document, name, origin)
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
                origin,
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
        near = tuple(catalogue.load().suggest(wanted))
        if near:
            raise Unresolved(finding(Rule.UNKNOWN_BASE_LIKE, Field.BASE_MODEL, base, near=near))
        raise Unresolved(finding(Rule.UNKNOWN_BASE, Field.BASE_MODEL, base))
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
        try:
            kept = _architecture(parse_document(document, ""))
        except Invalid as error:
            raise Unresolved(*error.problems, part=Field.CONFIG) from None
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
    if parsed.get("format") == FORMAT:
        return from_profile(parsed), True, str(parsed.get("name") or "")[:256]
    return architecture(parsed), False, str(parsed.get("_name_or_path") or "")[:256]


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
        raise Unresolved(Problem("", error.given, error.wanted), part=Field.STORED) from None
    return replace(model, architecture=architecture, digest=f"{model.digest}+{quantization}")


@lru_cache(maxsize=256)
def _requantized(architecture: Architecture, quantization: str) -> Architecture:
    return replace(architecture, quantization=stored(quantization))
