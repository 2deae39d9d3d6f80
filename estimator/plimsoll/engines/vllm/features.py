"""Flags of vLLM's features into settings, and back: LoRA, drafts, images, offload, pooling.

It must not compute memory. What has a field of its own (`EngineSettings.lora`, `speculative`,
`cpu_offload`, `images`) goes there, the rest into `EngineSettings.own`; a flag that contradicts a
typed field is a problem.

    --speculative-config   JSON, or a dotted key at a time; --spec-method, --spec-model and
                           --spec-tokens; before 0.8.3 --speculative-model and
                           --num-speculative-tokens
    --limit-mm-per-prompt  JSON, dotted keys, or image=2,video=0 as before 0.9
    --cpu-offload-gb       GiB, in spite of its name
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import EngineSettings, Lora, Speculative
from plimsoll.engines.vllm import multimodal, offload, speculative
from plimsoll.errors import Unreadable
from plimsoll.findings import Fact, Finding, Rule, finding
from plimsoll.paths import Field
from plimsoll.units import GIB, MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plimsoll.engines.vllm.flags import Use

_WORD: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_PAIRS: Final = re.compile(r"[a-z_]{1,16}=[0-9]{1,6}(,[a-z_]{1,16}=[0-9]{1,6})*")
_OLD_DRAFT_FLAGS: Final = (0, 8, 3)
"""Before this version a draft is said by flags of its own, not by ``--speculative-config``."""
_MOST: Final = 10**9
_TEXT, _COUNT = "text", "a whole number above 0"
_DRAFT_KEYS: Final = (("method", _TEXT), ("model", _TEXT), ("num_speculative_tokens", _COUNT))


def at(use: Use, rule: Rule, given: object = None, **facts: Fact) -> Finding:
    """A finding about one use of a flag."""
    return finding(rule, Field.EXTRA_ARGS, given, use.index, **facts)


class Features:
    """The feature flags of one command line, as they come in."""

    def __init__(self, integer: Callable[[str], int]) -> None:
        """integer: how the engine reads a whole number above 0."""
        self.said: dict[str, Any] = {}
        self._where: dict[str, int] = {}
        self._integer = integer

    def take(self, use: Use) -> Finding | None:
        """One use of a flag; gives what is wrong with its value."""
        name = use.flag.name.removeprefix("--")
        try:
            value = self._value(use)
        except Unreadable as error:
            written, flag = " ".join(use.written), use.flag.name
            return at(use, Rule.FLAG_UNREADABLE, written, flag=flag, wanted=error.wanted)
        if use.flag.kind == "object":
            value = {**self.said.get(name, {}), **value}
        self.said[name] = value
        self._where.setdefault(name, use.index)
        return None

    def _value(self, use: Use) -> Any:
        kind = use.flag.kind
        if kind == "switch":
            if use.values:
                raise Unreadable(use.values[0], "a switch without a value")
            return use.on
        if not use.values or not use.on:
            raise Unreadable("", "a flag with a value")
        text = use.values[0].strip()
        if kind == "object":
            dotted = use.written[0].partition("=")[0].partition(".")[2]
            return _nested(dotted, text) if dotted else _object(text)
        if kind == "words":
            return ",".join(use.values)
        if kind == "word" and not _WORD.fullmatch(text):
            raise Unreadable(text, "a word")
        if kind == "number":
            return _number(text)
        if kind == "whole" and text == "0":
            return 0
        return self._integer(text) if kind in ("integer", "whole") else text[:256]

    def into(
        self, settings: EngineSettings, problems: list[Finding], warnings: list[Finding]
    ) -> EngineSettings:
        """The settings with these flags in them."""
        said = dict(self.said)
        settings = self._lora(said, settings, problems, warnings)
        settings = self._speculative(said, settings, problems)
        settings = self._images(said, settings, problems)
        offload = said.pop("cpu-offload-gb", None)
        if offload is not None:
            self._one(settings.cpu_offload, offload, "cpu-offload-gb", Field.CPU_OFFLOAD, problems)
            settings = replace(settings, cpu_offload=offload or None)
        own = [(name, value) for name, value in said.items() if value is not False]
        texts = {name: value if isinstance(value, str) else _text(value) for name, value in own}
        return replace(settings, own=(*settings.own, *sorted(texts.items())))

    def _one(
        self, typed: Any, value: Any, name: str, field: Field, problems: list[Finding]
    ) -> None:
        """A problem where a typed field says something else than a flag."""
        if typed is not None and value is not None and typed != value:
            own = f"{typed / GIB:g} GiB" if name == "cpu-offload-gb" else _text(typed)
            given = f"{value / GIB:g} GiB" if name == "cpu-offload-gb" else _text(value)
            problems.append(
                finding(
                    Rule.FEATURE_CONTRADICTS_FIELD,
                    Field.EXTRA_ARGS,
                    index=self._where.get(name),
                    written=f"--{name} {given}",
                    typed=field,
                    value=own,
                )
            )

    def _lora(
        self, said: dict[str, Any], settings: EngineSettings, problems: list[Finding],
        warnings: list[Finding],
    ) -> EngineSettings:  # fmt: skip
        typed = settings.lora
        on = said.pop("enable-lora", None)
        details = [n for n in said if "lora" in n]
        if typed is not None and on is False:
            where = self._where["enable-lora"]
            problems.append(finding(Rule.LORA_SWITCHED_OFF, Field.EXTRA_ARGS, index=where))
        if typed is None and not on:
            for name in details:
                del said[name]
                where = self._where[name]
                warnings.append(
                    finding(Rule.LORA_FLAG_IN_VAIN, Field.EXTRA_ARGS, index=where, flag=f"--{name}")
                )
            return settings
        slots, rank = said.pop("max-loras", None), said.pop("max-lora-rank", None)
        given = typed or Lora()
        self._one(given.slots, slots, "max-loras", Field.LORA_SLOTS, problems)
        self._one(given.rank, rank, "max-lora-rank", Field.LORA_RANK, problems)
        return replace(settings, lora=Lora(slots or given.slots, rank or given.rank))

    def _speculative(
        self, said: dict[str, Any], settings: EngineSettings, problems: list[Finding]
    ) -> EngineSettings:
        config = dict(said.pop("speculative-config", {}))
        where = "speculative-config"
        old = {
            "method": said.pop("spec-method", None),
            "model": said.pop("spec-model", said.pop("speculative-model", None)),
            "num_speculative_tokens": said.pop(
                "spec-tokens", said.pop("num-speculative-tokens", None)
            ),
        }
        config.update({key: value for key, value in old.items() if value is not None})
        if not config:
            return settings
        self._where.setdefault(where, next(iter(self._where.values())))
        if config.get("model") in ("[ngram]", "ngram"):
            config["method"] = "ngram"
            del config["model"]
        found: dict[str, Any] = {}
        for key, wanted in _DRAFT_KEYS:
            found[key] = config.pop(key, None)
            if found[key] is not None and not _is(found[key], wanted):
                problems.append(
                    finding(
                        Rule.DRAFT_CONFIG,
                        Field.EXTRA_ARGS,
                        index=self._where[where],
                        key=key,
                        value=str(found[key]),
                        wanted=wanted,
                    )
                )
                found[key] = None
        typed = settings.speculative or Speculative()
        for key, own, field in (
            ("method", typed.method or None, Field.SPECULATIVE_METHOD),
            ("model", typed.model or None, Field.SPECULATIVE_MODEL),
            ("num_speculative_tokens", typed.tokens, Field.SPECULATIVE_TOKENS),
        ):
            self._one(own, found[key], where, field, problems)
        if config:
            said[where] = config
        return replace(
            settings,
            speculative=Speculative(
                found["method"] or typed.method,
                found["model"] or typed.model,
                found["num_speculative_tokens"] or typed.tokens,
            ),
        )

    def _images(
        self, said: dict[str, Any], settings: EngineSettings, problems: list[Finding]
    ) -> EngineSettings:
        limits = dict(said.pop("limit-mm-per-prompt", {}))
        for name, limit in limits.items():
            count = limit.get("count", 1) if isinstance(limit, dict) else limit
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MOST:
                problems.append(
                    finding(
                        Rule.ITEM_LIMIT,
                        Field.EXTRA_ARGS,
                        index=self._where["limit-mm-per-prompt"],
                        kind=name,
                        limit=_text(limit)[:80],
                    )
                )
                return settings
        for name, typed, field in (
            ("image", settings.images, Field.IMAGES),
            ("video", settings.videos, Field.VIDEOS),
        ):
            limit = limits.get(name)
            if limit is None:
                continue
            count = limit.get("count", 1) if isinstance(limit, dict) else limit
            self._one(typed, count, "limit-mm-per-prompt", field, problems)
            if not isinstance(limit, dict):
                settings = replace(settings, **{field.value: count})
                del limits[name]
        if said.get("language-model-only"):
            self._one(settings.images, 0, "language-model-only", Field.IMAGES, problems)
        if limits:
            said["limit-mm-per-prompt"] = limits
        return settings


def without_unmodelled(settings: EngineSettings) -> EngineSettings:
    """The settings with what no model here covers moved to `EngineSettings.unread`."""
    unread: list[str] = []
    if settings.speculative is not None and not speculative.modelled(settings):
        draft = replace(EngineSettings(), speculative=settings.speculative)
        keys = ("speculative-config",)
        rest = tuple((name, value) for name, value in settings.own if name in keys)
        unread += flags(replace(draft, own=rest), _OLD_DRAFT_FLAGS)
        settings = replace(
            settings,
            speculative=None,
            own=tuple((name, value) for name, value in settings.own if name not in keys),
        )
    for name, value in settings.own:
        held = name == "kv-transfer-config" and not offload.holds_on_the_host(value)
        if held or (name == "mm-processor-kwargs" and not multimodal.only_sizes(value)):
            unread.append(f"--{name}={value}")
            settings = replace(settings, own=tuple(o for o in settings.own if o[0] != name))
    if not unread:
        return settings
    return replace(settings, unread=(*settings.unread, *unread))


def _read(text: str) -> dict[str, Any]:
    """A JSON object that was read before."""
    value: dict[str, Any] = json.loads(text) if text else {}
    return value


def flags(settings: EngineSettings, version: tuple[int, int, int]) -> list[str]:
    """The flags that say these features, as this version of the engine takes them."""
    rest = dict(settings.own)
    out: list[str] = []
    if settings.lora is not None:
        out.append("--enable-lora")
        if settings.lora.slots is not None:
            out.append(f"--max-loras={settings.lora.slots}")
        if settings.lora.rank is not None:
            out.append(f"--max-lora-rank={settings.lora.rank}")
    if settings.speculative is not None:
        out += _draft_flags(
            settings.speculative, _read(rest.pop("speculative-config", "")), version
        )
    if settings.cpu_offload:
        out.append(f"--cpu-offload-gb={settings.cpu_offload / GIB:g}")
    limits = _read(rest.pop("limit-mm-per-prompt", ""))
    typed = {"image": settings.images, "video": settings.videos}
    limits = {name: n for name, n in typed.items() if n is not None} | limits
    if settings.images == 0 and settings.videos == 0:
        limits.setdefault("audio", 0)
    if limits:
        out.append(f"--limit-mm-per-prompt={_text(limits)}")
    for name, value in rest.items():
        if name == "lora-target-modules":
            out += [f"--{name}", *value.split(",")]
        else:
            out.append(f"--{name}" if value == "true" else f"--{name}={value}")
    return out


def _draft_flags(
    draft: Speculative, rest: Mapping[str, Any], version: tuple[int, int, int]
) -> list[str]:
    if version < _OLD_DRAFT_FLAGS:
        model = "[ngram]" if draft.method == "ngram" else draft.model
        found = [("speculative-model", model), ("num-speculative-tokens", draft.tokens)]
        return [f"--{name}={value}" for name, value in found if value]
    config = {"method": draft.method, "model": draft.model, "num_speculative_tokens": draft.tokens}
    said = {key: value for key, value in config.items() if value}
    return [f"--speculative-config={_text({**said, **rest})}"]


def _is(value: object, wanted: str) -> bool:
    """Whether a value of JSON is what is wanted of it."""
    if wanted == _TEXT:
        return isinstance(value, str) and len(value) <= 256
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _object(text: str) -> dict[str, Any]:
    """A JSON object, or pairs with ``=``. Raises `Unreadable`."""
    if _PAIRS.fullmatch(text):
        pairs = (pair.partition("=") for pair in text.split(","))
        return {name: int(value) for name, _, value in pairs}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Unreadable(text[:80], "a JSON object")
    return value


def _nested(dotted: str, text: str) -> dict[str, Any]:
    """``a.b`` and a value as nested objects; the value as JSON where it is some, else as text."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    for key in reversed(dotted.split(".")):
        value = {key.replace("-", "_"): value}
    made: dict[str, Any] = value
    return made


def _number(text: str) -> int:
    """GiB with a fraction, in bytes."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Unreadable(text, "a number of GiB") from None
    if not value.is_finite() or not 0 <= value <= MAX_BYTES // GIB:
        raise Unreadable(text, "a number of GiB, 0 or more")
    return int(value * GIB)
