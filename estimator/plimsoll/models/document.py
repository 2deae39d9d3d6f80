"""From the text of a config.json or of a profile to its JSON object, within limits.

Nothing in the text is believed: it comes from whoever wrote a ConfigMap or a file.
"""

from __future__ import annotations

import json
from typing import Any, Final

from plimsoll.errors import Invalid, Problem, shown

MAX_DOCUMENT: Final = 1 << 20
"""Characters of a config.json or profile; a ConfigMap holds no more."""


def parse_document(text: str, path: str) -> dict[str, Any]:
    """The JSON object in a config.json or profile. Raises `Invalid` for anything else."""
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
    except ValueError as error:
        raise Invalid(
            Problem(path, shown(text[:40]), f"a model's config.json as JSON ({str(error)[:120]})")
        ) from None
    if not isinstance(parsed, dict):
        raise Invalid(Problem(path, shown(text[:40]), "a JSON object, as every config.json is"))
    return parsed


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ; in one pass, as a document may hold 100,000 of them."""
    read: dict[str, Any] = {}
    for key, value in pairs:
        if key in read:
            raise ValueError(f"key {key[:40]!r} stands twice")
        read[key] = value
    return read
