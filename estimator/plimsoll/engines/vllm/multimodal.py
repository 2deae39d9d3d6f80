"""What of a multimodal model is loaded and profiled, by the limits on its prompts.

It must not size an encoder's pass; `plimsoll.engines.vllm.encoder` does.

    all limits 0            no encoder is profiled; from 0.16 on (for some families from 0.11 on)
                            its tower is not loaded either
    --language-model-only   the same as all limits 0
    --skip-mm-profiling     the tower is loaded and not profiled: what images take at run time
                            comes on top of everything (0.11 on)
    --mm-encoder-tp-mode data   the tower whole on every rank
    deepstack               levels x batched tokens x hidden elements of buffers, loaded with the
                            weights

A limit above 0 changes nothing at start-up but where few sequences run at once: the encoder is
profiled with as many items as its budget holds, not with as many as a prompt may have.

Source: vLLM 0.9.2 to 0.33.0, vllm/config/multimodal.py (get_limit_per_prompt),
vllm/model_executor/models/interfaces.py (_mark_tower_model), vllm/multimodal/encoder_budget.py,
vllm/v1/worker/gpu_model_runner.py (profile_run).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.vllm.constants import parse_version
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.models.architecture import Part, Split

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture

_TOWERS: Final = (Part.VISION, Part.AUDIO, Part.PROJECTOR)
_NOT_LOADED_FROM: Final = (0, 16, 0)
_SOME_FROM: Final = (0, 11, 0)
_SOME: Final = frozenset(
    {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "mistral3", "llava", "llama4"}
)
"""Model types whose classes left the tower out before all did."""
_SIZES: Final = frozenset({"min_pixels", "max_pixels"})
_EDGES: Final = frozenset({"shortest_edge", "longest_edge"})


def text_only(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether no prompt may have an image, a video or audio.

    A modality of which nothing is said is taken, where the model knows it.
    """
    options = VLLMOptions.of(settings)
    if options.language_model_only:
        return True
    if settings.images != 0:
        return False
    limits = json.loads(options.limit_mm_per_prompt or "{}")
    videos = settings.videos if settings.videos is not None else _count(limits.get("video", 1))
    seen = architecture.tower is None or architecture.tower.videos
    heard = any(tensor.part is Part.AUDIO for tensor in architecture.outside)
    audio = _count(limits.get("audio", 0 if settings.videos == 0 else 1))
    return not (seen and videos) and not (heard and audio)


def only_sizes(text: str) -> bool:
    """Whether ``--mm-processor-kwargs`` says nothing but sizes that the encoder's model reads."""
    kwargs = json.loads(text)
    parts = [kwargs.pop(name, {}) for name in ("images_kwargs", "videos_kwargs")]
    for part in (kwargs, *parts):
        if not isinstance(part, dict):
            return False
        own = {key: value for key, value in part.items() if key not in ("size", "fps")}
        size = part.get("size", {})
        if not isinstance(size, dict) or not set(own) <= _SIZES or not set(size) <= _EDGES:
            return False
        if not all(type(value) is int and value > 0 for value in (*own.values(), *size.values())):
            return False
    return True


def _count(limit: object) -> object:
    return limit.get("count", 1) if isinstance(limit, dict) else limit


def loaded(
    architecture: Architecture, settings: EngineSettings, constants: Constants
) -> Architecture:
    """The model as it is loaded: without its towers where nothing may reach them."""
    if not architecture.multimodal:
        return architecture
    if text_only(architecture, settings):
        version = parse_version(constants.version)
        since = _SOME_FROM if architecture.model_type in _SOME else _NOT_LOADED_FROM
        if version >= since:
            return remembered(architecture, ("vllm.text",), lambda: _without_towers(architecture))
        return architecture
    if VLLMOptions.of(settings).mm_encoder_tp_mode == "data":
        return remembered(architecture, ("vllm.whole tower",), lambda: _whole_towers(architecture))
    return architecture


def _without_towers(architecture: Architecture) -> Architecture:
    rest = tuple(t for t in architecture.outside if t.part not in _TOWERS)
    return replace(architecture, outside=rest, multimodal=False, tower=None)


def _whole_towers(architecture: Architecture) -> Architecture:
    whole = tuple(
        replace(t, split=Split.NONE) if t.part in (Part.VISION, Part.AUDIO) else t
        for t in architecture.outside
    )
    return replace(architecture, outside=whole)


def profiled(architecture: Architecture, settings: EngineSettings) -> Architecture:
    """The model as its activation peak is measured: as one of text where the encoder is not run."""
    if not architecture.multimodal:
        return architecture
    if text_only(architecture, settings) or VLLMOptions.of(settings).skip_mm_profiling:
        return remembered(
            architecture,
            ("vllm.not profiled",),
            lambda: replace(architecture, multimodal=False),
        )
    return architecture


def buffers(architecture: Architecture, resolved: Resolved) -> int:
    """Bytes of the buffers that deepstack's outputs are copied to, loaded with the weights."""
    if architecture.tower is None or not architecture.multimodal:
        return 0
    return (
        architecture.tower.levels
        * resolved.batched_tokens
        * architecture.hidden_size
        * resolved.element
    )
