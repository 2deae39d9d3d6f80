"""What a model is: its tensors, mixers, blocks and tower, and what a request knows of it.

An architecture is as the engine will load it: layers in order, and every tensor in them. How a
tensor is cut over ranks is said only as the axis along which it can be cut (`Split`); who cuts,
and into how many parts, is the engine's business.

    parameters = sum over the blocks and the tensors outside them of prod(shape) x copies

`plimsoll.models.config` reads an architecture, `plimsoll.models.resolve` finds a `Model`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from plimsoll.models.files import HeaderTensor
    from plimsoll.models.quantization import Quantization, Scheme


T = TypeVar("T")
UNBOUNDED: Final = 1 << 20
"""The context of a model whose config names none and whose state does not grow with it."""
_MOST_REMEMBERED: Final = 1024
"""Entries kept per architecture; with more it starts over."""


@dataclass(frozen=True, slots=True)
class Tower:
    """A vision tower, as far as a pass over its largest item goes.

    kind: how its layers are run (``qwen2``, ``qwen2_5``, ``qwen3``, ``siglip``, ``clip``,
        ``pixtral``, ``llama4``, ``intern``, ``moonvit``, ``gemma4``, ``mllama``).
    hidden, intermediate: elements of a patch in its layers and in their feed-forwards.
    patch: elements of a patch as the processor hands it over.
    width: elements of a token of its output, with what deepstack adds.
    levels: outputs that deepstack adds to the layers of the text model; 0 for most.
    tokens, patches: of the largest image. marks: tokens around an image that hold none of it.
    edge: pixels on an edge of the square that makes one token; 0: images have one size or tiles.
    merge: patches that make one token. pixels: most pixels of an image; 0 if `edge` is known.
    video_pixels: most pixels of all frames of a video; 0: each two frames are as an image.
    frame_tokens, frame_patches: of one frame, if a video is run by frames; 0: it is not.
    frame_marks: tokens around a frame. frames: most of a video; 0: as many as the context holds.
    cut: tensor parallelism cuts its layers. alone: images and frames are run one after another.
    """

    kind: str
    hidden: int
    intermediate: int
    patch: int
    width: int
    tokens: int
    patches: int
    levels: int = 0
    marks: int = 0
    edge: int = 0
    merge: int = 1
    pixels: int = 0
    video_pixels: int = 0
    frame_tokens: int = 0
    frame_patches: int = 0
    frame_marks: int = 0
    frames: int = 0
    cut: bool = True
    alone: bool = False

    @property
    def videos(self) -> bool:
        """Whether it takes videos beside images."""
        return bool(self.frame_tokens or self.edge)


class Split(StrEnum):
    """The axis along which tensor parallelism may cut a tensor."""

    NONE = "replicated"
    """Whole on every rank: norms, routers, MLA down-projections, most vision towers."""
    COLUMN = "column"
    """Along the output, dimension 0: q, gate, up, mamba's in-projection."""
    ROW = "row"
    """Along the input, the last dimension: o, down. A bias with this split stays whole."""
    KV_HEADS = "kv-heads"
    """Along the output by KV heads; repeated if there are more ranks than KV heads."""
    VOCAB = "vocab"
    """Along dimension 0, padded to a multiple of 64 first: embedding and lm_head."""
    EXPERT_COLUMN = "expert-column"
    """One expert's gate or up: cut along the output, or held whole by expert parallelism."""
    EXPERT_ROW = "expert-row"
    """One expert's down: cut along the input, or held whole by expert parallelism."""


class Part(StrEnum):
    """What a tensor belongs to, for breakdowns and for quantization's ignore rules."""

    EMBEDDING = "embedding"
    HEAD = "lm_head"
    ATTENTION = "attention"
    MIXER = "mixer"
    MLP = "mlp"
    EXPERTS = "experts"
    ROUTER = "router"
    NORM = "norm"
    VISION = "vision"
    AUDIO = "audio"
    PROJECTOR = "projector"
    OTHER = "other"


class Stage(StrEnum):
    """Which pipeline stage holds a tensor that lies outside the layers."""

    FIRST = "first"
    LAST = "last"
    EVERY = "every"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the checkpoint, before quantization.

    name: as in the checkpoint, relative to its layer (``self_attn.q_proj.weight``) or, outside
        the layers, whole (``model.embed_tokens.weight``).
    shape: elements per dimension, output first, as torch stores a linear.
    split: the axis that tensor parallelism may cut.
    part: what it belongs to.
    copies: how many such tensors there are (the number of experts); 1 for most.
    linear: the weight of a linear layer: the only kind that weight quantization touches.
    stage: for tensors outside the layers, the pipeline stage that holds it.
    scheme: how the checkpoint's headers show it to be stored, if that is not what the
        architecture's quantization says; None: as that says.
    """

    name: str
    shape: tuple[int, ...]
    split: Split
    part: Part
    copies: int = 1
    linear: bool = False
    stage: Stage = Stage.FIRST
    scheme: Scheme | None = None

    @property
    def elements(self) -> int:
        """Elements of all copies."""
        return math.prod(self.shape) * self.copies


class MixerKind(StrEnum):
    """How a layer remembers the tokens before; it decides the cache that it needs."""

    FULL = "full"
    SLIDING = "sliding"
    CHUNKED = "chunked"
    MLA = "mla"
    MAMBA1 = "mamba1"
    MAMBA2 = "mamba2"
    LINEAR = "linear"
    SHORT_CONV = "short-conv"
    CROSS = "cross"
    ENCODER = "encoder"


@dataclass(frozen=True, slots=True)
class Mixer:
    """One attention or state-space mixer of a layer, as far as its cache goes.

    kind: see `MixerKind`.
    heads, kv_heads: query and key/value heads of the whole model, before tensor parallelism.
    head_dim, v_head_dim: elements of one key and of one value head. For MLA: kv_heads 1,
        head_dim kv_lora_rank + qk_rope_head_dim, v_head_dim 0.
    window: tokens a sliding or chunked layer looks back over; 0 for the others.
    index_dim: elements per token of a sparse-attention indexer's own key cache; 0 for most.
    conv_elements, state_elements: elements of the per-sequence convolution state (for
        kernel - 1 past positions) and of the recurrent state, whole model, for mamba and
        linear attention; 0 for attention.
    state_dtype: dtype of the recurrent state; empty: the model's.
    shares_kv: reads another layer's cache and has none of its own (Gemma 3n and 4).
    ratio: tokens for which one vector is kept (DeepSeek V4: head_dim and index_dim are that
        vector's elements for one token then); 0 for the others.
    """

    kind: MixerKind
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    window: int = 0
    index_dim: int = 0
    conv_elements: int = 0
    state_elements: int = 0
    state_dtype: str = ""
    shares_kv: bool = False
    ratio: int = 0


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The feed-forward part of a layer, as far as its activations go (elements wide).

    intermediate: width of the dense MLP (0 in a pure MoE layer).
    experts, experts_per_token, expert_intermediate: routed experts; 0 if dense.
    shared_intermediate: total width of the shared experts; 0 if there are none.
    gated: gate and up (SwiGLU, GeGLU) and not one up-projection.
    """

    intermediate: int
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0
    gated: bool = True


@dataclass(frozen=True)
class Block:
    """One kind of layer. Layers that are alike share one `Block` object.

    mixers: usually one; two if attention and mamba run side by side (Falcon-H1), none in a
        layer that is only an MLP (Nemotron-H).
    feed_forward: None in a layer that has none.
    tensors: every parameter of the layer.
    """

    mixers: tuple[Mixer, ...]
    feed_forward: FeedForward | None
    tensors: tuple[Tensor, ...]

    @cached_property
    def parameters(self) -> int:
        """Elements of the layer."""
        return sum(tensor.elements for tensor in self.tensors)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A model's structure; everything the memory model needs, and nothing of its weights.

    model_type, class_name: of the config (``llama``, ``LlamaForCausalLM``).
    dtype: of the weights that are not quantized: ``bfloat16``, ``float16`` or ``float32``.
    hidden_size, vocab_size: elements.
    max_model_len: the longest context that the config allows, in tokens.
    original_model_len: tokens of context before a LongRoPE model was lengthened; 0: it was not.
    heads: attention heads that tensor parallelism must divide (0: attention-free).
    blocks: the layers, in order; like layers are the same object.
    outside: tensors outside the layers (embedding, final norm, lm_head, vision tower ...).
    extra: tensors that the checkpoint stores and serving does not load (MTP layers); they are
        not in `parameters`.
    tied: lm_head is the embedding, stored once.
    quantization: how the checkpoint stores its linears; None: as `dtype`.
    multimodal: takes images, video or audio beside text.
    attention_kv_dtype: kv-cache dtype that the checkpoint asks for ("" or "fp8").
    rotary_elements: elements of the rotary position tables that serving keeps (positions x
        rotated dimensions, a table for each kind of rope; linear scaling lengthens them by its
        factor); -1: not known; 0: no rotary positions.
    assumed: the model type is not known and was built from the fields that most decoders share.
    stored: the tensors as a GGUF file lists them; empty if no such file was read.
    tower: what its vision tower makes of an image; None if it has none that is known.
    pools: published to give vectors, whatever its class says (`plimsoll.models.pooling`).
    """

    model_type: str
    class_name: str
    dtype: str
    hidden_size: int
    vocab_size: int
    max_model_len: int
    heads: int
    blocks: tuple[Block, ...]
    outside: tuple[Tensor, ...]
    extra: tuple[Tensor, ...] = ()
    tied: bool = False
    quantization: Quantization | None = None
    multimodal: bool = False
    attention_kv_dtype: str = ""
    original_model_len: int = 0
    rotary_elements: int = -1
    assumed: bool = False
    stored: tuple[HeaderTensor, ...] = ()
    tower: Tower | None = None
    pools: bool = False
    memo: dict[object, object] = field(init=False, default_factory=dict, repr=False)
    """What `remembered` keeps.

    `dataclasses.replace` starts it empty: what was derived from the old model never reaches
    the new one.
    """

    @cached_property
    def parameters(self) -> int:
        """Exact number of parameters: tied weights once, no buffers, no MTP layers."""
        return sum(b.parameters for b in self.blocks) + sum(t.elements for t in self.outside)

    @cached_property
    def active_parameters(self) -> int:
        """Parameters that one token passes through: routed experts counted as used."""
        total = 0
        for block in self.blocks:
            ff = block.feed_forward
            for t in block.tensors:
                used = (
                    ff.experts_per_token
                    if ff and t.split in (Split.EXPERT_COLUMN, Split.EXPERT_ROW)
                    else t.copies
                )
                total += math.prod(t.shape) * used
        return total + sum(t.elements for t in self.outside)

    def remembered(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What `make` gives, made once per key: what an engine derives from the architecture alone.

        Nothing of a request is kept, and nothing without end: keys are splits, dtypes and versions'
        figures, of which a model meets few. There is only one type per first part of a key.
        """
        try:
            return self.memo[key]  # type: ignore[return-value]
        except KeyError:
            if len(self.memo) >= _MOST_REMEMBERED:
                self.memo.clear()
            made = make()
            self.memo[key] = made
            return made

    def mixers(self) -> Iterator[Mixer]:
        """Every mixer, layer by layer."""
        for block in self.blocks:
            yield from block.mixers


class ModelSource(StrEnum):
    """Where the knowledge of a model comes from; also the reason of condition ModelResolved."""

    CATALOGUE = "FromCatalogue"
    BASE_MODEL = "FromBaseModel"
    CONFIG = "FromConfig"
    PROFILE = "FromProfile"
    PARAMETERS = "FromParameters"
    UNKNOWN = "UnknownModel"


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of the model that a request names.

    name: how to call it in a sentence (a Hugging Face id, a file, ``70B parameters``).
    source: how it was resolved.
    architecture: its structure; None if only a size or only a name is known.
    parameters: exact with an architecture, nominal with a size alone, None when unknown.
    bits: bits per parameter as stored, for the rule of thumb; None when unknown.
    origin: what it was resolved from, for the status (``catalogue:meta-llama/...``,
        ``configmap:chat/my-model/config.json``).
    suggestions: catalogue ids near an unknown name.
    certain: False if the catalogue knows more than is believed of it: a revision may differ.
    digest: short hash of the structure that was resolved, for the request hash.
    uri: where the weights are said to be; empty if nothing says so.
    """

    name: str
    source: ModelSource
    architecture: Architecture | None = None
    parameters: int | None = None
    bits: float | None = None
    origin: str = ""
    suggestions: tuple[str, ...] = ()
    digest: str = ""
    certain: bool = True
    uri: str = ""
