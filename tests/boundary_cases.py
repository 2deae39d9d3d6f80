"""Made-up start-ups on both sides of vLLM's own line, with the truth worked out by hand.

It must not call Plimsoll's memory model: sizes are added up here from the layer shapes, and whether
the engine starts follows from the three checks that it makes itself (V1, 0.9 and later).

    1  vllm/v1/worker/gpu_worker.py, init_device
       refuses if total x utilization > free; free is total less the CUDA context
    2  vllm/v1/worker/gpu_worker.py, determine_available_memory
       cache = total x utilization - (weights + activation peak + what torch does not hold)
       vllm/v1/core/kv_cache_utils.py, check_enough_kv_cache_memory
       refuses if one request of max_model_len needs more than the cache
    3  the same check if kv_cache_memory_bytes gives the cache: nothing is measured then

What one request needs is exact (kv_cache_interface.py, max_memory_usage_bytes):

    attention     ceil(length / block) pages
    sliding       ceil(min(window - 1 + batched tokens, length) / block) + 1 pages
    page          block x 2 x max(1, kv_heads / tp) x head_dim x bytes;  MLA: block x (rank + rope)
                  x bytes, whole on every rank

The weights of a dense model are exact too: projections cut by tp, keys and values replicated once
tp exceeds their heads, norms whole, the vocabulary padded to 64. What is measured is not: so the
line has a foot and a head between which either may be the truth, and no case lies there.

    foot    weights + request + the product of the MLP, which is live with what it is made of
            (activation.py, SiluAndMul): 3 x width / tp x batched tokens. Below: never starts
    head    weights + 64 MiB of position tables + request + four times that, eight hidden states,
            five copies of the logits of every sequence in 32 bits, and 512 MiB; and for
            libraries 0.6 GiB on one GPU, 3 GiB on several. Above: always starts
    stages  of two pipeline stages each holds half of the layers and half of the vocabulary
    graphs  if they are captured, 2.5 GiB more at the head, whether or not they are charged
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB: Final = 1 << 30
MIB: Final = 1 << 20
UTILIZATION: Final = Decimal("0.9")
BLOCK: Final = 16
SEQUENCES: Final = 16


@dataclass(frozen=True)
class Shape:
    """A dense decoder in bfloat16."""

    name: str
    hidden: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = False

    def config(self) -> dict[str, Any]:
        """Its config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 131072,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "bfloat16",
        }

    def weights(self, tp: int) -> int:
        """Bytes of one of tp ranks."""
        query = self.heads // tp * self.head_dim
        keys = max(1, self.kv_heads // tp) * self.head_dim
        mlp = 3 * self.width // tp
        layer = self.hidden * (2 * query + 2 * keys + mlp + 2)
        vocabulary = -(-self.vocabulary // 64) * 64 // tp * self.hidden
        return 2 * (self.layers * layer + vocabulary * (1 if self.tied else 2) + self.hidden)

    def request(self, tp: int, length: int, element: int) -> int:
        """Bytes of cache of one request."""
        page = BLOCK * 2 * max(1, self.kv_heads // tp) * self.head_dim * element
        return -(-length // BLOCK) * page * self.layers

    def foot(self, tp: int, length: int, element: int, batch: int) -> int:
        """Bytes below which the engine never starts."""
        live = 2 * batch * 3 * self.width // tp
        return self.weights(tp) + self.request(tp, length, element) + live

    def head(self, tp: int, length: int, element: int, batch: int) -> int:
        """Bytes above which it always starts."""
        logits = SEQUENCES * self.vocabulary * 4
        activation = 2 * batch * (12 * self.width // tp + 8 * self.hidden) + 5 * logits + 512 * MIB
        libraries = 6 * GIB // 10 if tp == 1 else 3 * GIB
        held = self.weights(tp) + 64 * MIB + self.request(tp, length, element)
        return held + activation + libraries


SHAPES: Final = (
    Shape("llama-8b", 4096, 14336, 32, 32, 8, 128, 128256),
    Shape("llama-2-13b", 5120, 13824, 40, 40, 40, 128, 32000),
    Shape("small-3b", 3072, 8192, 28, 24, 8, 128, 128256, tied=True),
    Shape("mid-32b", 5120, 25600, 64, 64, 8, 128, 151936),
    Shape("large-70b", 8192, 28672, 80, 64, 8, 128, 128256),
)


@dataclass(frozen=True)
class Case:
    """One start-up.

    config: of the model, or `model`: its id in the catalogue. total: bytes of one GPU. starts: the
    truth. by: how far from the line, a share of what is needed; 0 at the line itself.
    """

    name: str
    total: int
    starts: bool
    by: float
    version: str
    tp: int = 1
    length: int = 8192
    batch: int = 2048
    pp: int = 1
    eager: bool = True
    compute: tuple[int, int] = (9, 0)
    kv_dtype: str = "auto"
    fixed: int | None = None
    utilization: Decimal = UTILIZATION
    model: str = ""
    config: dict[str, Any] = field(default_factory=dict)


_SETTINGS: Final = (
    # version, length, batched tokens, cache dtype
    ("0.9.2", 8192, 2048, "auto"),
    ("0.11.0", 32768, 2048, "fp8"),
    ("0.19.0", 100_003, 4096, "auto"),
    ("0.25.0", 4097, 8192, "auto"),
)
_SPLITS: Final = {"mid-32b": 2, "large-70b": 4}
"""Tensor parallelism, if it is not 1."""


def by_budget() -> Iterator[Case]:
    """Check 2: just below the foot, just above the head, and further off on both sides."""
    for shape in SHAPES:
        for version, length, batch, dtype in _SETTINGS:
            tp = _SPLITS.get(shape.name, 1)
            of = (tp, length, 1 if dtype == "fp8" else 2, batch)
            foot, head = shape.foot(*of), shape.head(*of)
            for by, budget, starts in _both(foot, head):
                side = "starts" if starts else "refused"
                yield Case(
                    f"{shape.name} x {tp}, {version}, {length} tokens: {side} by {by:.0%}",
                    _total(budget, starts),
                    starts,
                    by,
                    version,
                    tp,
                    length,
                    batch,
                    kv_dtype=dtype,
                    config=shape.config(),
                )


FAR: Final = 0.05


def _total(budget: int, starts: bool) -> int:
    """Memory whose share is that budget: a byte more or less on the safe side."""
    total = int(budget / UTILIZATION)
    return total + 2 if starts else total - 2


def by_stages_and_graphs() -> Iterator[Case]:
    """Check 2 with two pipeline stages, with graphs, and on other kinds of GPU."""
    large, small = SHAPES[-1], SHAPES[0]
    for version, length, batch, _ in _SETTINGS:
        half = replace(large, layers=large.layers // 2, tied=True)
        foot, head = half.foot(4, length, 2, batch), half.head(4, length, 2, batch)
        for by, budget, starts in _both(foot, head):
            yield Case(
                f"two stages x 4, {version}, {length} tokens, {budget}",
                _total(budget, starts),
                starts,
                by,
                version,
                4,
                length,
                batch,
                pp=2,
                config=large.config(),
            )
    for compute in ((9, 0), (8, 0), (8, 9), (8, 6)):
        for version, length, batch, _ in _SETTINGS:
            foot = small.foot(1, length, 2, batch)
            head = small.head(1, length, 2, batch) + 5 * GIB // 2
            for by, budget, starts in _both(foot, head):
                yield Case(
                    f"graphs on {compute}, {version}, {length} tokens, {budget}",
                    _total(budget, starts),
                    starts,
                    by,
                    version,
                    1,
                    length,
                    batch,
                    eager=False,
                    compute=compute,
                    config=small.config(),
                )


def _both(foot: int, head: int) -> tuple[tuple[float, int, bool], ...]:
    """Just below the foot, just above the head, and further off: by how far, budget, truth."""
    return (
        (0.0, foot - 1, False),
        (FAR, int(foot * (1 - FAR)), False),
        (0.0, head + 1, True),
        (FAR, int(head * (1 + FAR)), True),
    )


def by_pages() -> Iterator[Case]:
    """Check 3: a cache of just one request starts, one byte less does not."""
    roomy = 400 * GIB
    for shape in SHAPES:
        tp = 16 if shape.name == "large-70b" else _SPLITS.get(shape.name, 1)
        for length, dtype in ((8192, "auto"), (10_001, "fp8")):
            need = shape.request(tp, length, 1 if dtype == "fp8" else 2)
            for fixed in (need, need - 1):
                yield Case(
                    f"{shape.name} x {tp}: {length} tokens in {fixed} bytes",
                    roomy,
                    fixed == need,
                    0.0,
                    "0.11.0",
                    tp,
                    length,
                    kv_dtype=dtype,
                    fixed=fixed,
                    config=shape.config(),
                )
    for tp in (1, 4):
        latent = 8192 * (512 + 64) * 2 * 27
        for fixed in (latent, latent - 1):
            yield Case(
                f"MLA x {tp} in {fixed} bytes",
                roomy,
                fixed == latent,
                0.0,
                "0.11.0",
                tp,
                fixed=fixed,
                model="deepseek-ai/DeepSeek-V2-Lite",
            )
    shape = SHAPES[0]
    pages = -(-min(4096 - 1 + 2048, 32768) // BLOCK) + 1
    sliding = pages * BLOCK * 2 * shape.kv_heads * shape.head_dim * 2 * shape.layers
    config = shape.config() | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": 4096,
    }
    for fixed in (sliding, sliding - 1):
        yield Case(
            f"sliding window in {fixed} bytes",
            roomy,
            fixed == sliding,
            0.0,
            "0.11.0",
            length=32768,
            fixed=fixed,
            config=config,
        )


def by_free_memory() -> Iterator[Case]:
    """Check 1: a share that leaves 32 MiB or nothing for the CUDA context is refused."""
    shape = SHAPES[0]
    for version, _, _, _ in _SETTINGS:
        for total in (24 * GIB, 80 * GIB):
            for share in (Decimal(1), 1 - Decimal(32 * MIB) / Decimal(total)):
                yield Case(
                    f"{share:.4f} of {total // GIB} GiB, {version}",
                    total,
                    False,
                    0.0,
                    version,
                    utilization=share,
                    config=shape.config(),
                )


def cases() -> tuple[Case, ...]:
    """All of them."""
    return (*by_budget(), *by_stages_and_graphs(), *by_pages(), *by_free_memory())
