"""Mixers: attention with a cache that grows, and states that do not; their tensors and sizes.

No config is read here: everything comes as numbers.

    GQA      q: heads x d, k: kv x d, v: kv x d_v, o: hidden x (heads x d_v)
    MLA      q_a, q_b (or q), kv_a: (rank + rope) x hidden, kv_b: heads x (nope + d_v) x rank, o
    mamba1   conv (kernel - 1) x inner, state inner x n
    mamba2   conv (kernel - 1) x (inner + 2 x groups x n), state heads x head_dim x n
    KDA      conv (kernel - 1) x 3 x heads x d, state heads x d x d
    GDN      conv (kernel - 1) x (2 x k_heads x d_k + v_heads x d_v), state v_heads x d_v x d_k
    source   vLLM, vllm/model_executor/layers/mamba/mamba_utils.py (MambaStateShapeCalculator)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plimsoll.models.architecture import Mixer, MixerKind, Part, Split
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm

A = Part.ATTENTION

QkNorm = Literal["", "head", "whole", "per-head"]
"""Which norms queries and keys have; see `Heads`."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The shape of grouped-query attention. gate: an output gate as wide as the queries.

    qk_norm: "" none; "head" one norm of head_dim each; "whole" one over all heads;
        "per-head" a norm of its own for each head, as many elements as "whole".
    head_gate: a gate with one element for each head. v_from_k: values are made from the keys.
    sinks: a learned sink for each head.
    index_heads, index_dim: of a sparse-attention indexer (MiniMax M3); 0 for none.
    """

    hidden: int
    heads: int
    kv: int
    dim: int
    v_dim: int
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: QkNorm = ""
    gate: bool = False
    head_gate: bool = False
    v_from_k: bool = False
    sinks: bool = False
    index_heads: int = 0
    index_dim: int = 0


def gqa(h: Heads, prefix: str = "self_attn", *, shares: bool = False) -> Tensors:
    """Tensors of grouped-query attention. shares: it reads another layer's keys and values."""
    q_rows = h.heads * h.dim * (2 if h.gate else 1)
    tensors = linear(f"{prefix}.q_proj", q_rows, h.hidden, Split.COLUMN, A, bias=h.qkv_bias)
    if not shares:
        tensors += linear(
            f"{prefix}.k_proj", h.kv * h.dim, h.hidden, Split.KV_HEADS, A, bias=h.qkv_bias
        )
        if not h.v_from_k:
            tensors += linear(
                f"{prefix}.v_proj", h.kv * h.v_dim, h.hidden, Split.KV_HEADS, A, bias=h.qkv_bias
            )
    tensors += linear(f"{prefix}.o_proj", h.hidden, h.heads * h.v_dim, Split.ROW, A, bias=h.o_bias)
    if h.qk_norm:
        each = h.qk_norm == "head"
        tensors += norm(f"{prefix}.q_norm", h.dim if each else h.heads * h.dim)
        if not shares:
            tensors += norm(f"{prefix}.k_norm", h.dim if each else h.kv * h.dim)
    if h.head_gate:
        tensors += linear(f"{prefix}.g_proj", h.heads, h.hidden, Split.COLUMN, A)
    if h.sinks:
        tensors += loose(f"{prefix}.sinks", (h.heads,), Split.COLUMN, A)
    if h.index_heads:
        name = f"{prefix}.indexer"
        tensors += linear(f"{name}.q_proj", h.index_heads * h.index_dim, h.hidden, Split.NONE, A)
        tensors += linear(f"{name}.k_proj", h.index_dim, h.hidden, Split.NONE, A)
        tensors += norm(f"{name}.q_norm", h.index_dim) + norm(f"{name}.k_norm", h.index_dim)
    return tensors


def gqa_mixer(
    h: Heads, kind: MixerKind = MixerKind.FULL, window: int = 0, *, shares: bool = False
) -> Mixer:
    """The cache of grouped-query attention."""
    return Mixer(
        kind,
        h.heads,
        h.kv,
        h.dim,
        h.v_dim,
        window=window,
        shares_kv=shares,
        index_dim=h.index_dim if h.index_heads else 0,
    )


@dataclass(frozen=True, slots=True)
class Latent:
    """The shape of multi-head latent attention. q_rank: 0 if queries are not compressed.

    index_heads, index_dim: of a sparse-attention indexer; 0 for none.
    """

    hidden: int
    heads: int
    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    v_dim: int
    bias: bool = False
    index_heads: int = 0
    index_dim: int = 0
    gate: bool = False


def mla(m: Latent, prefix: str = "self_attn") -> Tensors:
    """Tensors of multi-head latent attention."""
    q_rows = m.heads * (m.nope + m.rope)
    if m.q_rank:
        tensors = linear(f"{prefix}.q_a_proj", m.q_rank, m.hidden, Split.NONE, A, bias=m.bias)
        tensors += norm(f"{prefix}.q_a_layernorm", m.q_rank)
        tensors += linear(f"{prefix}.q_b_proj", q_rows, m.q_rank, Split.COLUMN, A)
    else:
        tensors = linear(f"{prefix}.q_proj", q_rows, m.hidden, Split.COLUMN, A)
    tensors += linear(
        f"{prefix}.kv_a_proj_with_mqa", m.kv_rank + m.rope, m.hidden, Split.NONE, A, bias=m.bias
    )
    tensors += norm(f"{prefix}.kv_a_layernorm", m.kv_rank)
    tensors += linear(
        f"{prefix}.kv_b_proj", m.heads * (m.nope + m.v_dim), m.kv_rank, Split.COLUMN, A
    )
    tensors += linear(f"{prefix}.o_proj", m.hidden, m.heads * m.v_dim, Split.ROW, A, bias=m.bias)
    if m.gate:
        tensors += linear(f"{prefix}.g_proj", m.heads * m.v_dim, m.hidden, Split.COLUMN, A)
    if m.index_heads:
        into = m.q_rank or m.hidden
        name = f"{prefix}.indexer"
        tensors += linear(f"{name}.wq_b", m.index_heads * m.index_dim, into, Split.NONE, A)
        tensors += linear(f"{name}.wk", m.index_dim, m.hidden, Split.NONE, A)
        tensors += norm(f"{name}.k_norm", m.index_dim, bias=True)
        tensors += linear(f"{name}.weights_proj", m.index_heads, m.hidden, Split.NONE, A)
    return tensors


def mla_mixer(m: Latent) -> Mixer:
    """The cache of latent attention: one vector of rank + rope per token, on every rank whole."""
    return Mixer(
        MixerKind.MLA,
        m.heads,
        1,
        m.kv_rank + m.rope,
        0,
        index_dim=m.index_dim if m.index_heads else 0,
    )


M = Part.MIXER


@dataclass(frozen=True, slots=True)
class Mamba1:
    """hidden, inner width, state per channel, convolution kernel and rank of dt."""

    hidden: int
    inner: int
    state: int
    kernel: int
    dt_rank: int
    bias: bool = False
    conv_bias: bool = True
    norms: bool = False


def mamba1(m: Mamba1, prefix: str = "mixer") -> Tensors:
    """Tensors of a mamba 1 mixer. norms: Jamba's norms of dt, B and C."""
    tensors = linear(f"{prefix}.in_proj", 2 * m.inner, m.hidden, Split.COLUMN, M, bias=m.bias)
    tensors += loose(f"{prefix}.conv1d.weight", (m.inner, 1, m.kernel), Split.COLUMN, M)
    if m.conv_bias:
        tensors += loose(f"{prefix}.conv1d.bias", (m.inner,), Split.COLUMN, M)
    tensors += linear(f"{prefix}.x_proj", m.dt_rank + 2 * m.state, m.inner, Split.ROW, M)
    tensors += linear(f"{prefix}.dt_proj", m.inner, m.dt_rank, Split.COLUMN, M, bias=True)
    tensors += loose(f"{prefix}.A_log", (m.inner, m.state), Split.COLUMN, M)
    tensors += loose(f"{prefix}.D", (m.inner,), Split.COLUMN, M)
    tensors += linear(f"{prefix}.out_proj", m.hidden, m.inner, Split.ROW, M, bias=m.bias)
    if m.norms:
        tensors += norm(f"{prefix}.dt_layernorm", m.dt_rank)
        tensors += norm(f"{prefix}.b_layernorm", m.state) + norm(f"{prefix}.c_layernorm", m.state)
    return tensors


def mamba1_mixer(m: Mamba1) -> Mixer:
    """Its state."""
    return Mixer(
        MixerKind.MAMBA1,
        0,
        0,
        0,
        0,
        conv_elements=(m.kernel - 1) * m.inner,
        state_elements=m.inner * m.state,
    )


@dataclass(frozen=True, slots=True)
class Mamba2:
    """hidden, heads of head_dim (inner = heads x head_dim), state, groups, kernel.

    bias, out_bias: of the projections into the mixer and out of it.
    """

    hidden: int
    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int
    bias: bool = False
    out_bias: bool = False
    conv_bias: bool = True
    norm: bool = True
    state_dtype: str = ""

    @property
    def inner(self) -> int:
        """Width of the values."""
        return self.heads * self.head_dim

    @property
    def conv(self) -> int:
        """Channels of the convolution."""
        return self.inner + 2 * self.groups * self.state


def mamba2(m: Mamba2, prefix: str = "mixer") -> Tensors:
    """Tensors of a mamba 2 mixer."""
    rows = m.inner + m.conv + m.heads
    tensors = linear(f"{prefix}.in_proj", rows, m.hidden, Split.COLUMN, M, bias=m.bias)
    tensors += loose(f"{prefix}.conv1d.weight", (m.conv, 1, m.kernel), Split.COLUMN, M)
    if m.conv_bias:
        tensors += loose(f"{prefix}.conv1d.bias", (m.conv,), Split.COLUMN, M)
    for name in ("A_log", "D", "dt_bias"):
        tensors += loose(f"{prefix}.{name}", (m.heads,), Split.COLUMN, M)
    if m.norm:
        tensors += loose(f"{prefix}.norm.weight", (m.inner,), Split.COLUMN, M)
    return tensors + linear(f"{prefix}.out_proj", m.hidden, m.inner, Split.ROW, M, bias=m.out_bias)


def mamba2_mixer(m: Mamba2) -> Mixer:
    """Its state."""
    return Mixer(
        MixerKind.MAMBA2,
        0,
        0,
        0,
        0,
        conv_elements=(m.kernel - 1) * m.conv,
        state_elements=m.heads * m.head_dim * m.state,
        state_dtype=m.state_dtype,
    )


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Gated delta net: key and value heads with their dims, kernel.

    fused: q, k, v and the gate z are one tensor, and so are beta and alpha (Qwen3-Next); else z,
    beta and alpha have their own (Qwen3.5).
    """

    hidden: int
    k_heads: int
    k_dim: int
    v_heads: int
    v_dim: int
    kernel: int
    state_dtype: str = ""
    fused: bool = True

    @property
    def conv(self) -> int:
        """Channels of the convolution."""
        return 2 * self.k_heads * self.k_dim + self.v_heads * self.v_dim


def delta_net(d: DeltaNet, prefix: str = "linear_attn") -> Tensors:
    """Tensors of a gated delta net."""
    values = d.v_heads * d.v_dim
    rows = (
        {"qkvz": d.conv + values, "ba": 2 * d.v_heads}
        if d.fused
        else {"qkv": d.conv, "z": values, "b": d.v_heads, "a": d.v_heads}
    )
    tensors: Tensors = ()
    for name, out in rows.items():
        tensors += linear(f"{prefix}.in_proj_{name}", out, d.hidden, Split.COLUMN, M)
    tensors += loose(f"{prefix}.conv1d.weight", (d.conv, 1, d.kernel), Split.COLUMN, M)
    tensors += loose(f"{prefix}.dt_bias", (d.v_heads,), Split.COLUMN, M)
    tensors += loose(f"{prefix}.A_log", (d.v_heads,), Split.COLUMN, M)
    tensors += norm(f"{prefix}.norm", d.v_dim)
    return tensors + linear(f"{prefix}.out_proj", d.hidden, values, Split.ROW, M)


def delta_net_mixer(d: DeltaNet) -> Mixer:
    """Its state."""
    return Mixer(
        MixerKind.LINEAR,
        0,
        0,
        0,
        0,
        conv_elements=(d.kernel - 1) * d.conv,
        state_elements=d.v_heads * d.v_dim * d.k_dim,
        state_dtype=d.state_dtype,
    )


@dataclass(frozen=True, slots=True)
class KimiDelta:
    """Kimi delta attention: heads of one dim; full_gate: the output gate is not low-rank."""

    hidden: int
    heads: int
    dim: int
    kernel: int
    full_gate: bool = False

    @property
    def inner(self) -> int:
        """Width of queries, keys and values each."""
        return self.heads * self.dim


def kimi_delta(k: KimiDelta, prefix: str = "self_attn") -> Tensors:
    """Tensors of Kimi delta attention."""
    tensors: Tensors = ()
    for name in "qkv":
        tensors += linear(f"{prefix}.{name}_proj", k.inner, k.hidden, Split.COLUMN, M)
        tensors += loose(f"{prefix}.{name}_conv1d.weight", (k.inner, 1, k.kernel), Split.COLUMN, M)
    tensors += linear(f"{prefix}.f_a_proj", k.dim, k.hidden, Split.NONE, M)
    tensors += linear(f"{prefix}.f_b_proj", k.inner, k.dim, Split.COLUMN, M)
    tensors += loose(f"{prefix}.dt_bias", (k.inner,), Split.COLUMN, M)
    tensors += loose(f"{prefix}.A_log", (k.heads,), Split.COLUMN, M)
    tensors += linear(f"{prefix}.b_proj", k.heads, k.hidden, Split.COLUMN, M)
    if k.full_gate:
        tensors += linear(f"{prefix}.g_proj", k.inner, k.hidden, Split.COLUMN, M)
    else:
        tensors += linear(f"{prefix}.g_a_proj", k.dim, k.hidden, Split.NONE, M)
        tensors += linear(f"{prefix}.g_b_proj", k.inner, k.dim, Split.COLUMN, M)
    tensors += norm(f"{prefix}.o_norm", k.dim)
    return tensors + linear(f"{prefix}.o_proj", k.hidden, k.inner, Split.ROW, M)


def kimi_delta_mixer(k: KimiDelta) -> Mixer:
    """Its state."""
    return Mixer(
        MixerKind.LINEAR,
        0,
        0,
        0,
        0,
        conv_elements=(k.kernel - 1) * 3 * k.inner,
        state_elements=k.inner * k.dim,
        state_dtype="float32",
    )


def short_conv(hidden: int, kernel: int, *, bias: bool, prefix: str = "conv") -> Tensors:
    """Tensors of LFM2's short convolution."""
    tensors = linear(f"{prefix}.in_proj", 3 * hidden, hidden, Split.COLUMN, M, bias=bias)
    tensors += loose(f"{prefix}.conv.weight", (hidden, 1, kernel), Split.COLUMN, M)
    if bias:
        tensors += loose(f"{prefix}.conv.bias", (hidden,), Split.COLUMN, M)
    return tensors + linear(f"{prefix}.out_proj", hidden, hidden, Split.ROW, M, bias=bias)


def short_conv_mixer(hidden: int, kernel: int) -> Mixer:
    """Its state."""
    return Mixer(MixerKind.SHORT_CONV, 0, 0, 0, 0, conv_elements=(kernel - 1) * hidden)


def lightning(hidden: int, heads: int, dim: int, prefix: str = "self_attn") -> Tensors:
    """Tensors of MiniMax's lightning attention."""
    inner = heads * dim
    return (
        linear(f"{prefix}.qkv_proj", 3 * inner, hidden, Split.COLUMN, M)
        + linear(f"{prefix}.output_gate", inner, hidden, Split.COLUMN, M)
        + loose(f"{prefix}.norm.weight", (inner,), Split.COLUMN, M)
        + linear(f"{prefix}.out_proj", hidden, inner, Split.ROW, M)
    )


def lightning_mixer(heads: int, dim: int) -> Mixer:
    """Its state: heads x dim x dim, in float32."""
    return Mixer(
        MixerKind.LINEAR, 0, 0, 0, 0, state_elements=heads * dim * dim, state_dtype="float32"
    )
