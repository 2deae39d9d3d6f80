"""Makes GGUF files of small models with the official writer: keys and tensors, without data.

It must not use Plimsoll: names and keys are those of gguf-py, which llama.cpp's converters use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

Shapes = dict[str, tuple[int, ...]]
"""Name -> shape, output first, as the writer takes it."""

TYPES: Final = gguf.GGMLQuantizationType


def write(
    path: Path,
    architecture: str,
    keys: dict[str, Any],
    tensors: Shapes,
    *,
    words: int = 0,
    types: dict[str, str] | None = None,
    default: str = "F16",
    more: dict[str, Any] | None = None,
) -> Path:
    """The header of a file. keys: without the architecture before them. types: by tensor's name."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in keys.items():
        _add(writer, f"{architecture}.{key}", value)
    for key, value in (more or {}).items():
        _add(writer, key, value)
    if words:
        writer.add_token_list([f"word{i}" for i in range(words)])
        writer.add_token_scores([0.0] * words)
    for name, shape in tensors.items():
        small = len(shape) == 1 or name.endswith("bias") or shape[-1] < 32
        chosen = (types or {}).get(name, "F32" if small else default)
        kind = TYPES[chosen]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        total = int(np.prod(shape)) // block * size
        stored = (*shape[:-1], shape[-1] // block * size)
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), total, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif value >= 1 << 16:
        writer.add_uint64(key, value)
    else:
        writer.add_uint32(key, value)


def keys(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The keys that all have, from the fields of a config."""
    return {
        "block_count": config["num_hidden_layers"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "context_length": config["max_position_embeddings"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        **more,
    }


def ends(config: dict[str, Any]) -> Shapes:
    """Embedding, norm and output."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    made: Shapes = {"token_embd.weight": (vocab, hidden), "output_norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        made["output.weight"] = (vocab, hidden)
    return made


def dense(
    config: dict[str, Any], *, bias: bool = False, qk_norm: bool = False, experts: int = 0
) -> Shapes:
    """LLaMA, Qwen2, Qwen3, Mixtral and Qwen3-MoE."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim", hidden // heads)
    made = ends(config)
    for i in range(config["num_hidden_layers"]):
        at = f"blk.{i}"
        for name, rows in (("q", heads * dim), ("k", kv * dim), ("v", kv * dim)):
            made[f"{at}.attn_{name}.weight"] = (rows, hidden)
            if bias:
                made[f"{at}.attn_{name}.bias"] = (rows,)
        made[f"{at}.attn_output.weight"] = (hidden, heads * dim)
        if qk_norm:
            made |= {f"{at}.attn_q_norm.weight": (dim,), f"{at}.attn_k_norm.weight": (dim,)}
        made |= {f"{at}.attn_norm.weight": (hidden,), f"{at}.ffn_norm.weight": (hidden,)}
        ending = "_exps" if experts else ""
        if experts:
            width = config.get("moe_intermediate_size", width)
            made[f"{at}.ffn_gate_inp.weight"] = (experts, hidden)
        front = (experts,) if experts else ()
        for name, out, into in (
            ("gate", width, hidden),
            ("up", width, hidden),
            ("down", hidden, width),
        ):
            made[f"{at}.ffn_{name}{ending}.weight"] = (*front, out, into)
    return made


def latent(config: dict[str, Any]) -> Shapes:
    """DeepSeek V2 and V3, keys and values of latent attention as one tensor."""
    c = config
    hidden, heads, rank, q = (
        c["hidden_size"],
        c["num_attention_heads"],
        c["kv_lora_rank"],
        c["q_lora_rank"],
    )
    nope, rope, v = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    made = ends(c)
    for i in range(c["num_hidden_layers"]):
        at = f"blk.{i}"
        made |= {
            f"{at}.attn_q_a.weight": (q, hidden),
            f"{at}.attn_q_a_norm.weight": (q,),
            f"{at}.attn_q_b.weight": (heads * (nope + rope), q),
            f"{at}.attn_kv_a_mqa.weight": (rank + rope, hidden),
            f"{at}.attn_kv_a_norm.weight": (rank,),
            f"{at}.attn_kv_b.weight": (heads * (nope + v), rank),
            f"{at}.attn_output.weight": (hidden, heads * v),
            f"{at}.attn_norm.weight": (hidden,),
            f"{at}.ffn_norm.weight": (hidden,),
        }
        width, count = c["moe_intermediate_size"], c["n_routed_experts"]
        if i < c["first_k_dense_replace"]:
            wide = c["intermediate_size"]
            made |= {
                f"{at}.ffn_gate.weight": (wide, hidden),
                f"{at}.ffn_up.weight": (wide, hidden),
                f"{at}.ffn_down.weight": (hidden, wide),
            }
            continue
        made |= {f"{at}.ffn_gate_inp.weight": (count, hidden), f"{at}.exp_probs_b.bias": (count,)}
        for ending, front in (("_exps", (count,)), ("_shexp", ())):
            made |= {
                f"{at}.ffn_gate{ending}.weight": (*front, width, hidden),
                f"{at}.ffn_up{ending}.weight": (*front, width, hidden),
                f"{at}.ffn_down{ending}.weight": (*front, hidden, width),
            }
    return made


def gemma3(config: dict[str, Any]) -> Shapes:
    """Gemma 3: LLaMA with norms on q and k and two more in a layer."""
    made = dense(config, qk_norm=True)
    for i in range(config["num_hidden_layers"]):
        for name in ("post_attention_norm", "post_ffw_norm"):
            made[f"blk.{i}.{name}.weight"] = (config["hidden_size"],)
    return made


def gpt_oss(config: dict[str, Any]) -> Shapes:
    """gpt-oss: biases on everything, sinks, a norm by another name."""
    count, hidden, width = (
        config[name] for name in ("num_local_experts", "hidden_size", "intermediate_size")
    )
    made = dense(config, bias=True, experts=count)
    for i in range(config["num_hidden_layers"]):
        at = f"blk.{i}"
        made[f"{at}.post_attention_norm.weight"] = made.pop(f"{at}.ffn_norm.weight")
        made |= {
            f"{at}.attn_output.bias": (hidden,),
            f"{at}.ffn_gate_inp.bias": (count,),
            f"{at}.attn_sinks.weight": (config["num_attention_heads"],),
            f"{at}.ffn_gate_exps.bias": (count, width),
            f"{at}.ffn_up_exps.bias": (count, width),
            f"{at}.ffn_down_exps.bias": (count, hidden),
        }
    return made


def mamba2(at: str, hidden: int, inner: int, conv: int, heads: int, kernel: int = 4) -> Shapes:
    """The tensors of one mamba 2 mixer."""
    return {
        f"{at}.ssm_in.weight": (inner + conv + heads, hidden),
        f"{at}.ssm_conv1d.weight": (conv, kernel),
        f"{at}.ssm_conv1d.bias": (conv,),
        f"{at}.ssm_dt.bias": (heads,),
        f"{at}.ssm_a": (heads, 1),
        f"{at}.ssm_d": (heads, 1),
        f"{at}.ssm_norm.weight": (inner,),
        f"{at}.ssm_out.weight": (hidden, inner),
    }
