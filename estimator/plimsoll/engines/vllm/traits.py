"""What in a model changes how vLLM runs it: its layers, its model runner, whether it pools.

The two model runners profile and charge differently:

    first     samples with every parameter set while it profiles, charges CUDA graphs from 0.20
    second    for some models from 0.22 on, for all from 0.29; samples plainly, charges from 0.29

Source: vllm/config/vllm.py of the releases (use_v2_model_runner and what it asks); the list by
version is the figure ``second_runner`` in data/constants.json.

Models that embed, classify or rank have no head, no sampler, and, if they are encoders, no cache:

    who               --runner pooling; --task embed, embedding, classify, score, reward;
                      --convert embed, classify, reward; else by the class: ...EmbeddingModel,
                      ...ForSequenceClassification, ...RewardModel, a bare decoder; an encoder;
                      a name that says so (`plimsoll.models.pooling`)
    decoders          keep their cache as without; lm_head is not loaded (except if it is tied)
    encoders          are made as such (`plimsoll.models.families.encoders`): nothing is cached
    activation        the pass alone: no logits are made

Source: vLLM 0.9.2 to 0.33.0, vllm/config/model.py (_SUFFIX_TO_DEFAULTS),
vllm/model_executor/models/registry.py (_EMBEDDING_MODELS), adapters.py beside it, and
vllm/v1/worker/gpu_model_runner.py (_dummy_pooler_run).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.models.architecture import MixerKind, Part

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What sets a model apart from a dense decoder.

    experts, latent, states: experts, MLA and recurrent states, which make graphs or communication
    larger. encoder: layers that look both ways. crosses: layers that attend to another input.
    """

    experts: bool
    latent: bool
    states: bool
    encoder: bool
    crosses: bool


def traits(architecture: Architecture) -> ModelTraits:
    """What sets a model apart; kept with it."""
    return architecture.remembered(("vllm.traits",), lambda: _traits(architecture))


def _traits(architecture: Architecture) -> ModelTraits:
    return ModelTraits(
        any(b.feed_forward is not None and b.feed_forward.experts > 0 for b in architecture.blocks),
        any(m.kind is MixerKind.MLA for m in architecture.mixers()),
        any(m.state_elements > 0 for m in architecture.mixers()),
        any(m.kind is MixerKind.ENCODER for m in architecture.mixers()),
        any(m.kind is MixerKind.CROSS for m in architecture.mixers()),
    )


DENSE, EXPERTS, STATES = "dense", "experts", "states"


def kind(architecture: Architecture) -> str:
    """The kind of model whose graphs are alike: recurrent, with experts or MLA, or neither."""
    own = traits(architecture)
    if own.states:
        return STATES
    return EXPERTS if own.experts or own.latent else DENSE


_NONE, _NAMED_PLAIN, _NAMED, _DENSE, _ALL = range(5)
"""Values of the figure ``second_runner``; its note says what each means."""


def second_runner(architecture: Architecture, constants: Constants) -> bool:
    """Whether the second runner serves this model.

    A model with images counts as the first runner's until all are the second's: the one start-up
    that was measured (Gemma 4 31B, 0.26.0) charged its graphs, as the first runner does.
    """
    figure = constants["second_runner"]
    rule = int(figure.value)
    if rule in (_NONE, _ALL):
        return rule == _ALL
    own = traits(architecture)
    named = architecture.model_type in figure.names
    if rule == _DENSE:
        return (named or not own.experts) and not own.states and not architecture.multimodal
    plain = not own.experts and architecture.quantization is None
    return named and (plain or rule == _NAMED)


_TASKS: Final = frozenset({"embed", "embedding", "classify", "score", "reward", "pooling"})
_CONVERTS: Final = frozenset({"embed", "classify", "reward", "mm_encoder_only"})
_POOLERS: Final = (
    "EmbeddingModel", "ForTextEncoding", "ForSequenceClassification", "ForTokenClassification",
    "ClassificationModel", "ForRewardModeling", "RewardModel", "BidirectionalModel",
)  # fmt: skip
_CLASSIFIES: Final = "ForSequenceClassification"
"""In ``--hf-overrides`` it makes a reranker of a model of another class."""
_BARE: Final = frozenset(
    {"Gemma2Model", "Gemma3TextModel", "LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model"}
)
"""Classes of decoders that the engine takes for embedding by their name."""


def is_pooling(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether the model gives vectors or scores, not text."""
    plain = architecture.class_name.endswith("ForCausalLM") and not architecture.pools
    if plain and not settings.options.said() and not settings.unread:
        return False
    options = VLLMOptions.of(settings)
    runner = options.runner or "auto"
    if runner == "pooling" or options.task in _TASKS or options.convert in _CONVERTS:
        return True
    if runner != "auto" or (options.task or "auto") != "auto":
        return False
    if architecture.pools or any(_CLASSIFIES in flag for flag in settings.unread):
        return True
    name = architecture.class_name
    if name.endswith(_POOLERS) or name in _BARE:
        return True
    return architecture.remembered(
        ("vllm.encodes",),
        lambda: any(mixer.kind is MixerKind.ENCODER for mixer in architecture.mixers()),
    )


def without_head(architecture: Architecture) -> Architecture:
    """The model as one that pools: without its own head."""
    return architecture.remembered(("vllm.pooling",), lambda: _without_head(architecture))


def _without_head(architecture: Architecture) -> Architecture:
    rest = tuple(t for t in architecture.outside if t.part is not Part.HEAD)
    return replace(architecture, outside=rest)


def without_logits(architecture: Architecture) -> Architecture:
    """The model as its activation peak is measured: no logits."""
    return architecture.remembered(("vllm.no logits",), lambda: replace(architecture, vocab_size=0))
