"""Parts of objects that somebody else wrote: what is not of the kind that is read is absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plimsoll.api_group import LABEL_FORM, LABEL_VALUE_FORM
from plimsoll.errors import shown

_KEY: Final = re.compile(LABEL_FORM)
_VALUE: Final = re.compile(LABEL_VALUE_FORM)


def mapping(value: object) -> Mapping[str, Any]:
    """The value, if it is an object; else an empty one."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; none if it is not a list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def no_label(key: object, value: object = "") -> str:
    """What of a key and a value Kubernetes takes for no label or taint; empty if it takes both."""
    if not isinstance(key, str) or len(key) > 317 or not _KEY.fullmatch(key):
        return f"{shown(key)} is no key of a label"
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        return f"{shown(value)} is no value of a label"
    return ""
