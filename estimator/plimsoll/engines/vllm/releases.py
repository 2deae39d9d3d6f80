"""Which models and which flags a release of vLLM has.

    model   a class of the registry, from its first release on until it was removed; one that a
            release does not have yet it may still run by transformers' own code: a decoder of text
            from 0.7.2 on, one that sees or hears from 0.10 on, none with recurrent layers; so it
            does with Mllama, which it has not any more (its own start-up of 0.26.0, no GPU)
    flag    of the engine, from its first release on until it was removed

Where no version is said, a model is held to the newest; what that means for a refusal says
`plimsoll.decision.releases`.

Source: data/architectures.json and data/flag_releases.json, from
vllm/model_executor/models/registry.py and vllm/engine/arg_utils.py of every release; the classes
Transformers... of the registry.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.vllm.options import TABLE
from plimsoll.engines.vllm.traits import traits
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from plimsoll.engines.base import EngineSettings
    from plimsoll.engines.flags import Use
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_OTHER_CODE: Final = ("--model-impl", "--hf-overrides", "--model-class-overrides")
"""Flags that may name other code for a model."""


def model_faults(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    """A model that a release surely does not have: not yet, or no more."""
    name, version = architecture.class_name, settings.version
    if other_code(settings):
        return
    running = TABLE.or_newest(version).version
    gone = _releases("architectures", "removed").get(name)
    if _removed_and_run(architecture, version):
        return
    if gone and TABLE.parse(gone) <= TABLE.number(version):
        rule = Rule.MODEL_OF_EARLIER_RELEASE
        said = version or running
        yield finding(rule, Field.VERSION, said, name=name, release=gone, version=running)
    elif missing(architecture, version) and not _by_transformers(architecture, version):
        since = _releases("architectures", "since")[name]
        rule = Rule.MODEL_OF_LATER_RELEASE
        engine = TABLE.title
        yield finding(
            rule,
            Field.VERSION,
            version,
            engine=engine,
            name=name,
            release=since,
            version=running,
        )


def model_notes(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    """A model that a release does not have, and may still run by transformers' own code."""
    version = settings.version
    removed = _removed_and_run(architecture, version)
    if not (removed or missing(architecture, version)):
        return
    yield finding(
        Rule.MODEL_BY_TRANSFORMERS,
        Field.VERSION,
        version,
        engine=TABLE.title,
        name=architecture.class_name,
        release=removed or _releases("architectures", "since")[architecture.class_name],
        version=TABLE.or_newest(version).version,
    )


def _removed_and_run(architecture: Architecture, version: str) -> str:
    """The release that removed a class which transformers' own code stands in for; else empty."""
    gone = _releases("architectures", "removed, by transformers").get(architecture.class_name, "")
    return gone if gone and TABLE.parse(gone) <= TABLE.number(version) else ""


def flag_faults(uses: Iterable[Use | tuple[int, str]], version: str) -> Iterator[Finding]:
    """Flags that a release does not have yet, or no more: its parser refuses them.

    Nothing where no version is said: nobody knows then which parser it will be.
    """
    if not version.strip():
        return
    own, running = TABLE.number(version), TABLE.or_newest(version).version
    later, gone = _releases("flag_releases", "since"), _releases("flag_releases", "removed")
    for use in uses:
        if isinstance(use, tuple):
            continue
        name, written = use.flag.name, " ".join(use.written)
        since, until = later.get(name), gone.get(name)
        if since and own < TABLE.parse(since):
            rule = Rule.FLAG_OF_LATER_RELEASE
            yield use.finding(rule, written, flag=name, release=since, version=running)
        elif until and TABLE.parse(until) <= own:
            rule = Rule.FLAG_OF_EARLIER_RELEASE
            yield use.finding(rule, written, flag=name, release=until, version=running)


def missing(architecture: Architecture, version: str) -> bool:
    """Whether a release surely does not have the class yet."""
    since = _releases("architectures", "since").get(architecture.class_name)
    return since is not None and TABLE.number(version) < TABLE.parse(since)


def _by_transformers(architecture: Architecture, version: str) -> bool:
    """Whether a release may run a model that it does not have."""
    own = traits(architecture)
    if own.states or own.crosses or own.encoder:
        return False
    kind = "multimodal" if architecture.multimodal else "text"
    first = _releases("architectures", "by transformers")[kind]
    return TABLE.number(version) >= TABLE.parse(first)


def other_code(settings: EngineSettings) -> bool:
    """Whether flags may name other code for the model."""
    return any(flag.startswith(_OTHER_CODE) for flag in (*settings.unread, *settings.flags))


@cache
def _releases(file: str, which: str) -> dict[str, str]:
    """The release of every name of a table."""
    text = (Path(__file__).parent / f"data/{file}.json").read_text("utf-8")
    data: dict[str, dict[str, Any]] = json.loads(text)
    return {name: release for release, names in data[which].items() for name in names}
