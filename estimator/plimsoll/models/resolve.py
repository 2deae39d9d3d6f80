"""From what a manifest says of its model to the model: catalogue, base model, document or size.

Nothing is fetched and nothing is guessed: a name that nobody knows gives source `UNKNOWN`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, PlimsollError, Problem, Unreadable, shown
from plimsoll.findings import Rule, finding
from plimsoll.models import catalogue, pooling
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.models.config import architecture
from plimsoll.models.files import parse_document
from plimsoll.models.quantization_config import stored
from plimsoll.models.uris import is_default
from plimsoll.models.uris import repository as repository_of
from plimsoll.paths import Field
from plimsoll.units import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture
    from plimsoll.paths import Places

LEAST_SHARE: Final = 0.98
"""Share of the parameters of the catalogue's model below which another one is meant: headers,
configs and profiles count the same model a little differently."""
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
    revision: str = "",
) -> Model:
    """The model that these say; the most telling one wins.

    A document over baseModel over a uri of the catalogue over a size. quantization: how the
    checkpoint is stored, if it differs. origin: where the document or the size is stated.
    What says less of the model at a uri of the catalogue than the catalogue knows is a
    contradiction: a document, base_model or quantization of a model that takes less memory. With a
    revision, or a path within the repository, it may be true, so the model is then resolved but not
    certain. What a document leaves unknown of such a model is as the catalogue knows it. Raises
    `Unresolved`.
    """
    name = _short(uri) or base_model
    repository, alone = repository_of(uri)
    entry = catalogue.load().find(repository) if repository else None
    certain = alone and is_default(revision)
    if document is not None:
        model = _from_document(document, name, origin)
        known = entry.architecture if entry is not None and certain else None
        if known and model.architecture and model.architecture.assumed and not known.assumed:
            model = replace(model, architecture=known, parameters=known.parameters)
    elif base_model:
        model = _from_base(base_model, name)
    else:
        if entry is not None:
            model = Model(
                name,
                ModelSource.CATALOGUE,
                entry.architecture,
                entry.architecture.parameters,
                None,
                f"catalogue:{entry.id}",
                (),
                entry.digest,
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
            near = catalogue.load().suggest(repository or _short(uri))
            return Model(
                name or "an unnamed model",
                ModelSource.UNKNOWN,
                suggestions=near,
                origin=shown(uri)[1:-1],
            )
    resolved = _named(_stored_as(model, quantization), repository or name)
    contradiction = _contradiction(repository, entry, resolved, base_model, origin, quantization)
    if contradiction is not None and certain:
        raise Unresolved(contradiction)
    return replace(resolved, certain=contradiction is None, uri=uri)


def _contradiction(
    name: str,
    entry: catalogue.Entry | None,
    model: Model,
    base_model: str,
    origin: str,
    quantization: str,
) -> Finding | None:
    """What is said of a model that takes less than the one that the catalogue knows at its uri.

    Nobody is harmed by one that takes more: the larger figure is believed.
    """
    claimed = model.architecture
    if entry is None or claimed is None:
        return None
    known = entry.architecture
    fewer = claimed.parameters < known.parameters * LEAST_SHARE
    bits = _bits(known)
    if not fewer and _bits(claimed) >= bits:
        return None
    if quantization and not fewer:
        rule, field = Rule.NOT_STORED_SO_AT_URI, Field.STORED
        other = checkpoint_like(name, quantization)
        if other is None:
            return finding(rule, field, quantization, uri=name, bits=bits)
        rule = Rule.NOT_STORED_SO_AT_URI_BUT_AT
        return finding(rule, field, quantization, uri=name, bits=bits, other=other.id)
    field = Field.CONFIG if origin else Field.BASE_MODEL
    parameters = count(known.parameters)
    rule = Rule.NOT_THE_MODEL_AT_URI
    given = origin or base_model
    return finding(rule, field, given, uri=name, bits=bits, parameters=parameters)


def known_at(uri: str) -> str:
    """The catalogue's id of the model at a uri, at whatever revision; empty if it knows none."""
    repository, _ = repository_of(uri)
    entry = catalogue.load().find(repository) if repository else None
    return entry.id if entry else ""


def checkpoint_like(name: str, word: str) -> catalogue.Entry | None:
    """Another checkpoint of a model of the catalogue that is stored as a word says, if it has one.

    Checkpoints of one model begin with its name and have as many parameters. One whose config is
    known comes first, then one of the same owner, then one of the very method that the word stands
    for.
    """
    models, wanted = catalogue.load(), stored(word)
    entry = models.find(name)
    if entry is None or wanted is None or wanted.default is None:
        return None
    owner, _, short = name.lower().rpartition("/")
    alike = [
        other
        for other in models.alike(entry, short)
        if other is not entry
        and other.architecture.parameters == entry.architecture.parameters
        and _scheme(other.architecture) == wanted.default.name
    ]
    alike.sort(
        key=lambda other: (
            bool(other.word),
            not other.id.lower().startswith(owner),
            _method(other) != word,
        )
    )
    return alike[0] if alike else None


def _scheme(architecture: Architecture) -> str:
    """How most linears of a model are stored, in a word; empty if they are not quantized."""
    quantization = architecture.quantization
    return quantization.default.name if quantization and quantization.default else ""


def _method(entry: catalogue.Entry) -> str:
    """The method by which an entry's checkpoint is quantized; empty if it is not."""
    quantization = entry.architecture.quantization
    return quantization.method if quantization else ""


def _bits(architecture: Architecture) -> int:
    """Bits per parameter of a model's linears as they are stored, the fewest."""
    quantization = architecture.quantization
    if quantization is not None and quantization.schemes:
        return min(scheme.bits for scheme in quantization.schemes)
    return 32 if architecture.dtype == "float32" else 16


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
        entry.digest,
    )


def _from_document(document: str, name: str, origin: str) -> Model:
    digest = hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = _documents.get(digest)
    if kept is None:
        try:
            kept = _architecture(parse_document(document, ""))
        except Invalid as error:
            problems = map(_without_text, error.problems)
            raise Unresolved(*problems, part=Field.CONFIG) from None
        _documents[digest] = kept
        while len(_documents) > _KEPT:
            _documents.popitem(last=False)
    _documents.move_to_end(digest)
    architecture, is_profile, given = kept
    source = ModelSource.PROFILE if is_profile else ModelSource.CONFIG
    return Model(
        name or (given if is_profile else "") or origin or given or "the model in the document",
        source,
        architecture,
        architecture.parameters,
        None,
        origin,
        (),
        digest,
    )


def _without_text(problem: Problem) -> Problem:
    """A problem of a document that says which kind of value it has and not the value, but for
    numbers: whoever reads it may not be allowed to read the document.
    """
    kinds = {'"': "a text", "[": "a list", "{": "a mapping"}
    return replace(problem, given=kinds.get(problem.given[:1], problem.given))


def _architecture(parsed: Mapping[str, Any]) -> tuple[Architecture, bool, str]:
    from plimsoll.models.checkpoint.profile import FORMAT, from_profile  # documents alone need it

    if parsed.get("format") == FORMAT:
        return from_profile(parsed), True, str(parsed.get("name") or "")[:256]
    return architecture(parsed), False, str(parsed.get("_name_or_path") or "")[:256]


def _named(model: Model, name: str) -> Model:
    """The model as one of that name; some names say that it gives vectors."""
    if model.architecture is None:
        return model
    architecture = pooling.named(model.architecture, name)
    if architecture is model.architecture:
        return model
    return replace(model, architecture=architecture, digest=f"{model.digest}+pools")


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
