"""Models that embed, classify or rank: no head, no sampler, and of encoders no cache.

It must not compute bytes: it says as which model such a one is loaded.

    who               --runner pooling; --task embed, embedding, classify, score, reward;
                      --convert embed, classify, reward; else by the class: ...EmbeddingModel,
                      ...ForSequenceClassification, ...RewardModel, a bare decoder; an encoder
    decoders          keep their cache as without; lm_head is not loaded (but where it is tied)
    encoders          are made as such (`plimsoll.models.families.encoders`): nothing is cached
    activation        the pass alone: no logits are made

Source: vLLM 0.9.2 to 0.33.0, vllm/config/model.py (_SUFFIX_TO_DEFAULTS),
vllm/model_executor/models/registry.py (_EMBEDDING_MODELS), adapters.py beside it, and
vllm/v1/worker/gpu_model_runner.py (_dummy_pooler_run).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.engines.layers.memo import remembered
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.models.architecture import MixerKind, Part

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings
    from plimsoll.models.architecture import Architecture

_TASKS: Final = frozenset({"embed", "embedding", "classify", "score", "reward", "pooling"})
_CONVERTS: Final = frozenset({"embed", "classify", "reward", "mm_encoder_only"})
_POOLERS: Final = (
    "EmbeddingModel", "ForTextEncoding", "ForSequenceClassification", "ForTokenClassification",
    "ClassificationModel", "ForRewardModeling", "RewardModel", "BidirectionalModel",
)  # fmt: skip
_BARE: Final = frozenset(
    {"Gemma2Model", "Gemma3TextModel", "LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model"}
)
"""Classes of decoders that the engine takes for embedding by their name."""


def is_pooling(architecture: Architecture, settings: EngineSettings) -> bool:
    """Whether the model gives vectors or scores, not text."""
    if not settings.options.said() and architecture.class_name.endswith("ForCausalLM"):
        return False
    options = VLLMOptions.of(settings)
    runner = options.runner or "auto"
    if runner == "pooling" or options.task in _TASKS or options.convert in _CONVERTS:
        return True
    if runner != "auto" or (options.task or "auto") != "auto":
        return False
    name = architecture.class_name
    if name.endswith(_POOLERS) or name in _BARE:
        return True
    return any(mixer.kind is MixerKind.ENCODER for mixer in architecture.mixers())


def loaded(architecture: Architecture) -> Architecture:
    """The model as one that pools: without its own head."""
    return remembered(architecture, ("vllm.pooling",), lambda: _loaded(architecture))


def _loaded(architecture: Architecture) -> Architecture:
    rest = tuple(t for t in architecture.outside if t.part is not Part.HEAD)
    return replace(architecture, outside=rest)


def without_logits(architecture: Architecture) -> Architecture:
    """The model as its activation peak is measured: no logits."""
    return remembered(
        architecture, ("vllm.no logits",), lambda: replace(architecture, vocab_size=0)
    )
