"""Attention of every kind: grouped queries, latent (MLA), cross; their tensors and their caches.

No config is read here: everything comes as numbers.

    GQA   q: heads x d, k: kv x d, v: kv x d_v, o: hidden x (heads x d_v)
    MLA   q_a, q_b (or q), kv_a: (rank + rope) x hidden, kv_b: heads x (nope + d_v) x rank, o
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll.models.architecture import Mixer, MixerKind, Part, Split
from plimsoll.models.blocks.parts import Tensors, linear, loose, norm

A = Part.ATTENTION


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
    qk_norm: str = ""
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
