"""The towers of a multimodal config: their tensors, and what the largest image comes to.

A tower of a make that is not known here is built like most are, and said to be assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plimsoll.models.blocks.fields import Fields
from plimsoll.models.families.by_type import AUDIO, LARGEST, VISION, VISION_DEFAULTS
from plimsoll.models.families.qwen import qwen2_audio
from plimsoll.models.families.vision import plain_vision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.models.blocks.parts import Tensors
    from plimsoll.models.tower import Tower

_SECTIONS: Final[Mapping[str, str]] = {"granite_speech": "encoder_config"}
"""Where the tower's fields are, if not in ``audio_config``."""
_WHISPERS: Final = ("d_model", "encoder_layers", "encoder_ffn_dim")
_RECOLLECTED: Final = frozenset({"ultravox"})
"""Types whose projector was not read from code."""


def known(kind: str) -> bool:
    """Whether the tower of a model type is built as its code has it, not as most are."""
    return kind in VISION


def vision_tensors(config: Mapping[str, Any], path: str = "config.json") -> Tensors:
    """The tensors of a multimodal config's towers and projectors. path: where the config lies.

    Raises `plimsoll.errors.Invalid` if the tower's fields are missing or mistyped.
    """
    top = Fields(config, path)
    text = top.section("text_config", "llm_config", "language_config")
    hidden = text.integer("hidden_size", default=4096) if text else top.integer("hidden_size")
    kind = top.text("model_type")
    if kind == "gemma3" and text is not None and not text.has("hidden_size"):
        hidden = 2304
    tower = top.section("vision_config")
    tensors: Tensors = ()
    if tower is not None or kind in ("phi3_v", *VISION_DEFAULTS):
        given = tower.data if tower is not None else {}
        v = Fields(
            {**VISION_DEFAULTS.get(kind, {}), **given}, f"{top.path}: vision_config", top.problems
        )
        tensors = VISION.get(kind, plain_vision)(top, v, hidden)
    top.stop_if_wrong()
    return tensors


def audio_tensors(config: Mapping[str, Any], path: str) -> tuple[Tensors, bool]:
    """The tensors of a config's audio tower and projector; and whether its make is assumed.

    path: where the config lies. Raises `plimsoll.errors.Invalid` where the tower's fields are
    missing or mistyped.
    """
    top = Fields(config, path)
    kind = top.text("model_type")
    tower = top.section(_SECTIONS.get(kind, "audio_config"))
    if tower is None:
        top.stop_if_wrong()
        return (), False
    text = top.section("text_config", "llm_config", "language_config")
    hidden = (text or top).integer("hidden_size", default=4096)
    build = AUDIO.get(kind)
    if build is not None:
        tensors = build(top, tower, hidden)
    elif tower.has(*_WHISPERS):
        tensors = qwen2_audio(top, tower, hidden)
    else:
        tensors = ()
    top.stop_if_wrong()
    return tensors, build is None or kind in _RECOLLECTED


def largest_item(config: Mapping[str, Any], text: int) -> Tower | None:
    """The vision tower of a multimodal config; None if it is not known here.

    text: hidden size of the text model, which the output has if the tower says nothing. Raises
    `plimsoll.errors.Invalid` if the tower's fields are missing or mistyped.
    """
    top = Fields(config)
    kind = top.text("model_type")
    build = LARGEST.get(kind)
    part = top.section("vision_config")
    if build is None or (part is None and kind not in ("phi3_v", *VISION_DEFAULTS)):
        return None
    given = part.data if part is not None else {}
    v = Fields(
        {**VISION_DEFAULTS.get(kind, {}), **given}, f"{top.path}: vision_config", top.problems
    )
    tower = build(top, v, text)
    top.stop_if_wrong()
    return tower
