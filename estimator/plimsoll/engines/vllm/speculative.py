"""A draft beside the model: its weights, its buffers, and the layers that it caches.

    ngram, suffix     nothing on the GPU
    draft_model       a whole model of the catalogue, split as the target, nothing shared
    eagle             one dense layer of the target's sizes, a linear of 2 h x h; embedding and
                      head are the target's
    eagle3            the same with attention over 2 h, a linear of 3 h x h, and a head of 32,000
                      tokens of its own
    mtp               the layers that the checkpoint stores beside the model; embedding and head
                      are the target's
    medusa            for each token h x h, and a head of its own
    buffers           2 x batched tokens x hidden elements (hidden states and embeddings)
    where             on the last pipeline stage; there an embedding of its own where there are
                      several stages
    cache             the draft's layers are layers of the pool like any other
    recurrent layers  one page more for each token, a longer convolution state
    graphs            sizes up to min(2 x sequences x (1 + tokens), most)

The first start-up pass samples as without a draft. A probabilistic draft keeps sequences x tokens
x vocabulary logits in 32 bits. Before 0.8 the draft was not measured: it lies beside the budget.

Source: vLLM 0.9.2 to 0.33.0, vllm/v1/spec_decode, vllm/v1/worker/gpu/spec_decode/speculator.py,
vllm/model_executor/models/{llama_eagle,llama_eagle3,deepseek_mtp,medusa}.py,
vllm/config/{speculative,vllm}.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Parallelism, Term, TermName
from plimsoll.engines.layers.sharding import stage_weights
from plimsoll.engines.vllm.compressed import is_compressed
from plimsoll.engines.vllm.options import VLLMOptions
from plimsoll.models.architecture import (
    Architecture,
    Block,
    FeedForward,
    Mixer,
    MixerKind,
    Part,
    Split,
    Stage,
    Tensor,
)

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings, Speculative
    from plimsoll.engines.tables import Constants
    from plimsoll.engines.vllm.defaults import Resolved

WEIGHTLESS: Final = frozenset({"ngram", "suffix"})
_HEADS: Final = frozenset({"eagle", "eagle3", "medusa"})
_DRAFT_VOCABULARY: Final = 32000
_GUESSED: Final = 0.5
"""Half-width of the band of a draft whose sizes are not known, as a share of its weights."""
_STORED: Final = 0.05
"""The same for layers that the checkpoint stores."""
_DEFAULT_TOKENS: Final = 1


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft under one split. tokens: guessed in one step; model: as the engine loads it; None
    where it has no weights; mixers: what it caches; error: of its weights, as a share.
    """

    tokens: int
    model: Architecture | None
    mixers: tuple[Mixer, ...]
    known: Known
    error: float
    words: str


def method_of(draft: Speculative) -> str:
    """The method in force: as said, else as the engine guesses it from the model's name."""
    name, said = draft.model.lower(), draft.method.lower()
    if said.endswith("mtp"):
        return "mtp"
    if said:
        return said
    for method in ("eagle3", "eagle", "medusa", "ngram"):
        if method in name:
            return method
    return "draft_model" if name else ""


def modelled(settings: EngineSettings) -> bool:
    """Whether this draft's memory is known here."""
    draft = settings.speculative
    if draft is None:
        return True
    method = method_of(draft)
    return (
        method in WEIGHTLESS
        or method in _HEADS
        or method == "mtp"
        or (method == "draft_model" and known_model(draft.model) is not None)
    )


@lru_cache(maxsize=64)
def known_model(name: str) -> Architecture | None:
    """A draft model of the catalogue by its Hugging Face id; None where there is none."""
    from plimsoll.models import catalogue

    entry = catalogue.load().find(name.removeprefix("hf://").partition("@")[0].strip("/"))
    return entry.architecture if entry is not None else None


def draft_of(architecture: Architecture, settings: EngineSettings) -> Draft | None:
    """The draft that the settings ask for; None where they ask for none."""
    wanted = settings.speculative
    if wanted is None:
        return None
    method, tokens = method_of(wanted), wanted.tokens or _DEFAULT_TOKENS
    key = ("vllm.draft", method, wanted.model, tokens)
    return architecture.remembered(key, lambda: _made(architecture, method, wanted.model, tokens))


def _made(architecture: Architecture, method: str, model: str, tokens: int) -> Draft:
    said = f"{tokens} token{'s' * (tokens > 1)} by {method}"
    own = known_model(model) if model else None
    if method in WEIGHTLESS:
        return Draft(tokens, None, (), Known.EXACT, 0.0, said)
    if own is not None and method == "draft_model":
        return Draft(tokens, own, tuple(own.mixers()), Known.EXACT, 0.005, f"{said} {model}")
    if method == "mtp" and is_compressed(architecture):
        made = _window_layer(architecture)
        return Draft(tokens, made, tuple(made.mixers()), Known.MODELLED, _STORED, said)
    if method == "mtp" and architecture.extra:
        made = _stored_layers(architecture)
        return Draft(tokens, made, tuple(made.mixers()), Known.MODELLED, _STORED, said)
    if method == "medusa":
        made = _medusa(architecture, tokens)
        return Draft(tokens, made, (), Known.ASSUMED, _GUESSED, said)
    made = _one_layer(architecture, method)
    return Draft(tokens, made, tuple(made.mixers()), Known.ASSUMED, _GUESSED, said)


def _part_of(architecture: Architecture, block: Block, outside: tuple[Tensor, ...]) -> Architecture:
    """One layer in the target's sizes as a model of its own."""
    return replace(
        architecture,
        blocks=(block,),
        outside=outside,
        extra=(),
        rotary_elements=0,
        multimodal=False,
    )


def _attention(architecture: Architecture) -> Mixer:
    """The last mixer that caches keys and values; without compressed keys (DeepSeek V4's MTP)."""
    found = [m for m in architecture.mixers() if not (m.conv_elements or m.state_elements)]
    if not found:
        return Mixer(MixerKind.FULL, architecture.heads or 1, 1, 128, 128)
    own = [m for m in found if not (m.shares_kv or m.ratio or m.kind is MixerKind.CROSS)] or found
    return own[-1]


def _stored_layers(architecture: Architecture) -> Architecture:
    """The layers beside the model, without the copies of embedding and head."""
    extra = tuple(t for t in architecture.extra if t.split is not Split.VOCAB)
    number = max(1, sum(t.name.endswith(("eh_proj.weight", "input_proj.weight")) for t in extra))
    feed = next((b.feed_forward for b in reversed(architecture.blocks) if b.feed_forward), None)
    mixers = (_attention(architecture),) * number
    return _part_of(architecture, Block(mixers, feed, extra), ())


def _window_layer(architecture: Architecture) -> Architecture:
    """DeepSeek V4's layer for guessing: the model's last without its compressor, and two linears.

    Source: vllm/models/deepseek_v4/nvidia/mtp.py (e_proj, h_proj; a layer beyond the model's has
    a window alone).
    """
    last, h = architecture.blocks[-1], architecture.hidden_size
    own = tuple(t for t in last.tensors if ".compressor." not in t.name)
    linears = tuple(
        Tensor(f"{name}.weight", (h, h), Split.NONE, Part.OTHER, linear=True)
        for name in ("e_proj", "h_proj")
    )
    block = Block((_attention(architecture),), last.feed_forward, (*own, *linears))
    return _part_of(architecture, block, ())


def _one_layer(architecture: Architecture, method: str) -> Architecture:
    """A dense layer over full attention, as EAGLE heads are trained."""
    h = architecture.hidden_size
    mixer = _attention(architecture)
    latent = mixer.kind is MixerKind.MLA
    heads = architecture.heads or mixer.heads
    kv, dim = (heads, 128) if latent else (mixer.kv_heads, mixer.head_dim)
    own = Mixer(MixerKind.FULL, heads, kv, dim, dim)
    width = (
        max((b.feed_forward.intermediate for b in architecture.blocks if b.feed_forward), default=0)
        or 4 * h
    )
    into = 2 * h if method == "eagle3" else h
    linears = (
        ("self_attn.q_proj", (heads * dim, into), Split.COLUMN, Part.ATTENTION),
        ("self_attn.k_proj", (kv * dim, into), Split.KV_HEADS, Part.ATTENTION),
        ("self_attn.v_proj", (kv * dim, into), Split.KV_HEADS, Part.ATTENTION),
        ("self_attn.o_proj", (h, heads * dim), Split.ROW, Part.ATTENTION),
        ("mlp.gate_proj", (width, h), Split.COLUMN, Part.MLP),
        ("mlp.up_proj", (width, h), Split.COLUMN, Part.MLP),
        ("mlp.down_proj", (h, width), Split.ROW, Part.MLP),
        ("fc", (h, (3 if method == "eagle3" else 2) * h), Split.NONE, Part.OTHER),
    )
    tensors = tuple(
        Tensor(f"{name}.weight", shape, split, part, linear=True)
        for name, shape, split, part in linears
    )
    outside: tuple[Tensor, ...] = ()
    if method == "eagle3":
        rows = min(_DRAFT_VOCABULARY, architecture.vocab_size)
        head = Tensor(
            "lm_head.weight", (rows, h), Split.VOCAB, Part.HEAD, linear=True, stage=Stage.LAST
        )
        outside = (head,)
    layer = Block((own,), FeedForward(width), tensors)
    return replace(_part_of(architecture, layer, outside), quantization=None, tied=False)


def _medusa(architecture: Architecture, tokens: int) -> Architecture:
    h, v = architecture.hidden_size, architecture.vocab_size
    block = Block(
        (),
        None,
        (
            Tensor("medusa.linear.weight", (h, h), Split.NONE, Part.OTHER, tokens),
            Tensor("medusa.head.weight", (v, h), Split.VOCAB, Part.HEAD, tokens),
        ),
    )
    return replace(_part_of(architecture, block, ()), quantization=None)


def graphed(resolved: Resolved, draft: Draft | None) -> Resolved:
    """The start-up as CUDA graphs see it: one sequence is a row for each guessed token more."""
    if draft is None:
        return resolved
    return replace(resolved, seqs=resolved.seqs * (1 + draft.tokens))


def term(
    architecture: Architecture,
    settings: EngineSettings,
    draft: Draft | None,
    resolved: Resolved,
    parallelism: Parallelism,
    stage: int,
    constants: Constants,
) -> Term | None:
    """Weights and buffers of the draft on one rank of a stage; None where there are none."""
    if draft is None or draft.model is None:
        return None
    words = draft.words
    if stage != parallelism.pipeline - 1:
        return Term(TermName.DRAFT, 0, 0, 0, Known.EXACT, "on the last stage")
    split = replace(parallelism, pipeline=1)
    whole = constants.flag("loading_unsplit")
    weights = stage_weights(draft.model, resolved.dtype, "", split, views=True, whole=whole)[0]
    if parallelism.pipeline > 1 and draft.model.hidden_size == architecture.hidden_size:
        rows = -(-architecture.vocab_size // parallelism.tensor)
        weights += rows * architecture.hidden_size * resolved.element
    buffers = 2 * resolved.batched_tokens * draft.model.hidden_size * resolved.element
    config = json.loads(VLLMOptions.of(settings).speculative_config or "{}")
    if config.get("draft_sample_method") == "probabilistic":
        buffers += resolved.seqs * draft.tokens * architecture.vocab_size * 4
    size = weights + buffers
    measured = constants.flag("chunked_prefill")
    low = int(weights * (1 - draft.error)) if measured else 0
    most = round(weights * (1 + draft.error)) + round(buffers * 1.25)
    return Term(TermName.DRAFT, size, low, most, draft.known, words)
