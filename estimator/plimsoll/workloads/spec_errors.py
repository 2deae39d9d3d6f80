"""Pydantic's errors in our words: field path, what was given, what was wanted, the next step."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel

from plimsoll.errors import Problem, shown
from plimsoll.workloads.spec import Form

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

MAX_PROBLEMS: Final = 50
"""Problems of one object that are listed; the rest are counted."""

_KINDS: Final = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_type": "a string",
    "string_unicode": "readable text",
    "invalid_key": "a field's name",
}


_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""What stands after a dot in a path; anything else, such as a label, stands in brackets."""
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def path_of(location: Sequence[int | str], root: str) -> str:
    """``spec.engine.extraArgs[3]`` for a location within the spec."""
    path = root
    for part in location:
        if part == "[key]":
            continue
        said = str(part) if isinstance(part, int) else shown(part)[1:-1]
        path += f".{said}" if _NAME.fullmatch(said) else f"[{said}]"
    return path


def problems_of(
    errors: Sequence[ErrorDetails], model: type[BaseModel], root: str = "spec"
) -> tuple[Problem, ...]:
    """All problems, one for each error, the first `MAX_PROBLEMS` of them."""
    found = [_problem(error, model, root) for error in errors[:MAX_PROBLEMS]]
    if len(errors) > MAX_PROBLEMS:
        more = len(errors) - MAX_PROBLEMS
        found.append(Problem(root, f"{more} more errors", "an object without them"))
    return tuple(found)


def _problem(error: ErrorDetails, model: type[BaseModel], root: str) -> Problem:
    kind, location, given = error["type"], error["loc"], error["input"]
    context: Mapping[str, Any] = error.get("ctx") or {}
    path = path_of(location, root)
    if kind == "missing":
        described = _description(model, location)
        return Problem(path, "", described.rstrip(".") or "a value", "it may not be left out")
    if kind == "extra_forbidden":
        fix = _meant(model, location, root)
        return Problem(path, _given(given), "no such field", fix)
    fix = _rewritten(kind, given, context) or _fields_of(model, location)
    fix = fix or _left_out(_description(model, location))
    form = _form(model, location) if kind == "string_pattern_mismatch" else ""
    return Problem(path, _given(given), f"must be {form or _wanted(kind, context)}", fix)


def _meant(model: type[BaseModel], location: Sequence[int | str], root: str) -> str:
    """What an unknown field was probably meant to be: a name near it, or its place elsewhere."""
    given = str(location[-1])[:64].lower()
    known = sorted(_fields(model, location[:-1]))
    elsewhere = [p for p in _paths(model, root) if p.rpartition(".")[2].lower() == given]
    near = difflib.get_close_matches(given, [name.lower() for name in known], n=1, cutoff=0.65)
    if near and (near[0] == given or not elsewhere):
        return f"did you mean {next(name for name in known if name.lower() == near[0])}?"
    if elsewhere:
        return f"its place is {elsewhere[0]}"
    return f"known here: {', '.join(known)}"


def _paths(model: type[BaseModel], root: str) -> Iterator[str]:
    """The paths of all fields, the shallow ones first."""
    deeper = []
    for name, field in model.model_fields.items():
        path = f"{root}.{field.alias or name}"
        yield path
        inner = _model_in(field.annotation)
        if inner is not None:
            deeper.append((inner, path))
    for inner, path in deeper:
        yield from _paths(inner, path)


def _given(given: object) -> str:
    if isinstance(given, (dict, list)):
        what = "a mapping" if isinstance(given, dict) else "a list"
        return f"{what} of {len(given)}"
    if given is None or isinstance(given, bool):
        return "null" if given is None else str(given).lower()
    if isinstance(given, int) and abs(given) >= 10**30:
        return "a number of more than 30 digits"
    return shown(given)


def _wanted(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "greater_than_equal":
        return f"at least {context['ge']}"
    if kind == "less_than_equal":
        return f"at most {context['le']}"
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters long"
    if kind == "string_too_short":
        return "at least one character long"
    if kind == "too_long":
        return f"at most {context['max_length']} entries long"
    if kind == "too_short":
        return "at least one entry long"
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    return _KINDS.get(kind, "a value of the field's type")


def _rewritten(kind: str, given: object, context: Mapping[str, Any]) -> str:
    """How to write what was probably meant; empty if nobody can tell."""
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if kind == "string_type" and number:
        return f'write it as a string: "{_given(given)}"'
    if kind == "int_type" and isinstance(given, str) and re.fullmatch(r"[0-9]{1,18}", given):
        return f"write it without quotes: {given}"
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"write it without a fraction: {given:.0f}" if abs(given) < 1e15 else ""
    if kind == "string_pattern_mismatch" and "hf|" in context["pattern"]:
        return f"write it as hf://{given}" if _ID.fullmatch(str(given)) else ""
    if kind == "bool_type":
        return "write it without quotes" if given in ("true", "false") else ""
    if kind == "list_type" and isinstance(given, str):
        return "write it as a list, one entry a line"
    return ""


def _fields_of(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """The fields of what is at a location, if it should be a mapping of known ones."""
    known = sorted(_fields(model, location))
    return f"its fields: {', '.join(known)}" if known else ""


def _left_out(description: str) -> str:
    """What happens if the field is left out, if its description says so."""
    said = description.partition("Unset: ")[2].rstrip(".")
    return f"change it, or leave it out ({said})" if said else "change it"


def _fields(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The names of the fields of the mapping at a location."""
    found = _model_at(model, location)
    return [f.alias or name for name, f in found.model_fields.items()] if found else []


def _model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    for part in location:
        if isinstance(part, int):
            continue
        fields = model.model_fields.items()
        inner = next((_model_in(f.annotation) for n, f in fields if part in (n, f.alias)), None)
        if inner is None:
            return None
        model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names, alone, beside None or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _form(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """The form of the field at a location, in words; of a mapping that of its keys or values."""
    at = list(location)
    while at and (field := _field(model, at)) is None:
        at.pop()
    forms = list(_forms((field.annotation, *field.metadata))) if at and field else []
    return forms[0 if location[-1] == "[key]" else -1] if forms else "of another form"


def _forms(annotations: Iterable[Any]) -> Iterator[str]:
    """What the `Form` of a field's type says, however deep it stands."""
    for annotation in annotations:
        if isinstance(annotation, Form):
            yield annotation.words
        yield from _forms(getattr(annotation, "__metadata__", ()))
        yield from _forms(get_args(annotation))


def _field(model: type[BaseModel], location: Sequence[int | str]) -> FieldInfo | None:
    """The field at a location; None if there is none."""
    parent = _model_at(model, location[:-1]) if location else None
    fields = parent.model_fields.items() if parent else ()
    return next((f for name, f in fields if location[-1] in (name, f.alias)), None)


def _description(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """The description of the field at a location; empty if there is none."""
    field = _field(model, location)
    return (field.description if field else None) or ""
