"""Pydantic's errors in our words: field path, what was given, what was wanted, the next step.

It must not let a word of pydantic's, or a link of its, through to a user.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from plimsoll.errors import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

MAX_PROBLEMS: Final = 50
"""Problems of one object that are listed; the rest are counted."""

PATTERNS: Final = {
    r"^[0-9]{1,9}(Mi|Gi)$": "a quantity such as 40Gi or 81559Mi",
    r"^[0-9]{1,6}(\.[0-9]{1,4})?[KMBT]?$": "a parameter count such as 70B or 494M",
    r"^(0\.[0-9]{1,4}|1)$": 'a share between 0 and 1 as a string, such as "0.92"',
    r"^(hf|oci|pvc|s3|gs|file)://.+": "a location such as hf://org/name (also oci, pvc, s3, gs, "
    "file)",
    r"^[a-z0-9][a-z0-9._-]*$": "a word of small letters, digits, dots and dashes",
    r"^[a-z0-9][a-z0-9_]*$": "a word of small letters, digits and underscores",
}
"""The forms that fields have, in words."""
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


def path_of(location: Sequence[int | str], root: str) -> str:
    """``spec.engine.extraArgs[3]`` for a location within the spec."""
    path = root
    for part in location:
        if part == "[key]":
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{shown(part)[1:-1]}"
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
        known = sorted(_fields(model, location[:-1]))
        near = difflib.get_close_matches(str(location[-1])[:64], known, n=1, cutoff=0.6)
        fix = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return Problem(path, _given(given), "no such field", fix)
    fix = _rewritten(kind, given) or _left_out(_description(model, location))
    return Problem(path, _given(given), f"must be {_wanted(kind, context)}", fix)


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
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], "of another form")
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters long"
    if kind == "string_too_short":
        return "at least one character long"
    if kind == "too_long":
        return f"at most {context['max_length']} entries long"
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    return _KINDS.get(kind, "a value of the field's type")


def _rewritten(kind: str, given: object) -> str:
    """How to write what was probably meant; empty where nobody can tell."""
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if kind == "string_type" and number:
        return f'write it as a string: "{_given(given)}"'
    if kind == "int_type" and isinstance(given, str) and re.fullmatch(r"[0-9]{1,18}", given):
        return f"write it without quotes: {given}"
    if kind == "bool_type":
        return "write it without quotes" if given in ("true", "false") else ""
    if kind == "list_type" and isinstance(given, str):
        return "write it as a list, one entry a line"
    return ""


def _left_out(description: str) -> str:
    """What happens where the field is left out, if its description says so."""
    said = description.partition("Unset: ")[2].rstrip(".")
    return f"change it, or leave it out ({said})" if said else ""


def _fields(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The names of the fields of the mapping at a location."""
    found = _model_at(model, location)
    return [f.alias or name for name, f in found.model_fields.items()] if found else []


def _model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    for part in location:
        annotation: Any = next(
            (f.annotation for name, f in model.model_fields.items() if part in (name, f.alias)),
            None,
        )
        options = (annotation, *getattr(annotation, "__args__", ()))
        inner = next((a for a in options if isinstance(a, type) and issubclass(a, BaseModel)), None)
        if inner is None:
            return None
        model = inner
    return model


def _description(model: type[BaseModel], location: Sequence[int | str]) -> str:
    """The description of the field at a location; empty where there is none."""
    parent = _model_at(model, location[:-1]) if location else None
    fields = parent.model_fields.items() if parent else ()
    found = (f.description for name, f in fields if location[-1] in (name, f.alias))
    return next(found, None) or ""
