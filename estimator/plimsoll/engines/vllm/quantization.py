"""Which quantizations a release of vLLM knows, and which GPU and dtype each of them needs.

    word                  known from its first release on, until it was removed; deprecated ones
                          need --allow-deprecated-quantization
    word and checkpoint   the word must be one by which the checkpoint's method goes
    capability            of the method and of how its linears are stored, by release; fp8 in
                          blocks apart, which only Marlin computes before 8.9
    dtype                 of what is not quantized: one that the method's kernels compute in

Source: data/quantization.json, from vllm/model_executor/layers/quantization of every release
(QUANTIZATION_METHODS, get_min_capability, get_supported_act_dtypes) and from
ModelConfig._verify_quantization.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.layers.faults import Quantizations
from plimsoll.engines.layers.sharding import quantization_in_force
from plimsoll.engines.vllm.options import TABLE
from plimsoll.findings import Rule, finding
from plimsoll.models.quantization_config import FP8_CHANNEL
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import EngineSettings
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture
    from plimsoll.models.quantization import Quantization

_ALLOW_DEPRECATED: Final = "--allow-deprecated-quantization"
_BLOCKS: Final = "fp8/blocks"
Step = tuple[str, Any]
"""From which release on ("" for all that are known), and what holds then."""


@lru_cache(maxsize=64)
def known(version: str) -> Quantizations:
    """The words of a release, by how they are used; where none is said, those of any release."""
    words: dict[str, list[str]] = {"at load": [], "stored": [], "other": []}
    for word, (how, since, until) in _data()["words"].items():
        if not version.strip() or _within(version, since, until):
            words[how].append(word)
    at_load, stored, others = (tuple(words[how]) for how in ("at load", "stored", "other"))
    return Quantizations(at_load, stored, others)


def word_faults(architecture: Architecture, settings: EngineSettings) -> Iterator[Finding]:
    """A word that other releases know, or that is not the checkpoint's; a method that is gone."""
    word, stored = settings.quantization.lower(), architecture.quantization
    if TABLE.or_newest(settings.version).newer:
        return
    if word:
        yield from _of_other_release(word, settings, Field.QUANTIZATION)
    if stored is None:
        return
    channels = stored.default == FP8_CHANNEL and not stored.by_name
    method = "fbgemm_fp8" if stored.method == "fp8" and channels else stored.method
    names = _data()["checkpoints"].get(method, [])
    if word in _data()["words"] and names and word not in names:
        yield finding(
            Rule.QUANTIZATION_OF_OTHER_CHECKPOINT,
            Field.QUANTIZATION,
            settings.quantization,
            method=method,
        )
    elif not word:
        yield from _of_other_release(method, settings, Field.MODEL)


def gpu_faults(
    architecture: Architecture, settings: EngineSettings, accelerator: Accelerator, dtype: str
) -> Iterator[Finding]:
    """A GPU without kernels for how the weights are stored, or a dtype that these do not have.

    dtype: of what is not quantized; empty: not known.
    """
    held = quantization_in_force(architecture, settings.quantization)
    if held is None:
        return
    asked = settings.quantization.lower()
    own = Field.QUANTIZATION if architecture.quantization is None or asked else Field.MODEL
    needs = least_capability(held, settings)
    if (0, 0) != accelerator.compute < needs:
        yield finding(
            Rule.GPU_TOO_OLD_FOR_QUANTIZATION,
            own,
            asked or held.method,
            method=_shown(held),
            needs=".".join(map(str, needs)),
            gpu=accelerator.title,
            compute=".".join(map(str, accelerator.compute)),
        )
        return
    dtypes = _dtypes(held, settings, accelerator)
    if dtype and dtypes and dtype not in dtypes:
        yield finding(
            Rule.DTYPE_WITHOUT_KERNELS,
            Field.DTYPE,
            settings.dtype or dtype,
            dtype=dtype,
            method=asked or held.method,
            known=dtypes,
            gpu=accelerator.title,
        )


def dtype_is_its_own(architecture: Architecture) -> bool:
    """Whether a copy is known by its name alone and its config may say another dtype than the
    model's: AutoAWQ and AutoGPTQ write float16, the type that they load a model in."""
    held = architecture.quantization
    return held is not None and held.by_name and held.method in ("awq", "gptq")


def halves_groups(settings: EngineSettings, accelerator: Accelerator | None) -> bool:
    """Whether 4-bit experts that Marlin cannot cut run with their groups cut in two.

    moe_wna16.py cuts them so, and its Triton kernel multiplies them; but small batches go to a
    CUDA kernel that wants the width of a rank in whole blocks of 128 (csrc/moe/moe_wna16.cu of
    0.8.5 to 0.33.0; https://github.com/vllm-project/vllm/issues/17604), which no such width is.
    """
    if accelerator is not None and accelerator.resource.startswith("amd.com/"):
        return True
    return not TABLE.or_newest(settings.version).flag("experts_in_whole_blocks")


def least_capability(held: Quantization, settings: EngineSettings) -> tuple[int, int]:
    """The compute capability from which a release has kernels; (0, 0) if it is not known."""
    version = settings.version
    asked = settings.quantization.lower()
    needs = [
        _in_force(_data()["capability"].get(name, ()), version) for name in _names(held, asked)
    ]
    return max((_capability(need) for need in needs if need), default=(0, 0))


def _names(held: Quantization, asked: str) -> tuple[str, ...]:
    """The rows that a quantization needs: of a method alone and with how linears are stored."""
    if asked and asked in _data()["capability"]:
        return (asked,)
    names = [held.method]
    for scheme in held.schemes:
        blocks = scheme.name == "fp8" and scheme.group_out > 1
        names.append(_BLOCKS if blocks and held.method == "fp8" else f"{held.method}/{scheme.name}")
    return tuple(names)


def _dtypes(
    held: Quantization, settings: EngineSettings, accelerator: Accelerator
) -> tuple[str, ...]:
    """The dtypes that go with a method as it runs on a GPU: AWQ and GPTQ by Marlin if it can."""
    asked, version = settings.quantization.lower(), settings.version
    name = asked or held.method
    faster = {"awq": "awq_marlin", "gptq": "gptq_marlin"}.get(held.method, "")
    if not asked and faster:
        need = _in_force(_data()["capability"][faster], version)
        if need and accelerator.compute >= _capability(need):
            name = faster
    return tuple(_in_force(_data()["dtypes"].get(name, ()), version) or ())


def _of_other_release(word: str, settings: EngineSettings, field: Field) -> Iterator[Finding]:
    """A word that the release does not know, though another one does, or that it has put away.

    Nothing is refused where no version is said: nobody knows then which release it will be.
    """
    words, version = _data()["words"], settings.version
    row = words.get(word)
    if row is None or not version.strip():
        return
    _, since, until = row
    running = TABLE.or_newest(version).version
    if not _within(version, since, until):
        rule = Rule.QUANTIZATION_OF_LATER_RELEASE
        if not since or TABLE.parse(since) <= TABLE.number(version):
            rule = Rule.QUANTIZATION_OF_EARLIER_RELEASE
        own = known(version)
        near = get_close_matches(word, (*own.at_load, *own.stored)) or own.at_load
        release = until if rule is Rule.QUANTIZATION_OF_EARLIER_RELEASE else since
        yield finding(
            rule,
            field,
            word,
            engine=TABLE.title,
            release=release,
            version=running,
            near=tuple(near),
        )
    elif _ALLOW_DEPRECATED not in settings.flags:
        span = _data()["deprecated"].get(word)
        if span and _within(version, *span):
            rule = Rule.QUANTIZATION_DEPRECATED
            yield finding(rule, field, word, version=running, flag=_ALLOW_DEPRECATED)


def _shown(held: Quantization) -> str:
    """How weights are stored, for people: fp8; awq; compressed-tensors (w4a16)."""
    schemes = {scheme.name for scheme in held.schemes}
    special = len(schemes) == 1 and not schemes <= {held.method}
    return f"{held.method} ({', '.join(schemes)})" if special else held.method


def _within(version: str, since: str, until: str) -> bool:
    own = TABLE.number(version)
    begun = not since or TABLE.parse(since) <= own
    return begun and (not until or own < TABLE.parse(until))


def _in_force(steps: list[Step] | tuple[()], version: str) -> Any:
    """What holds in a release: the last step that it has reached; None if there is none."""
    own = TABLE.number(version)
    held = [value for since, value in steps if not since or TABLE.parse(since) <= own]
    return held[-1] if held else None


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


@cache
def _data() -> dict[str, dict[str, Any]]:
    text = (Path(__file__).parent / "data/quantization.json").read_text("utf-8")
    data: dict[str, dict[str, Any]] = json.loads(text)
    return data
