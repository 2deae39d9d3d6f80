"""From the text of a config.json or of a profile to its JSON object, within limits.

Nothing in the text is believed: it comes from whoever wrote a ConfigMap or a file.
"""

from __future__ import annotations

import json
from typing import Any, Final

from plimsoll.errors import Invalid, Problem

MAX_DOCUMENT: Final = 1 << 20
"""Characters of a config.json or profile; a ConfigMap holds no more."""


def parse_document(text: str, path: str) -> dict[str, Any]:
    """The JSON object in a config.json or profile. Raises `Invalid` for anything else.

    The error names line and column and never repeats the text: whoever reads the error may not
    be allowed to read the document.
    """
    if len(text) > MAX_DOCUMENT:
        raise Invalid(
            Problem(
                path,
                f"{len(text)} characters",
                f"at most {MAX_DOCUMENT}",
                "make a compact profile with `plimsoll models export`",
            )
        )
    try:
        parsed = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError:
        raise Invalid(Problem(path, "deeply nested JSON", "a model's config.json")) from None
    except json.JSONDecodeError as error:
        place = f"no JSON at line {error.lineno}, column {error.colno}"
        raise Invalid(Problem(path, place, "a model's config.json, which is JSON")) from None
    except ValueError as error:
        raise Invalid(Problem(path, str(error), "a model's config.json, which is JSON")) from None
    if not isinstance(parsed, dict):
        raise Invalid(Problem(path, "no JSON object", "an object, as every config.json is"))
    return parsed


def _no_constant(name: str) -> object:
    raise ValueError(f"{name}, which is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key that stands twice")
    return made
