"""Encoders that embed, rank and classify: BERT and its kin. Every layer sees the whole input.

Nothing is cached, and no head makes logits of a vocabulary.

    layer       attention and MLP of a decoder; norms with bias after each (ModernBERT: before)
    outside     words, positions (unless rotary), token types, their norm; what the class adds
    class       ...ForSequenceClassification loads a classifier, and BERT's and GTE's its pooler;
                ...ForTokenClassification a classifier; others neither: what a checkpoint
                stores beside that is in `Built.extra`

Sources: vLLM 0.33.0, vllm/model_executor/models/{bert,roberta,modernbert,bert_with_rope}.py and
transformers/pooling.py beside them; transformers 5.23.0 for the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.architecture import MixerKind, Part, Split, Stage, Tensor
from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder
from plimsoll.models.blocks.family import without_gate_bias
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

_BERT: Final = Traits(
    norm_bias=True,
    gated=False,
    qkv_bias=True,
    o_bias=True,
    mlp_bias=True,
    kinds=lambda _: MixerKind.ENCODER,
)
"""A layer of BERT."""
_CLASSIFIES: Final = "ForSequenceClassification"
_CLASSIFIES_TOKENS: Final = "ForTokenClassification"


def _table(name: str, rows: int, width: int) -> Tensors:
    shape = (rows, width)
    return (Tensor(f"embeddings.{name}.weight", shape, Split.VOCAB, Part.EMBEDDING),)


def embeddings(
    f: Fields, width: int, *, positions: bool = True, types: int = 2, bias: bool = True
) -> Tensors:
    """Words, positions and token types, and their norm. types: if the config has no number."""
    tensors = _table("word_embeddings", f.integer("vocab_size"), width)
    if positions:
        rows = f.integer("max_position_embeddings", default=512)
        tensors += _table("position_embeddings", rows, width)
    kinds = f.integer("type_vocab_size", default=types, low=0)
    if kinds:
        tensors += _table("token_type_embeddings", kinds, width)
    return tensors + norm("embeddings.LayerNorm", width, bias=bias)


def _head(name: str, out: int, into: int, *, bias: bool = True) -> Tensors:
    return linear(name, out, into, Split.NONE, Part.OTHER, bias=bias, stage=Stage.LAST)


def _labels(f: Fields) -> int:
    """Labels of a classifier: as many as the config names; two if it names none."""
    named = f.raw("id2label")
    if isinstance(named, Mapping) and named:
        return len(named)
    return f.integer("num_labels", default=2)


def _class(f: Fields) -> str:
    return (f.texts("architectures") or ("",))[0]


def encoder(
    f: Fields,
    built: Built,
    outside: Tensors,
    *,
    pooler: Tensors = (),
    before: Tensors = (),
    masked: Tensors = (),
    pooled: bool = False,
) -> Built:
    """The layers of a decoder as an encoder.

    pooler: of the bare model. before: what stands before the classifier of a sequence. masked:
    what predicts masked words. pooled: the pooler stands before the classifier too.
    """
    name, hidden = _class(f), built.hidden
    classifier = _head("classifier", _labels(f), hidden)
    f.stop_if_wrong()
    extra: Tensors = ()
    if name.endswith(_CLASSIFIES):
        outside += (pooler if pooled else ()) + before + classifier
    elif name.endswith(_CLASSIFIES_TOKENS):
        outside += classifier
    elif name.endswith("ForMaskedLM"):
        extra = masked
    else:
        extra = pooler
    return replace(built, outside=outside, extra=extra, tied=False)


def _masked(f: Fields, hidden: int, width: int = 0) -> Tensors:
    """The head for masked words: a dense layer with its norm, a bias; the words are tied."""
    into = width or hidden
    return (
        _head("lm_head.dense", into, hidden)
        + norm("lm_head.layer_norm", into, bias=True)
        + loose("lm_head.bias", (f.integer("vocab_size"),), stage=Stage.LAST)
    )


def bert(f: Fields) -> Built:
    """BERT. Positions that are added to attention instead (ALiBi: Jina 2) are its only variant.

    No engine here serves that one from this type: what is made of it is marked as assumed.
    """
    alibi = f.text("position_embedding_type", default="absolute") == "alibi"
    built = decoder(f, _BERT)
    hidden = built.hidden
    if alibi:
        built = replace(without_gate_bias(decoder(f, replace(_BERT, gated=True))), assumed=True)
    return encoder(
        f,
        built,
        embeddings(f, hidden, positions=not alibi),
        pooled=True,
        pooler=_head("pooler.dense", hidden, hidden),
        masked=_masked(f, hidden),
    )


def roberta(f: Fields) -> Built:
    """RoBERTa, XLM-RoBERTa, CamemBERT; with rotary positions Jina 3, whose adapters are merged."""
    rotary = f.text("position_embedding_type", default="absolute") not in ("absolute", "")
    rotary = rotary or f.text("model_type") == "jina_embeddings_v3"
    built = decoder(f, _BERT)
    hidden = built.hidden
    return encoder(
        f,
        built,
        embeddings(f, hidden, positions=not rotary, types=1),
        pooler=_head("pooler.dense", hidden, hidden),
        before=_head("classifier.dense", hidden, hidden),
        masked=_masked(f, hidden),
    )


def distilbert(f: Fields) -> Built:
    """DistilBERT: BERT without token types and pooler."""
    built = decoder(f, _BERT)
    hidden = built.hidden
    return encoder(
        f,
        built,
        embeddings(f, hidden, types=0),
        before=_head("pre_classifier", hidden, hidden),
        masked=_masked(f, hidden),
    )


def electra(f: Fields) -> Built:
    """ELECTRA: BERT with narrower embeddings and no pooler."""
    built = decoder(f, _BERT)
    hidden = built.hidden
    width = f.integer("embedding_size", default=hidden)
    outside = embeddings(f, width)
    if width != hidden:
        outside += linear("embeddings_project", hidden, width, Split.NONE, Part.OTHER, bias=True)
    return encoder(
        f,
        built,
        outside,
        before=_head("classifier.dense", hidden, hidden),
        masked=_masked(f, hidden, width),
    )


def modernbert(f: Fields) -> Built:
    """ModernBERT: rotary, gated, one norm fewer in the first layer; no token types."""
    bias = f.flag("attention_bias")
    norms, wide = f.flag("norm_bias"), f.flag("mlp_bias")
    t = replace(_BERT, norm_bias=norms, gated=True, qkv_bias=bias, o_bias=bias, mlp_bias=wide)
    built = decoder(f, t)
    hidden, first = built.hidden, built.blocks[0]
    kept = tuple(x for x in first.tensors if not x.name.startswith("input_layernorm"))
    outside = embeddings(f, hidden, positions=False, types=0, bias=norms)
    outside += norm("final_norm", hidden, bias=norms, stage=Stage.LAST)
    dense = _head("head.dense", hidden, hidden, bias=f.flag("classifier_bias"))
    dense += norm("head.norm", hidden, bias=norms, stage=Stage.LAST)
    masked = dense
    if f.flag("decoder_bias", default=True):
        masked += loose("decoder.bias", (f.integer("vocab_size"),), stage=Stage.LAST)
    encoded = encoder(
        f,
        replace(built, blocks=(replace(first, tensors=kept), *built.blocks[1:])),
        outside,
        before=dense,
        masked=masked,
    )
    if not _class(f).endswith(_CLASSIFIES_TOKENS):
        return encoded
    return replace(encoded, outside=encoded.outside + dense)


def nomic(f: Fields) -> Built:
    """Nomic Embed: rotary, gated (v1) or with experts in every other layer (v2)."""
    bias = f.flag("qkv_proj_bias")
    gated = f.text("activation_function", "hidden_act", default="swiglu") in ("swiglu", "silu")
    t = replace(_BERT, gated=gated, qkv_bias=bias, o_bias=bias, mlp_bias=bias)
    every = f.integer("moe_every_n_layers", default=0, low=0)
    if every:
        width = f.integer("n_inner", "intermediate_size")
        hidden = f.integer("n_embd", "hidden_size")
        t = replace(
            t,
            moe=Moe(f.integer("num_experts"), f.integer("moe_top_k"), width, gated=False),
            moe_at=lambda i: i % every == 1,
            sparse_more=loose("mlp.experts.bias", (hidden,), part=Part.EXPERTS),
        )
    built = decoder(f, t)
    return encoder(f, built, embeddings(f, built.hidden, positions=False))


def gte(f: Fields) -> Built:
    """GTE ("new") and Arctic Embed 2: rotary, gated, no biases on gate and up."""
    built = without_gate_bias(decoder(f, replace(_BERT, gated=True)))
    hidden = built.hidden
    return encoder(
        f,
        built,
        embeddings(f, hidden, positions=False, types=1),
        before=_head("pooler.dense", hidden, hidden),
        masked=_masked(f, hidden),
    )
