"""A multimodal model under vLLM: what is loaded of it, and what its encoder's pass takes.

Loaded and profiled, by the limits on prompts:

    all limits 0            no encoder is profiled; from 0.16 on (for some families from 0.11 on)
                            its tower is not loaded either
    --language-model-only   the same as all limits 0
    --skip-mm-profiling     the tower is loaded and not profiled: what images take at run time
                            comes on top of everything (0.11 on)
    --mm-encoder-tp-mode data   the tower whole on every rank; Kimi-VL's always before 0.15
    rotary tables           of Qwen3-VL and Qwen3.5 over the context once, not four times (0.32 on)
    deepstack               levels x batched tokens x hidden elements of buffers, loaded with the
                            weights

A limit above 0 changes nothing at start-up except if few sequences run at once: the encoder is
profiled with as many items as its budget holds, not with as many as a prompt may have.

Source: vLLM 0.9.2 to 0.33.0, vllm/config/multimodal.py (get_limit_per_prompt),
vllm/model_executor/models/interfaces.py (_mark_tower_model), vllm/multimodal/encoder_budget.py,
vllm/v1/worker/gpu_model_runner.py (profile_run).

The encoder's pass while vLLM profiles:

    first the encoder runs on the largest items of one modality, then the text model beside what
    the encoder was given and gave back; the peak is the larger of the two passes
    modality   the one whose largest item has most tokens (a limit of 0 takes one out)
    budget     max(batched tokens, tokens of that item)
    items      budget // tokens of one (before 0.10 rounded up), at most seqs x items of a prompt
    pass       patches x live elements + inputs + outputs that are there before the last layer
               live: max(a x h + b x h / tp, c x h + d x I / tp) [+ h: tp > 1], see `_LIVE`
    held       inputs (first runner) + tokens x width; 0.11 and 0.12 pad each item to the budget

    Qwen2-VL, 2.5-VL    a video is up to 14 frames (16 before 0.11), two of them as the largest
                        image, while max_model_len holds them. Up to 0.10 the item that is run
                        has only what the batched tokens hold of that
    Qwen3-VL, 3.5       a video is 12288 tokens; 0.11 and 0.12 count 12.5 for each
    InternVL            as many frames as max_model_len holds

Sources: vLLM 0.8.0 to 0.33.0: vllm/v1/worker/gpu_model_runner.py (profile_run),
vllm/multimodal/encoder_budget.py (before 0.16 vllm/v1/worker/utils.py), and of
vllm/model_executor/models the file of each family: ProcessingInfo for sizes, and for live
elements the tensors that forward() and its callers refer to at once.

The first engine runs an image (as many as a prompt may have, one if nothing is said) for each of
min(max_num_seqs, batched tokens // tokens of a prompt's images) prompts in one pass; a model with
cross attention (mllama) one for each of max_num_seqs. Source: vllm/worker/model_runner.py and
enc_dec_model_runner.py of 0.6.3 (profile_run); for 256 sequences 256 images were logged:
https://github.com/vllm-project/vllm/issues/9445. Of mllama 5 outputs of layers and the mask of a
patch against the 6432 of its image are alive beside the layer's own tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from plimsoll.engines.base import Known
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.engines.vllm.traits import second_runner, traits
from plimsoll.models.architecture import Part, Split
from plimsoll.units import GIB, ceil_div, grouped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved
    from plimsoll.models.architecture import Architecture, Tower

_TOWERS: Final = (Part.VISION, Part.AUDIO, Part.PROJECTOR)
_ALL_LEFT_OUT: Final = 2
"""The figure ``towers_left_out`` if no model loads the towers that it is not asked for."""
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
    videos = (
        settings.videos if settings.videos is not None else _count_of_limit(limits.get("video", 1))
    )
    seen = architecture.tower is None or architecture.tower.videos
    heard = any(tensor.part is Part.AUDIO for tensor in architecture.outside)
    audio = _count_of_limit(limits.get("audio", 0 if settings.videos == 0 else 1))
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


def _count_of_limit(limit: object) -> object:
    return limit.get("count", 1) if isinstance(limit, dict) else limit


def loaded(
    architecture: Architecture, settings: EngineSettings, constants: Constants
) -> Architecture:
    """The model as it is loaded: without its towers where nothing may reach them."""
    if not architecture.multimodal:
        return architecture
    if (
        architecture.model_type in constants["mrope_once"].names
        and architecture.rotary_elements > 0
    ):
        architecture = architecture.remembered(
            ("vllm.mrope",),
            lambda: replace(architecture, rotary_elements=architecture.rotary_elements // 4),
        )
    if text_only(architecture, settings):
        rule = constants["towers_left_out"]
        if rule.value == _ALL_LEFT_OUT or architecture.model_type in rule.names:
            return architecture.remembered(("vllm.text",), lambda: _without_towers(architecture))
        return architecture
    if _tower_whole(architecture, VLLMOptions.of(settings), constants):
        return architecture.remembered(("vllm.whole tower",), lambda: _whole_towers(architecture))
    return architecture


def _tower_whole(architecture: Architecture, options: VLLMOptions, constants: Constants) -> bool:
    """Whether every rank has the whole tower."""
    by_data = options.mm_encoder_tp_mode == "data"
    return by_data or architecture.model_type in constants["moonvit_whole"].names


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
        return architecture.remembered(
            ("vllm.not profiled",),
            lambda: replace(architecture, multimodal=False),
        )
    return architecture


_BY_LAYER: Final = "model.embed_tokens_per_layer.weight"


def buffers(architecture: Architecture, resolved: Resolved) -> int:
    """Bytes of the buffers that deepstack's outputs and embeddings of each layer (Gemma 3n and 4)
    are copied to, loaded with the weights."""
    if architecture.tower is None or not architecture.multimodal:
        return 0
    row = architecture.tower.levels * architecture.hidden_size
    row += sum(t.shape[-1] for t in architecture.outside if t.name == _BY_LAYER)
    return row * resolved.batched_tokens * resolved.element


_IMAGE, _VIDEO = "image", "video"
_UNLIMITED: Final = 999
"""Items of a modality in one prompt where nothing is said."""
_MOST: Final = 10**12
_PADDED_MOST: Final = 2.0
"""Padded outputs may be held twice over: 10 GB were said to go to 4.7 GiB of them (0.11.0)."""
_LIVE: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "qwen2": (3, 8, 3, 3),
    "qwen2_5": (3, 8, 5, 3),
    "qwen3": (4, 8, 4, 2),
    "siglip": (4, 4, 4, 2),
    "clip": (4, 4, 4, 3),
    "pixtral": (4, 8, 6, 3),
    "llama4": (4, 12, 4, 2),
    "intern": (5, 5, 5, 2),
    "moonvit": (4, 12, 4, 2),
    "gemma4": (5, 12, 5, 3),
    "mllama": (12, 4, 12, 2),
}
"""Elements alive per patch at the two widest points of a layer: in attention a x hidden whole and
b x hidden cut, in the feed-forward c x hidden whole and d x intermediate cut."""
_MEASURED: Final = frozenset({"qwen2_5", "qwen3", "mllama"})
"""Kinds whose pass was read off logs; mllama's ran out with 256 images and started with 32, and the
end of its pass alone (16 x hidden for each patch) is four fifths of it."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Bytes on one rank. peak: of its pass; held: beside the text model's pass; low, high: bands.

    known, basis: as of a term.
    """

    peak: float
    low: float
    high: float
    held: float
    held_low: float
    held_high: float
    known: Known
    basis: str


NONE: Final = Encoder(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, Known.EXACT, "")


@dataclass(frozen=True, slots=True)
class _Item:
    """The largest item of a modality: tokens in the budget, tokens of output, patches as run."""

    modality: str
    tokens: int
    embeds: int
    patches: int


def encoder(
    architecture: Architecture,
    settings: EngineSettings,
    resolved: Resolved,
    parallelism: Parallelism,
    constants: Constants,
) -> Encoder:
    """What the encoder of a multimodal model takes on a rank that runs it."""
    tower = architecture.tower
    if tower is None:
        return _allowance(constants)
    options = VLLMOptions.of(settings)
    limits = _limits(settings, options)
    items = _items(tower, options, limits, resolved, constants)
    if not items:
        return NONE
    item = max(items, key=lambda one: one.tokens)
    budget = max(resolved.batched_tokens, item.tokens)
    if resolved.first_engine:
        count = _in_one_pass(architecture, item, limits, resolved)
    else:
        count = _count(item, budget, _limit(limits, item.modality), resolved, constants)
    element = resolved.element
    by_data = options.mm_encoder_tp_mode == "data"
    whole = _tower_whole(architecture, options, constants)
    ways = parallelism.tensor if tower.cut and not whole else 1
    here = ceil_div(count, parallelism.tensor) if by_data else count
    a, b, c, d = _LIVE[tower.kind]
    live = max(
        a * tower.hidden + b * tower.hidden / ways,
        c * tower.hidden + d * tower.intermediate / ways,
    ) + (tower.hidden if ways > 1 else 0)
    at_once = _alone(tower, item) if tower.alone else here * item.patches
    inputs = count * item.patches * tower.patch * element
    rows = count * item.embeds
    if constants.flag("encoder_outputs_padded"):
        rows = count * max(item.embeds, budget)
    held = rows * tower.width * element
    if not second_runner(architecture, constants):
        held += inputs
    early = tower.width if tower.alone else tower.width * tower.levels // (tower.levels + 1)
    peak = at_once * live * element + inputs + count * item.embeds * early * element
    figure = constants["encoder_pass" if tower.kind in _MEASURED else "encoder_pass_unmeasured"]
    peak *= figure.value
    padded = _PADDED_MOST if rows > count * item.embeds else 1.0
    return Encoder(
        peak,
        peak * (1 - figure.error),
        peak * (1 + figure.error),
        held,
        held,
        held * padded,
        figure.known if padded == 1 and not resolved.first_engine else Known.ASSUMED,
        f"{count} {item.modality}{'s' * (count > 1)} of {grouped(item.tokens)} tokens "
        "in the encoder",
    )


def _allowance(constants: Constants) -> Encoder:
    """What is set aside for an encoder that nobody here knows."""
    size = constants.number("multimodal_encoder") * GIB
    most = size + constants.number("multimodal_encoder_most") * GIB
    return Encoder(0.0, 0.0, 0.0, size, 0.0, most, Known.ASSUMED, "")


def _limits(settings: EngineSettings, options: VLLMOptions) -> dict[str, Any]:
    """Limits per prompt as said: numbers, or sizes with a number among them."""
    limits: dict[str, Any] = json.loads(options.limit_mm_per_prompt or "{}")
    for name, typed in ((_IMAGE, settings.images), (_VIDEO, settings.videos)):
        own = limits.get(name)
        if typed is not None:
            limits[name] = {**own, "count": typed} if isinstance(own, dict) else typed
    return limits


def _limit(limits: Mapping[str, Any], modality: str, unsaid: int = _UNLIMITED) -> int:
    found = limits.get(modality, unsaid)
    return int(found.get("count", unsaid) if isinstance(found, dict) else found)


def _size(limits: Mapping[str, Any], modality: str, key: str) -> int | None:
    """A size that the limits give for what is run, where it is one."""
    found = limits.get(modality)
    return _whole(found.get(key)) if isinstance(found, dict) else None


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 < value <= _MOST else None


def _pixels(options: VLLMOptions, modality: str, default: int) -> int:
    """Most pixels of an item, by ``--mm-processor-kwargs`` or as published."""
    kwargs = json.loads(options.mm_processor_kwargs or "{}")
    for part in (kwargs.get(f"{modality}s_kwargs"), kwargs):
        if not isinstance(part, dict):
            continue
        size = part.get("size")
        edge = size.get("longest_edge") if isinstance(size, dict) else None
        found = _whole(part.get("max_pixels")) or _whole(edge)
        if found is not None:
            return found
    return default


def _count(item: _Item, budget: int, limit: int, resolved: Resolved, constants: Constants) -> int:
    """Items that are run at once."""
    if constants.flag("encoder_items_rounded_up"):
        return max(1, min(ceil_div(budget, item.tokens), resolved.seqs * limit))
    of_prompt = max(1, min(limit, resolved.max_model_len // item.tokens))
    return max(1, min(budget // item.tokens, resolved.seqs * of_prompt))


def _in_one_pass(
    architecture: Architecture, item: _Item, limits: Mapping[str, Any], resolved: Resolved
) -> int:
    """Items that the first engine runs at once: those of all prompts that its batch holds.

    Prompts to which a model attends from its own layers are not in the batch: one a sequence.
    """
    each = max(1, min(_limit(limits, item.modality, unsaid=1), _MOST))
    if traits(architecture).crosses:
        return each * resolved.seqs
    return each * max(1, min(resolved.seqs, resolved.batched_tokens // (each * item.tokens)))


def _items(
    tower: Tower,
    options: VLLMOptions,
    limits: Mapping[str, Any],
    resolved: Resolved,
    constants: Constants,
) -> list[_Item]:
    """The largest item of every modality that may come."""
    images, videos = (_limit(limits, name) > 0 for name in (_IMAGE, _VIDEO))
    videos = videos and not (resolved.first_engine and images)
    found = []
    square = tower.edge * tower.edge
    marks = constants.flag("encoder_counts_marks")
    if tower.edge:
        pixels = _pixels(options, _IMAGE, tower.pixels)
        tokens = max(1, pixels // square)
        if images:
            width, height = (_size(limits, _IMAGE, name) for name in ("width", "height"))
            run = min(pixels, (width or pixels) * (height or pixels))
            ran = max(1, run // square)
            found.append(_Item(_IMAGE, tokens, ran, ran * tower.merge))
        if videos and tower.video_pixels:
            tokens = max(1, _pixels(options, _VIDEO, tower.video_pixels) // 2 // square)
            budgeted = int(tokens * constants.number("encoder_tokens_per_video_token"))
            found.append(_Item(_VIDEO, budgeted, tokens, tokens * tower.merge))
        elif videos:
            found.append(_pairs(tower, tokens, images, limits, resolved, constants))
        return found
    if images:
        tokens = tower.tokens + marks * tower.marks
        found.append(_Item(_IMAGE, tokens, tower.tokens, tower.patches))
    if videos and tower.videos:
        room = resolved.max_model_len
        frames = tower.frames or max(1, (room - images * tower.tokens) // tower.frame_tokens)
        ran = tower.frames or max(1, room // tower.frame_tokens)
        tokens = frames * (tower.frame_tokens + tower.frame_marks)
        found.append(_Item(_VIDEO, tokens, ran * tower.frame_tokens, ran * tower.frame_patches))
    return found


def _pairs(
    tower: Tower,
    image: int,
    images: bool,
    limits: Mapping[str, Any],
    resolved: Resolved,
    constants: Constants,
) -> _Item:
    """A video each two frames of which are as an image of the most tokens."""
    most = ceil_div(int(constants.number("encoder_video_frames")), 2)
    room = resolved.max_model_len
    if images and constants.flag("encoder_video_beside_image"):
        room -= image
    pairs = max(1, min(room // image, most))
    ran = pairs
    if constants.flag("encoder_item_by_batch"):
        ran = max(1, min(resolved.batched_tokens // image, most))
    frames = _size(limits, _VIDEO, "num_frames")
    if frames is not None:
        ran = min(ran, ceil_div(frames, 2))
    return _Item(_VIDEO, pairs * image, ran * image, ran * image * tower.merge)


def _alone(tower: Tower, item: _Item) -> int:
    """Patches of one image or frame."""
    return tower.frame_patches if item.modality == _VIDEO else item.patches
