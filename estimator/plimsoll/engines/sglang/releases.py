"""Which models a release of SGLang has: a class of its registry, from its first release on.

One that a release does not have yet it may still run by transformers' own code from 0.4.7 on,
and from 0.5.10 on one that sees or hears; none with recurrent layers. Nothing is refused where no
version is said: nobody knows then which release it will be.

Source: data/architectures.json; the classes Transformers... of sglang/srt/models/transformers.py.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines.sglang.compressed import is_compressed
from plimsoll.engines.sglang.settings import TABLE
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.engines.base import EngineSettings
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_TEXT_FROM: Final = "0.4.7"
_MULTIMODAL_FROM: Final = "0.5.10"
"""Releases from which models run by transformers' own code: of text, and those that see or hear."""
_OTHER_CODE: Final = ("--model-impl", "--json-model-override-args", "--config")
"""Flags that may name other code for a model."""


def model_faults(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    """A model that a release surely does not have yet."""
    if _missing(architecture, settings) and not _by_transformers(architecture, settings):
        yield _finding(Rule.MODEL_OF_LATER_RELEASE, architecture, settings)


def model_notes(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    """A model that a release does not have, and may still run by transformers' own code."""
    if _missing(architecture, settings):
        yield _finding(Rule.MODEL_BY_TRANSFORMERS, architecture, settings)


def _finding(rule: Rule, architecture: Architecture, settings: EngineSettings) -> Finding:
    name = architecture.class_name
    return finding(
        rule,
        Field.VERSION,
        settings.version,
        engine=TABLE.title,
        name=name,
        release=_since()[name],
        version=TABLE.or_newest(settings.version).version,
    )


def _missing(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether a release that is said does not have the class yet."""
    since = _since().get(architecture.class_name)
    own = any(flag.startswith(_OTHER_CODE) for flag in (*settings.unread, *settings.flags))
    if since is None or not settings.version.strip() or own:
        return False
    return TABLE.number(settings.version) < TABLE.parse(since)


def _by_transformers(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether a release may run a model that it does not have."""
    states = any(mixer.state_elements or mixer.conv_elements for mixer in architecture.mixers())
    if states or is_compressed(architecture):
        return False
    first = _MULTIMODAL_FROM if architecture.multimodal else _TEXT_FROM
    return TABLE.number(settings.version) >= TABLE.parse(first)


@cache
def _since() -> dict[str, str]:
    """The first release of every class that came after the first release known here."""
    text = (Path(__file__).parent / "data/architectures.json").read_text("utf-8")
    since: dict[str, str] = json.loads(text)["since"]
    return since
