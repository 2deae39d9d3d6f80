"""Makes checkpoints of small models with the tensor names that the published ones have.

It must not use Plimsoll: names, shapes and types follow transformers and the makers' own files, so
that what Plimsoll makes of a config and of these headers can be held against each other.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Name -> dtype and shape."""

_BITS: Final = {
    "F32": 32,
    "BF16": 16,
    "F16": 16,
    "F8_E4M3": 8,
    "U8": 8,
    "I8": 8,
    "I32": 32,
    "I64": 64,
    "F8_E8M0": 8,
}


def header_bytes(tensors: Tensors) -> bytes:
    """A safetensors header: its length and its JSON."""
    at = 0
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * _BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def size_of(tensors: Tensors) -> int:
    """Bytes of the tensors themselves."""
    return sum(math.prod(shape) * _BITS[dtype] // 8 for dtype, shape in tensors.values())


def write_file(path: Path, tensors: Tensors) -> None:
    """A whole safetensors file; its tensors are holes, so that it takes no room on the disk."""
    header = header_bytes(tensors)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size_of(tensors))


def write(
    folder: Path,
    config: dict[str, Any] | None,
    tensors: Tensors,
    *,
    shards: int = 1,
    quant: dict[str, Any] | None = None,
) -> Path:
    """A folder as `save_pretrained` makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if quant is not None:
        (folder / "hf_quant_config.json").write_text(json.dumps(quant))
    if shards == 1:
        write_file(folder / "model.safetensors", tensors)
        return folder
    names = list(tensors)
    where: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        own = names[number::shards]
        write_file(folder / file, {name: tensors[name] for name in own})
        where |= dict.fromkeys(own, file)
    index = {"metadata": {"total_size": size_of(tensors)}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


class Maker:
    """Collects tensors; `pack` says how linears are stored, by module."""

    def __init__(self, packing: str = "", kept: tuple[str, ...] = ()) -> None:
        self.tensors: Tensors = {}
        self.packing, self.kept = packing, kept

    def plain(self, name: str, *shape: int, dtype: str = "BF16") -> None:
        """One tensor as it is."""
        self.tensors[name] = (dtype, shape)

    def linear(self, name: str, out: int, into: int, *, bias: bool = False) -> None:
        """One linear, packed unless it is among those that are kept."""
        if bias:
            self.plain(f"{name}.bias", out)
        if not self.packing or any(word in name for word in self.kept):
            self.plain(f"{name}.weight", out, into)
            return
        getattr(self, f"_{self.packing}")(name, out, into)

    def _fp8_block(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight", out, into, dtype="F8_E4M3")
        self.plain(f"{name}.weight_scale_inv", -(-out // 128), -(-into // 128), dtype="F32")

    def _fp8_channel(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight", out, into, dtype="F8_E4M3")
        self.plain(f"{name}.weight_scale", out, 1)

    def _fp8_tensor(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight", out, into, dtype="F8_E4M3")
        self.plain(f"{name}.weight_scale", dtype="F32")
        self.plain(f"{name}.input_scale", dtype="F32")

    def _int8(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight", out, into, dtype="I8")
        self.plain(f"{name}.weight_scale", out, 1)

    def _awq(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.qweight", into, out // 8, dtype="I32")
        self.plain(f"{name}.qzeros", into // 128, out // 8, dtype="I32")
        self.plain(f"{name}.scales", into // 128, out, dtype="F16")

    def _gptq(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.qweight", into // 8, out, dtype="I32")
        self.plain(f"{name}.qzeros", into // 128, out // 8, dtype="I32")
        self.plain(f"{name}.scales", into // 128, out, dtype="F16")
        self.plain(f"{name}.g_idx", into, dtype="I32")

    def _pack_quantized(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight_packed", out, into // 8, dtype="I32")
        self.plain(f"{name}.weight_scale", out, into // 128)
        self.plain(f"{name}.weight_shape", 2, dtype="I64")

    def _nvfp4(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight", out, into // 2, dtype="U8")
        self.plain(f"{name}.weight_scale", out, into // 16, dtype="F8_E4M3")
        self.plain(f"{name}.weight_scale_2", dtype="F32")
        self.plain(f"{name}.input_scale", dtype="F32")

    def _nvfp4_packed(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight_packed", out, into // 2, dtype="U8")
        self.plain(f"{name}.weight_scale", out, into // 16, dtype="F8_E4M3")
        self.plain(f"{name}.weight_global_scale", 1, dtype="F32")
        self.plain(f"{name}.input_global_scale", 1, dtype="F32")

    def _nf4(self, name: str, out: int, into: int) -> None:
        self.plain(f"{name}.weight", out * into // 2, 1, dtype="U8")
        self.plain(f"{name}.weight.absmax", out * into // 64, dtype="F32")
        self.plain(f"{name}.weight.quant_map", 16, dtype="F32")
        self.plain(f"{name}.weight.quant_state.bitsandbytes__nf4", 90, dtype="U8")

    def ends(
        self,
        hidden: int,
        vocab: int,
        *,
        way: str = "model.",
        tied: bool = False,
        head: str = "lm_head",
    ) -> None:
        """Embedding, final norm and head."""
        self.plain(f"{way}embed_tokens.weight", vocab, hidden)
        self.plain(f"{way}norm.weight", hidden)
        if not tied:
            self.plain(f"{head}.weight", vocab, hidden)

    def attention(
        self,
        at: str,
        hidden: int,
        heads: int,
        kv: int,
        dim: int,
        *,
        bias: bool = False,
        o_bias: bool = False,
        qk_norm: bool = False,
    ) -> None:
        """Grouped queries, as LLaMA and its kin name them."""
        self.linear(f"{at}.q_proj", heads * dim, hidden, bias=bias)
        self.linear(f"{at}.k_proj", kv * dim, hidden, bias=bias)
        self.linear(f"{at}.v_proj", kv * dim, hidden, bias=bias)
        self.linear(f"{at}.o_proj", hidden, heads * dim, bias=o_bias)
        if qk_norm:
            self.plain(f"{at}.q_norm.weight", dim)
            self.plain(f"{at}.k_norm.weight", dim)

    def mlp(
        self,
        at: str,
        hidden: int,
        width: int,
        names: str = "gate_proj up_proj down_proj",
        *,
        bias: bool = False,
    ) -> None:
        """Gate, up and down."""
        gate, up, down = names.split()
        self.linear(f"{at}.{gate}", width, hidden, bias=bias)
        self.linear(f"{at}.{up}", width, hidden, bias=bias)
        self.linear(f"{at}.{down}", hidden, width, bias=bias)

    def norms(self, at: str, hidden: int, *names: str) -> None:
        """Norms over the hidden size."""
        for name in names or ("input_layernorm", "post_attention_layernorm"):
            self.plain(f"{at}.{name}.weight", hidden)


def base(model_type: str, **more: Any) -> dict[str, Any]:
    """The fields that most configs have."""
    return {
        "model_type": model_type,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 1000,
        "max_position_embeddings": 4096,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        **more,
    }


def dense(config: dict[str, Any], m: Maker, way: str = "model.", head: str = "lm_head") -> Tensors:
    """LLaMA, Qwen2, Qwen3 and Gemma 3 by their fields."""
    c = config
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    dim = c.get("head_dim", hidden // heads)
    kind = c["model_type"]
    gemma = kind.startswith("gemma3")
    m.ends(hidden, c["vocab_size"], way=way, tied=gemma or c["tie_word_embeddings"], head=head)
    for i in range(c["num_hidden_layers"]):
        at = f"{way}layers.{i}"
        m.attention(
            f"{at}.self_attn",
            hidden,
            heads,
            c["num_key_value_heads"],
            dim,
            bias=kind.startswith("qwen2"),
            qk_norm=gemma or kind.startswith("qwen3"),
        )
        m.mlp(f"{at}.mlp", hidden, c["intermediate_size"])
        m.norms(at, hidden)
        if gemma:
            m.norms(at, hidden, "pre_feedforward_layernorm", "post_feedforward_layernorm")
    return m.tensors


def qwen3_moe(config: dict[str, Any], m: Maker) -> Tensors:
    """Qwen3-MoE: ``mlp.experts.<n>.gate_proj``, ``mlp.gate``."""
    c = config
    m.ends(c["hidden_size"], c["vocab_size"])
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}"
        m.attention(
            f"{at}.self_attn",
            c["hidden_size"],
            c["num_attention_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
            qk_norm=True,
        )
        for e in range(c["num_experts"]):
            m.mlp(f"{at}.mlp.experts.{e}", c["hidden_size"], c["moe_intermediate_size"])
        m.plain(f"{at}.mlp.gate.weight", c["num_experts"], c["hidden_size"])
        m.norms(at, c["hidden_size"])
    return m.tensors


def mixtral(config: dict[str, Any], m: Maker) -> Tensors:
    """Mixtral: ``block_sparse_moe.experts.<n>.w1``."""
    c = config
    hidden = c["hidden_size"]
    m.ends(hidden, c["vocab_size"])
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}"
        m.attention(
            f"{at}.self_attn",
            hidden,
            c["num_attention_heads"],
            c["num_key_value_heads"],
            hidden // c["num_attention_heads"],
        )
        for e in range(c["num_local_experts"]):
            m.mlp(f"{at}.block_sparse_moe.experts.{e}", hidden, c["intermediate_size"], "w1 w3 w2")
        m.plain(f"{at}.block_sparse_moe.gate.weight", c["num_local_experts"], hidden)
        m.norms(at, hidden)
    return m.tensors


def deepseek_v3(config: dict[str, Any], m: Maker) -> Tensors:
    """DeepSeek V3: latent attention, shared experts, a layer more for further tokens."""
    c = config
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    m.ends(hidden, c["vocab_size"])
    layers = c["num_hidden_layers"]
    for i in range(layers + c.get("num_nextn_predict_layers", 0)):
        at = f"model.layers.{i}"
        a = f"{at}.self_attn"
        m.linear(f"{a}.q_a_proj", c["q_lora_rank"], hidden)
        m.plain(f"{a}.q_a_layernorm.weight", c["q_lora_rank"])
        wide = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
        m.linear(f"{a}.q_b_proj", heads * wide, c["q_lora_rank"])
        rank = c["kv_lora_rank"]
        m.linear(f"{a}.kv_a_proj_with_mqa", rank + c["qk_rope_head_dim"], hidden)
        m.plain(f"{a}.kv_a_layernorm.weight", rank)
        m.linear(f"{a}.kv_b_proj", heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), rank)
        m.linear(f"{a}.o_proj", hidden, heads * c["v_head_dim"])
        m.norms(at, hidden)
        if i < c["first_k_dense_replace"]:
            m.mlp(f"{at}.mlp", hidden, c["intermediate_size"])
        else:
            width = c["moe_intermediate_size"]
            for e in range(c["n_routed_experts"]):
                m.mlp(f"{at}.mlp.experts.{e}", hidden, width)
            m.mlp(f"{at}.mlp.shared_experts", hidden, width * c["n_shared_experts"])
            m.plain(f"{at}.mlp.gate.weight", c["n_routed_experts"], hidden)
            m.plain(f"{at}.mlp.gate.e_score_correction_bias", c["n_routed_experts"], dtype="F32")
        if i >= layers:
            m.plain(f"{at}.embed_tokens.weight", c["vocab_size"], hidden)
            m.plain(f"{at}.shared_head.head.weight", c["vocab_size"], hidden)
            m.norms(at, hidden, "enorm", "hnorm", "shared_head.norm")
            m.linear(f"{at}.eh_proj", hidden, 2 * hidden)
    return m.tensors


def gpt_oss(config: dict[str, Any], m: Maker) -> Tensors:
    """gpt-oss: MXFP4 blocks and scales, biases, sinks."""
    c = config
    hidden, width, count = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    m.ends(hidden, c["vocab_size"])
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}"
        m.attention(
            f"{at}.self_attn",
            hidden,
            c["num_attention_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
            bias=True,
            o_bias=True,
        )
        m.plain(f"{at}.self_attn.sinks", c["num_attention_heads"])
        m.plain(f"{at}.mlp.router.weight", count, hidden)
        m.plain(f"{at}.mlp.router.bias", count)
        for name, out, into in (("gate_up_proj", 2 * width, hidden), ("down_proj", hidden, width)):
            e = f"{at}.mlp.experts.{name}"
            m.plain(f"{e}_blocks", count, out, into // 32, 16, dtype="U8")
            m.plain(f"{e}_scales", count, out, into // 32, dtype="U8")
            m.plain(f"{e}_bias", count, out)
        m.norms(at, hidden)
    return m.tensors


def nemotron_h(config: dict[str, Any], m: Maker) -> Tensors:
    """Nemotron-H: ``backbone.layers.<n>.mixer`` for everything."""
    c = config
    hidden, heads, dim = c["hidden_size"], c["mamba_num_heads"], c["mamba_head_dim"]
    m.plain("backbone.embeddings.weight", c["vocab_size"], hidden)
    m.plain("backbone.norm_f.weight", hidden)
    m.plain("lm_head.weight", c["vocab_size"], hidden)
    inner = heads * dim
    conv = inner + 2 * c["n_groups"] * c["ssm_state_size"]
    for i, letter in enumerate(c["hybrid_override_pattern"]):
        at = f"backbone.layers.{i}"
        m.plain(f"{at}.norm.weight", hidden)
        x = f"{at}.mixer"
        if letter == "M":
            m.linear(f"{x}.in_proj", inner + conv + heads, hidden)
            m.plain(f"{x}.conv1d.weight", conv, 1, c["conv_kernel"])
            m.plain(f"{x}.conv1d.bias", conv)
            for name in ("A_log", "D", "dt_bias"):
                m.plain(f"{x}.{name}", heads, dtype="F32")
            m.plain(f"{x}.norm.weight", inner)
            m.linear(f"{x}.out_proj", hidden, inner)
        elif letter == "*":
            m.attention(
                x, hidden, c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
            )
        else:
            m.linear(f"{x}.up_proj", c["intermediate_size"], hidden)
            m.linear(f"{x}.down_proj", hidden, c["intermediate_size"])
    return m.tensors


def siglip(m: Maker, v: dict[str, Any], at: str = "vision_tower.vision_model") -> None:
    """SigLIP as Gemma 3 holds it."""
    h, width = v["hidden_size"], v["intermediate_size"]
    m.plain(f"{at}.embeddings.patch_embedding.weight", h, 3, v["patch_size"], v["patch_size"])
    m.plain(f"{at}.embeddings.patch_embedding.bias", h)
    rows = (v["image_size"] // v["patch_size"]) ** 2
    m.plain(f"{at}.embeddings.position_embedding.weight", rows, h)
    for i in range(v["num_hidden_layers"]):
        x = f"{at}.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            m.plain(f"{x}.self_attn.{name}.weight", h, h)
            m.plain(f"{x}.self_attn.{name}.bias", h)
        m.plain(f"{x}.mlp.fc1.weight", width, h)
        m.plain(f"{x}.mlp.fc1.bias", width)
        m.plain(f"{x}.mlp.fc2.weight", h, width)
        m.plain(f"{x}.mlp.fc2.bias", h)
        for name in ("layer_norm1", "layer_norm2"):
            m.plain(f"{x}.{name}.weight", h)
            m.plain(f"{x}.{name}.bias", h)
    m.plain(f"{at}.post_layernorm.weight", h)
    m.plain(f"{at}.post_layernorm.bias", h)


def gemma3(config: dict[str, Any], m: Maker) -> Tensors:
    """Gemma 3 with its tower."""
    text, v = config["text_config"], config["vision_config"]
    dense(text, m, way="language_model.model.")
    siglip(m, v)
    m.plain(
        "multi_modal_projector.mm_input_projection_weight", v["hidden_size"], text["hidden_size"]
    )
    m.plain("multi_modal_projector.mm_soft_emb_norm.weight", v["hidden_size"])
    return m.tensors


def qwen25_vl(config: dict[str, Any], m: Maker) -> Tensors:
    """Qwen2.5-VL: ``visual.blocks``, a merger."""
    dense(config, m)
    v = config["vision_config"]
    h, width = v["hidden_size"], v["intermediate_size"]
    m.plain("visual.patch_embed.proj.weight", h, 3, 2, v["patch_size"], v["patch_size"])
    for i in range(v["depth"]):
        x = f"visual.blocks.{i}"
        m.plain(f"{x}.attn.qkv.weight", 3 * h, h)
        m.plain(f"{x}.attn.qkv.bias", 3 * h)
        m.plain(f"{x}.attn.proj.weight", h, h)
        m.plain(f"{x}.attn.proj.bias", h)
        for name, out, into in (
            ("gate_proj", width, h),
            ("up_proj", width, h),
            ("down_proj", h, width),
        ):
            m.plain(f"{x}.mlp.{name}.weight", out, into)
            m.plain(f"{x}.mlp.{name}.bias", out)
        m.plain(f"{x}.norm1.weight", h)
        m.plain(f"{x}.norm2.weight", h)
    wide = h * 4
    m.plain("visual.merger.ln_q.weight", h)
    m.plain("visual.merger.mlp.0.weight", wide, wide)
    m.plain("visual.merger.mlp.0.bias", wide)
    m.plain("visual.merger.mlp.2.weight", v["out_hidden_size"], wide)
    m.plain("visual.merger.mlp.2.bias", v["out_hidden_size"])
    return m.tensors


def phi3(config: dict[str, Any], m: Maker) -> Tensors:
    """Phi-3: one projection for q, k and v, one for gate and up."""
    c = config
    hidden, heads, kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    dim = hidden // heads
    m.ends(hidden, c["vocab_size"])
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}"
        m.linear(f"{at}.self_attn.qkv_proj", (heads + 2 * kv) * dim, hidden)
        m.linear(f"{at}.self_attn.o_proj", hidden, heads * dim)
        m.linear(f"{at}.mlp.gate_up_proj", 2 * c["intermediate_size"], hidden)
        m.linear(f"{at}.mlp.down_proj", hidden, c["intermediate_size"])
        m.norms(at, hidden)
    return m.tensors


def llama4(config: dict[str, Any], m: Maker) -> Tensors:
    """Llama 4's language model: experts stacked, input first, beside a shared one."""
    c = config
    hidden, width, count = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    way = "language_model.model."
    m.ends(hidden, c["vocab_size"], way=way, head="language_model.lm_head")
    for i in range(c["num_hidden_layers"]):
        at = f"{way}layers.{i}"
        m.attention(
            f"{at}.self_attn",
            hidden,
            c["num_attention_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
        )
        e = f"{at}.feed_forward"
        m.plain(f"{e}.experts.gate_up_proj", count, hidden, 2 * width)
        m.plain(f"{e}.experts.down_proj", count, width, hidden)
        m.plain(f"{e}.router.weight", count, hidden)
        m.mlp(f"{e}.shared_expert", hidden, width)
        m.norms(at, hidden)
    return m.tensors
