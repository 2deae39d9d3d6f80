"""vLLM's command line, read and written: extraArgs into settings, an estimate into flags.

What has a field of its own (`EngineSettings.lora`, `speculative`, `cpu_offload`, `images`) goes
there, the rest into `VLLMOptions`; a flag that contradicts a typed field is a problem.

    --speculative-config   JSON, or a dotted key at a time; --spec-method, --spec-model and
                           --spec-tokens; before 0.8.3 --speculative-model and
                           --num-speculative-tokens
    --limit-mm-per-prompt  JSON, dotted keys, or image=2,video=0 as before 0.9
    --cpu-offload-gb       GiB, in spite of its name
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Lora, Reading, Speculative
from plimsoll.engines.vllm import multimodal, offload, speculative
from plimsoll.engines.vllm.options import TABLE, VLLMOptions
from plimsoll.engines.vllm.releases import flag_faults
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate
    from plimsoll.engines.flags import Command

_OLD_DRAFT_FLAGS: Final = (0, 8, 3)
"""Before this version a draft is said by flags of its own, not by ``--speculative-config``."""
_SWITCHES_FROM: Final = (0, 9)
_TOOK_A_VALUE: Final = ("--enable-chunked-prefill", "--multi-step-stream-outputs")
"""Switches that took ``=true`` and ``=false`` before that release: StoreBoolean in
vllm/engine/arg_utils.py of 0.6 and 0.7."""
_MOST: Final = 10**9
_TEXT, _COUNT = "text", "a whole number above 0"
_DRAFT_KEYS: Final = (
    ("method", _TEXT, Field.SPECULATIVE_METHOD),
    ("model", _TEXT, Field.SPECULATIVE_MODEL),
    ("num_speculative_tokens", _COUNT, Field.SPECULATIVE_TOKENS),
)
_LIMITED: Final = (("image", Field.IMAGES), ("video", Field.VIDEOS))
_OBJECTS: Final = (
    "kv_transfer_config",
    "limit_mm_per_prompt",
    "mm_processor_kwargs",
    "speculative_config",
)


def with_features(command: Command) -> EngineSettings:
    """The settings of a command line with its features in them; adds to its problems."""
    options = command.options
    settings = _images(command, _speculative(command, _lora(command, command.settings)))
    amount = options.pop("cpu_offload_gb", None)
    if amount is not None:
        given = settings.cpu_offload
        if given is not None and given != amount:
            written = f"--cpu-offload-gb {amount / GIB:g} GiB"
            _contradiction(
                command, "cpu_offload_gb", written, Field.CPU_OFFLOAD, f"{given / GIB:g} GiB"
            )
        settings = replace(settings, cpu_offload=amount or None)
    for name in _OBJECTS:
        if name in options:
            options[name] = _text(options[name])
    said = {name: value for name, value in options.items() if value is not False}
    return replace(settings, options=VLLMOptions(**said).or_none())


def _contradiction(command: Command, option: str, written: str, field: Field, typed: str) -> None:
    command.problems.append(
        finding(
            Rule.FEATURE_CONTRADICTS_FIELD,
            Field.EXTRA_ARGS,
            index=command.places.get(option),
            written=written,
            typed=field,
            value=typed,
        )
    )


def _compare(command: Command, option: str, value: Any, field: Field, typed: Any) -> None:
    """A problem if a typed field says something else than a flag."""
    if typed is not None and value is not None and typed != value:
        written = f"--{option.replace('_', '-')} {_text(value)}"
        _contradiction(command, option, written, field, _text(typed))


def _lora(command: Command, settings: EngineSettings) -> EngineSettings:
    options, typed = command.options, settings.lora
    on = options.pop("enable_lora", None)
    details = [name for name in options if "lora" in name]
    if typed is not None and on is False:
        index = command.places["enable_lora"]
        command.problems.append(finding(Rule.LORA_SWITCHED_OFF, Field.EXTRA_ARGS, index=index))
    if typed is None and not on:
        for name in details:
            del options[name]
            flag, index = f"--{name.replace('_', '-')}", command.places[name]
            vain = finding(Rule.LORA_FLAG_IN_VAIN, Field.EXTRA_ARGS, index=index, flag=flag)
            command.warnings.append(vain)
        return settings
    slots, rank = options.pop("max_loras", None), options.pop("max_lora_rank", None)
    given = typed or Lora()
    _compare(command, "max_loras", slots, Field.LORA_SLOTS, given.slots)
    _compare(command, "max_lora_rank", rank, Field.LORA_RANK, given.rank)
    return replace(settings, lora=Lora(slots or given.slots, rank or given.rank))


def _speculative(command: Command, settings: EngineSettings) -> EngineSettings:
    options, option = command.options, "speculative_config"
    config = dict(options.pop(option, {}))
    model = options.pop("spec_model", options.pop("speculative_model", None))
    tokens = options.pop("spec_tokens", options.pop("num_speculative_tokens", None))
    old = {
        "method": options.pop("spec_method", None),
        "model": model,
        "num_speculative_tokens": tokens,
    }
    config.update({key: value for key, value in old.items() if value is not None})
    if not config:
        return settings
    command.places.setdefault(option, next(iter(command.places.values())))
    if config.get("model") in ("[ngram]", "ngram"):
        config["method"] = "ngram"
        del config["model"]
    typed = settings.speculative or Speculative()
    given = (typed.method or None, typed.model or None, typed.tokens)
    draft: dict[str, Any] = {}
    for (key, wanted, field), typed_value in zip(_DRAFT_KEYS, given, strict=True):
        value = config.pop(key, None)
        if value is not None and not _is(value, wanted):
            index = command.places[option]
            rule, shown = Rule.DRAFT_CONFIG, str(value)
            command.problems.append(
                finding(rule, Field.EXTRA_ARGS, index=index, key=key, value=shown, wanted=wanted)
            )
            value = None
        _compare(command, option, value, field, typed_value)
        draft[key] = value
    if config:
        options[option] = config
    return replace(
        settings,
        speculative=Speculative(
            draft["method"] or typed.method,
            draft["model"] or typed.model,
            draft["num_speculative_tokens"] or typed.tokens,
        ),
    )


def _images(command: Command, settings: EngineSettings) -> EngineSettings:
    options, option = command.options, "limit_mm_per_prompt"
    limits = dict(options.pop(option, {}))
    for kind, limit in limits.items():
        if not _is_count(_count(limit)):
            text, index = _text(limit)[:80], command.places[option]
            command.problems.append(
                finding(Rule.ITEM_LIMIT, Field.EXTRA_ARGS, index=index, kind=kind, limit=text)
            )
            return settings
    for kind, field in _LIMITED:
        limit = limits.get(kind)
        if limit is None:
            continue
        _compare(command, option, _count(limit), field, getattr(settings, field.value))
        if not isinstance(limit, dict):
            settings = replace(settings, **{field.value: limit})
            del limits[kind]
    if options.get("language_model_only"):
        _compare(command, "language_model_only", 0, Field.IMAGES, settings.images)
    if limits:
        options[option] = limits
    return settings


def unmodelled(settings: EngineSettings) -> tuple[EngineSettings, dict[str, object]]:
    """The settings without what no model here covers, and that as options to be written."""
    options, out = VLLMOptions.of(settings), dict[str, object]()
    if settings.speculative is not None and not speculative.modelled(settings):
        out |= _draft(settings.speculative, options, _OLD_DRAFT_FLAGS)
        settings = replace(settings, speculative=None)
        options = replace(options, speculative_config=None)
    transfer, kwargs = options.kv_transfer_config, options.mm_processor_kwargs
    if transfer is not None and not offload.holds_on_the_host(transfer):
        out["kv_transfer_config"] = transfer
        options = replace(options, kv_transfer_config=None)
    if kwargs is not None and not multimodal.only_sizes(kwargs):
        out["mm_processor_kwargs"] = kwargs
        options = replace(options, mm_processor_kwargs=None)
    return (replace(settings, options=options.or_none()), out) if out else (settings, out)


def options_to_write(settings: EngineSettings, version: tuple[int, int, int]) -> dict[str, object]:
    """The options that say these features, as this version of the engine takes them."""
    options = VLLMOptions.of(settings)
    out: dict[str, object] = options.as_mapping()
    if settings.lora is not None:
        out |= {
            "enable_lora": True,
            "max_loras": settings.lora.slots,
            "max_lora_rank": settings.lora.rank,
        }
    if settings.speculative is not None:
        out |= _draft(settings.speculative, options, version)
    out["cpu_offload_gb"] = settings.cpu_offload
    limits = json.loads(options.limit_mm_per_prompt or "{}")
    typed = {"image": settings.images, "video": settings.videos}
    limits = {name: n for name, n in typed.items() if n is not None} | limits
    if settings.images == 0 and settings.videos == 0:
        limits.setdefault("audio", 0)
    out["limit_mm_per_prompt"] = _text(limits) if limits else None
    return out


def _draft(
    draft: Speculative, options: VLLMOptions, version: tuple[int, int, int]
) -> dict[str, object]:
    if version < _OLD_DRAFT_FLAGS:
        model = "[ngram]" if draft.method == "ngram" else draft.model
        return {"speculative_model": model, "num_speculative_tokens": draft.tokens}
    config = {"method": draft.method, "model": draft.model, "num_speculative_tokens": draft.tokens}
    said = {key: value for key, value in config.items() if value}
    rest = json.loads(options.speculative_config or "{}")
    return {"speculative_config": _text({**said, **rest})}


def _is(value: object, wanted: str) -> bool:
    """Whether a value of JSON is what is wanted of it."""
    if wanted == _TEXT:
        return isinstance(value, str) and len(value) <= 256
    return _is_count(value) and value != 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _count(limit: object) -> object:
    """The number of items in a limit, which may be an object of sizes with a number in it."""
    return limit.get("count", 1) if isinstance(limit, dict) else limit


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


GRAMMAR: Final = flags.grammar("vLLM", Path(__file__).parent / "data/flags.json")
AUTO_LENGTH: Final = "--max-model-len=auto"
"""The engine shortens the context until it fits: from 0.14 on, vllm/v1/core/kv_cache_utils.py."""
_FITS_ITSELF_FROM: Final = (0, 14, 0)


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    if settings.version.strip() and TABLE.number(settings.version) < _SWITCHES_FROM:
        args = [_as_switch(text) for text in args]
    command = flags.read(GRAMMAR, args, settings, asked)
    settings = _fitted(with_features(command)) if args else settings
    command.problems.extend(flag_faults(GRAMMAR.uses(args), settings.version))
    return command.reading(without_unmodelled(settings))


def _as_switch(text: str) -> str:
    """An argument of an older release in the form that newer ones have for the same."""
    name, _, value = text.partition("=")
    name, value = name.replace("_", "-"), value.strip().lower()
    if name not in _TOOK_A_VALUE or value not in ("true", "false"):
        return text
    return name if value == "true" else f"--no-{name.removeprefix('--')}"


def _fitted(settings: EngineSettings) -> EngineSettings:
    """The settings with a context that fits itself, where the flag says so and the release can."""
    known = TABLE.number(settings.version) >= _FITS_ITSELF_FROM
    if AUTO_LENGTH not in settings.unread or not known or settings.max_model_len is not None:
        return settings
    rest = tuple(flag for flag in settings.unread if flag != AUTO_LENGTH)
    return replace(settings, unread=rest, fitted_length=True)


def without_unmodelled(settings: EngineSettings) -> EngineSettings:
    """The settings with what no model here covers moved to `EngineSettings.unread`."""
    settings, options = unmodelled(settings)
    if not options:
        return settings
    return replace(settings, unread=(*settings.unread, *GRAMMAR.write({}, options)))


def write_arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``vllm serve`` that make it run as estimated, the user's own last."""
    values = flags.values_to_write(estimate, settings)
    auto = (AUTO_LENGTH,) if settings.fitted_length else ()
    if auto or AUTO_LENGTH in settings.unread:
        values["max_model_len"] = None
    options = options_to_write(settings, TABLE.parse(estimate.version))
    return (*GRAMMAR.write(values, options), *auto, *GRAMMAR.passed_on(settings))
