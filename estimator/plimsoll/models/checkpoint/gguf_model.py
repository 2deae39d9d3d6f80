"""From the header of a GGUF file to a model: a config out of its keys, and its own tensors.

A GGUF file needs no config.json: its keys say what one would, in words of llama.cpp, and the
tensors say the rest (biases, tied embeddings, shapes).

    key          <architecture>.block_count, .embedding_length, .attention.head_count_kv ...
    tensor       blk.<n>.attn_q.weight, input first: self_attn.q_proj.weight, output first
    type         a scheme of whole blocks: Q4_K = 4 bits for each of 256 weights and 16 bytes beside
    source       gguf-py/gguf/constants.py and tensor_mapping.py of llama.cpp
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem, Unreadable, shown
from plimsoll.models.checkpoint.corrections import numbers_in, spans
from plimsoll.models.checkpoint.gguf import BLOCKS
from plimsoll.models.checkpoint.packing import Weight
from plimsoll.models.checkpoint.structure import corrections
from plimsoll.models.files import MAX_ELEMENTS, HeaderTensor
from plimsoll.models.quantization import Quantization, Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.models.architecture import Architecture
    from plimsoll.models.checkpoint.gguf import GGUF

_TYPES: Final[Mapping[str, str]] = {
    "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "qwen3next": "qwen3_next",
    "qwen2vl": "qwen2", "qwen3vl": "qwen3_vl_text", "qwen3vlmoe": "qwen3_vl_moe_text",
    "qwen35": "qwen3_5_text", "qwen35moe": "qwen3_5_moe_text",
    "gemma3": "gemma3_text", "gemma4": "gemma4_text", "phi2": "phi",
    "deepseek2": "deepseek_v2", "gpt-oss": "gpt_oss", "command-r": "cohere", "glm4moe": "glm4_moe",
    "llama4": "llama4_text", "falcon-h1": "falcon_h1", "gptneox": "gpt_neox",
    "minimax-m2": "minimax_m2", "ernie4_5-moe": "ernie4_5_moe", "hunyuan-moe": "hunyuan_v1_moe",
    "hunyuan-dense": "hunyuan_v1_dense", "granitehybrid": "granitemoehybrid",
    "granitemoe": "granitemoe", "starcoder": "gpt_bigcode", "kimi-linear": "kimi_linear",
    "mistral3": "ministral3", "step35": "step3p5",
}  # fmt: skip
"""llama.cpp's architectures under the name that Hugging Face gives them, if it is another."""
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "embedding_length": ("hidden_size",),
    "feed_forward_length": ("intermediate_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim",),
    "attention.sliding_window": ("sliding_window",),
    "context_length": ("max_position_embeddings",),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "expert_used_count": ("num_experts_per_tok", "moe_k"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",
                                          "shared_intermediate_size"),
    "expert_shared_count": ("n_shared_experts",),
    "leading_dense_block_count": ("first_k_dense_replace",),
    "nextn_predict_layers": ("num_nextn_predict_layers",),
    "attention.q_lora_rank": ("q_lora_rank",),
    "attention.kv_lora_rank": ("kv_lora_rank",),
    "attention.indexer.head_count": ("index_n_heads",),
    "attention.indexer.key_length": ("index_head_dim",),
    "ssm.conv_kernel": ("conv_kernel", "mamba_d_conv", "linear_conv_kernel_dim"),
    "ssm.state_size": ("state_size", "mamba_d_state", "ssm_state_size", "linear_key_head_dim"),
    "ssm.group_count": ("n_groups", "mamba_n_groups", "linear_num_key_heads"),
    "shortconv.l_cache": ("conv_L_cache",),
    "full_attention_interval": ("full_attention_interval",),
}  # fmt: skip
"""Keys, without the architecture before them, and what configs call the same."""
_IN_LAYER: Final[Mapping[str, str]] = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
    "attn_gate": "self_attn.g_proj", "attn_norm": "input_layernorm",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "attn_sinks": "self_attn.sinks", "attn_q_a": "self_attn.q_a_proj",
    "attn_q_b": "self_attn.q_b_proj", "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_b": "self_attn.kv_b_proj", "attn_k_b": "self_attn.k_b_proj",
    "attn_v_b": "self_attn.v_b_proj", "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm", "ffn_norm": "post_attention_layernorm",
    "post_attention_norm": "pre_feedforward_layernorm", "post_ffw_norm":
    "post_feedforward_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj", "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_gate_up_exps": "mlp.experts.gate_up_proj", "ffn_down_exps": "mlp.experts.down_proj",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj", "ffn_up_shexp":
    "mlp.shared_experts.up_proj", "ffn_down_shexp": "mlp.shared_experts.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate", "exp_probs_b":
    "mlp.gate.e_score_correction_bias", "ssm_in": "{}.in_proj", "ssm_conv1d": "{}.conv1d",
    "ssm_x": "{}.x_proj", "ssm_dt": "{}.dt_proj", "ssm_a": "{}.A_log", "ssm_d": "{}.D",
    "ssm_norm": "{}.norm", "ssm_out": "{}.out_proj", "ssm_ba": "{}.in_proj_ba",
    "ssm_beta": "{}.in_proj_b", "ssm_alpha": "{}.in_proj_a",
    "shortconv.conv": "conv.conv", "shortconv.in_proj": "conv.in_proj",
    "shortconv.out_proj": "conv.out_proj",
}  # fmt: skip
_BARE: Final = frozenset({"attn_sinks", "ssm_a", "ssm_d", "exp_probs_b"})
"""Tensors that configs know without ``.weight`` or ``.bias``."""
_OUTSIDE: Final = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "position_embd": "model.embed_positions",
    "token_embd_norm": "model.embed_norm",
}
_BUFFERS: Final = ("rope_freqs", "rope_factors_long", "rope_factors_short")
_STATES: Final = ("mixer", "mamba", "linear_attn")
_PATH: Final = "checkpoint.gguf"


def config(header: GGUF, name: str) -> dict[str, Any]:
    """What a config.json would say of the model in a GGUF file. name: of the file, for messages.

    Raises `Unreadable` for a file that holds no language model.
    """
    kind = header.architecture
    if not kind or kind == "clip":
        wanted = "a GGUF file of a language model"
        raise Unreadable(
            name,
            f"{wanted}; this one is the projector of a multimodal one"
            if kind
            else f"{wanted}, with general.architecture",
        )
    there = {t.name for t in header.tensors}

    def key(word: str) -> Any:
        return header.metadata.get(f"{kind}.{word}")

    fields: dict[str, Any] = {
        "model_type": _TYPES.get(kind, kind),
        "torch_dtype": _dtype(header),
        "tie_word_embeddings": "output.weight" not in there,
        "attention_bias": "blk.0.attn_q.bias" in there,
    }
    if kind == "llama" and key("expert_count"):
        fields["model_type"] = "mixtral"
    for word, names in _FIELDS.items():
        value = key(word)
        if value is not None:
            fields |= dict.fromkeys(names, _scalar(value))
    if key("expert_count") and not key("expert_feed_forward_length"):
        fields.setdefault("moe_intermediate_size", fields.get("intermediate_size"))
    count = key("block_count")
    further = key("nextn_predict_layers") or 0
    fields["num_hidden_layers"] = count - further if isinstance(count, int) else None
    fields["vocab_size"] = _vocabulary(header, kind)
    rope = key("rope.dimension_count")
    length, v_length = (
        key(f"attention.{w}_length_mla") or key(f"attention.{w}_length") for w in ("key", "value")
    )
    if isinstance(fields.get("kv_lora_rank"), int) and isinstance(rope, int):
        fields |= {"qk_rope_head_dim": rope, "v_head_dim": v_length}
        if isinstance(length, int):
            fields["qk_nope_head_dim"] = length - rope
    fields |= _states(header, kind, fields)
    return {k: v for k, v in fields.items() if v is not None}


def _scalar(value: Any) -> Any:
    """Of an array (one figure for each layer) the largest."""
    if isinstance(value, list):
        figures = [v for v in value if isinstance(v, int)]
        return max(figures, default=None)
    return value


def _vocabulary(header: GGUF, kind: str) -> int | None:
    size = header.metadata.get(f"{kind}.vocab_size")
    table = next((t for t in header.tensors if t.name == "token_embd.weight"), None)
    if table is not None and len(table.shape) == 2:
        return table.shape[1]
    return size if isinstance(size, int) else header.lengths.get("tokenizer.ggml.tokens")


def _dtype(header: GGUF) -> str:
    names = {t.type_name for t in header.tensors}
    if "BF16" in names:
        return "bfloat16"
    return "float32" if names and names <= {"F32"} else "float16"


def _states(header: GGUF, kind: str, made: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of state-space mixers, and which layers have them."""
    inner, rank = (header.metadata.get(f"{kind}.ssm.{w}") for w in ("inner_size", "time_step_rank"))
    fields: dict[str, Any] = {}
    kv = header.metadata.get(f"{kind}.attention.head_count_kv")
    wide = header.metadata.get(f"{kind}.feed_forward_length")
    if isinstance(kv, list):
        state = "conv" if kind.startswith("lfm2") else "mamba"
        fields["layer_types"] = ["full_attention" if n else state for n in kv]
        full = [i for i, n in enumerate(kv) if n]
        if len(full) > 1:
            fields |= {"attn_layer_period": full[1] - full[0], "attn_layer_offset": full[0]}
        if isinstance(wide, list) and kind.startswith("nemotron_h"):
            fields["hybrid_override_pattern"] = "".join(
                "*" if n else "-" if w else "M" for n, w in zip(kv, wide, strict=False)
            )
    if kind.startswith("lfm2"):
        fields["block_auto_adjust_ff_dim"] = False
    if not isinstance(inner, int) or not isinstance(rank, int) or rank < 1:
        return fields
    hidden = made.get("hidden_size")
    if kind in ("mamba", "jamba"):
        fields |= {
            "intermediate_size" if kind == "mamba" else "mamba_inner": inner,
            "time_step_rank": rank,
            "mamba_dt_rank": rank,
        }
    else:
        heads = {"num_heads", "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads"}
        dims = {"mamba_d_head", "mamba_head_dim", "linear_value_head_dim"}
        fields |= dict.fromkeys(heads, rank) | dict.fromkeys(dims, inner // rank)
        if kind == "mamba2":
            fields["head_dim"] = inner // rank
    if isinstance(hidden, int) and hidden and inner % hidden == 0:
        fields["mamba_expand"] = inner // hidden
    return fields


def with_tensors(
    made: Architecture, tensors: tuple[HeaderTensor, ...], notes: list[str]
) -> Architecture:
    """An architecture with the tensors of a GGUF file, as they lie in it."""
    quantized = replace(made, quantization=Quantization("gguf", None))
    differences = corrections(
        quantized, (w for t in tensors for w in _weights(quantized, t)), notes
    )
    return replace(differences.apply(quantized), stored=tensors)


def _weights(made: Architecture, tensor: HeaderTensor) -> tuple[Weight, ...]:
    name = _spelt(made, tensor.name)
    if not name:
        return ()
    shape = tuple(reversed(tensor.shape)) or (1,)
    return (Weight(name, shape, scheme(tensor.type_name)),)


def _spelt(made: Architecture, name: str) -> str:
    """A tensor's name as in a checkpoint of Hugging Face; empty for a buffer."""
    parts = name.split(".", 2)
    inner = parts[0] == "blk" and len(parts) == 3 and parts[1].isdecimal()
    stem, _, leaf = (parts[2] if inner else name).rpartition(".")
    if leaf not in ("weight", "bias"):
        stem, leaf = f"{stem}.{leaf}" if stem else leaf, ""
    if not inner:
        known = _OUTSIDE.get(stem, stem)
        return "" if stem in _BUFFERS else f"{known}.{leaf}" if leaf else known
    spelling = _IN_LAYER.get(stem, stem)
    if "{}" in spelling:
        mixer, names = _mixer(made, int(parts[1]))
        spelling = spelling.format(mixer)
        if leaf == "bias" and f"{mixer}.dt_bias" in names and spelling.endswith("dt_proj"):
            return f"model.layers.{parts[1]}.{mixer}.dt_bias"
    ending = f".{leaf}" if leaf and stem not in _BARE else ""
    experts = spelling == "mlp.gate" or spelling.startswith("mlp.experts.")
    if experts and "experts.down_proj.weight" in _mixer(made, int(parts[1]))[1]:
        beside = spelling.removeprefix("mlp.")
        spelling = "router.proj" if beside == "gate" else beside
    return f"model.layers.{parts[1]}.{spelling}{ending}"


def _mixer(made: Architecture, layer: int) -> tuple[str, frozenset[str]]:
    """What a layer's state-space mixer is called, and the names of all of its tensors."""
    block = made.blocks[layer] if layer < len(made.blocks) else None
    names = frozenset(t.name for t in block.tensors) if block is not None else frozenset()
    prefixes = {name.partition(".")[0] for name in names}
    return next((word for word in _STATES if word in prefixes), _STATES[0]), names


@lru_cache(maxsize=64)
def scheme(type_name: str) -> Scheme | None:
    """How a type of ggml stores a weight; None for plain floating types.

    Raises KeyError for a type that is not known.
    """
    block, size = BLOCKS[type_name]
    if block == 1:
        return None
    bits = size * 8 // block
    return Scheme(type_name.lower(), bits, block, 1, size - bits * block // 8)


def table(tensors: tuple[HeaderTensor, ...]) -> list[list[Any]]:
    """The tensors for a profile: those of all layers that are alike in one row."""
    rows: defaultdict[tuple[str, tuple[int, ...], str], list[int]] = defaultdict(list)
    for t in tensors:
        parts = t.name.split(".", 2)
        if parts[0] == "blk" and len(parts) == 3 and parts[1].isdecimal():
            rows[f"blk.*.{parts[2]}", t.shape, t.type_name].append(int(parts[1]))
        else:
            rows[t.name, t.shape, t.type_name] = []
    return [
        [name, list(shape), kind] + ([spans(tuple(sorted(numbers)))] if numbers else [])
        for (name, shape, kind), numbers in rows.items()
    ]


def with_table(made: Architecture, rows: object) -> Architecture:
    """An architecture with the tensors that a profile lists.

    Raises `Invalid` for anything unbelievable.
    """
    if not isinstance(rows, list) or len(rows) > 20_000:
        raise _wrong("", rows, "a list of tensors")
    tensors: list[HeaderTensor] = []
    for index, row in enumerate(rows):
        tensors += _row(row, f"[{index}]", len(made.blocks) + 16)
        if len(tensors) > 100_000:
            raise _wrong("", f"{len(tensors)} tensors", "at most 100000")
    if len({t.name for t in tensors}) != len(tensors):
        raise _wrong("", "a tensor that stands twice", "every tensor once")
    return with_tensors(made, tuple(tensors), [])


def _row(row: object, where: str, layers: int) -> list[HeaderTensor]:
    wanted = "name, shape, type and, for tensors of layers, their numbers"
    if not isinstance(row, list) or not 3 <= len(row) <= 4:
        raise _wrong(where, row, wanted)
    name, shape, kind = row[:3]
    numbers: tuple[int, ...] | None = (-1,)
    if len(row) == 4:
        numbers = numbers_in(row[3], layers) if isinstance(row[3], str) else None
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= 512
        or not isinstance(kind, str)
        or kind not in BLOCKS
        or not isinstance(shape, list)
        or len(shape) > 8
        or numbers is None
        or not all(isinstance(n, int) and 0 <= n <= MAX_ELEMENTS for n in shape)
        or name.startswith("blk.*.") is not (len(row) == 4)
    ):
        raise _wrong(where, row, wanted)
    block, size = BLOCKS[kind]
    elements = 1
    for n in shape:
        elements *= n
    if elements > MAX_ELEMENTS or (shape and shape[0] % block):
        raise _wrong(where, row, f"rows of whole blocks of {block} elements")
    return [
        HeaderTensor(
            name.replace("*", str(number), 1) if number >= 0 else name,
            tuple(shape),
            kind,
            elements // block * size,
        )
        for number in numbers
    ]


def _wrong(where: str, given: object, wanted: str) -> Invalid:
    return Invalid(
        Problem(f"{_PATH}{where}", shown(given), wanted, "make it with `plimsoll models export`")
    )
