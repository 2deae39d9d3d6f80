"""A family that nobody here knows, read by the fields that most decoders share.

What is made so is marked as assumed; a config with signs of another make (states, latent
attention without its ranks) is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.models.blocks.decoder import Built, Moe, Traits, decoder
from plimsoll.models.blocks.family import all_sliding, first_dense, latent_of, with_mtp
from plimsoll.models.families.encoders import bert

if TYPE_CHECKING:
    from plimsoll.models.blocks.fields import Fields

_NEEDED: Final = (
    ("hidden_size", "n_embd", "d_model"),
    ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    ("num_attention_heads", "n_head", "n_heads"),
    ("vocab_size", "padded_vocab_size"),
)
_OTHER_MAKE: Final = (
    "mamba",
    "ssm_",
    "linear_",
    "rwkv",
    "recurrent",
    "hybrid_",
    "is_encoder",
    "conv_",
    "altup",
    "laurel",
    "num_encoder",
    "encoder_",
    "block_configs",
    "hidden_size_per_layer",
)
_ATTENTION: Final = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
_ENCODERS: Final = ("Bert", "BERT", "Roberta", "MPNet", "Deberta")
"""What the class of a model with layers that look both ways has in its name."""
_EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def generic(f: Fields) -> Built:
    """A decoder like LLaMA, with experts or latent attention if the fields say so; an encoder
    like BERT if its class is named so.

    Records a problem for each field that is missing, and for signs of a make that is not LLaMA's.
    """
    model_type = f.text("model_type")
    strange = [
        key
        for key in f.data
        if isinstance(key, str)
        and key.startswith(_OTHER_MAKE)
        and f.data[key] not in (None, False, 0)
    ]
    strange += set(f.texts("layer_types") or ()) - _ATTENTION
    if strange or not all(f.has(*names) for names in _NEEDED):
        f.wrong(
            "model_type",
            model_type or None,
            "a model type that is known, or the fields of a decoder like LLaMA "
            "(hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, vocab_size)",
            "name a model of the same structure as its baseModel, or give its parameter count",
        )
        f.stop_if_wrong()
    if any(word in name for name in f.texts("architectures") or () for word in _ENCODERS):
        return bert(f)
    t = Traits(
        qkv_bias=f.flag("attention_bias", "qkv_bias"),
        o_bias=f.flag("attention_bias"),
        mlp_bias=f.flag("mlp_bias"),
        qk_norm="head" if f.flag("use_qk_norm") else "",
    )
    if f.has(*_EXPERTS) and f.integer(*_EXPERTS, low=0) > 1:
        width = f.integer("moe_intermediate_size", "intermediate_size")
        shared = f.integer("n_shared_experts", "num_shared_experts", default=0, low=0)
        m = Moe(
            f.integer(*_EXPERTS),
            f.integer("num_experts_per_tok", "moe_k", default=1),
            width,
            shared=width * shared,
        )
        t = replace(t, moe=m, moe_at=first_dense(f))
    elif not f.has("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"):
        f.integer("intermediate_size")
    if f.has("kv_lora_rank"):
        t = replace(t, latent=latent_of(f))
    f.stop_if_wrong()
    return with_mtp(f, decoder(f, t if t.latent else all_sliding(f, t)))
