"""A small world for tests of the decision: an engine of plain arithmetic, few GPUs, few models.

It must not resemble a real engine closely: what it computes can be followed on paper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from plimsoll.accelerators.types import Accelerator, Dialect, Labels
from plimsoll.decision.knowledge import Knowledge
from plimsoll.decision.request import Request, Wanted
from plimsoll.engines.assemble import FEATURES, Engine
from plimsoll.engines.base import (
    NOTHING_ASKED,
    AskedSplit,
    EngineSettings,
    Estimate,
    Known,
    Parallelism,
    Reading,
    Term,
    TermName,
    Terms,
    Workload,
)
from plimsoll.findings import Finding, Rule, finding
from plimsoll.inventory.pools import Inventory, Pool
from plimsoll.models.architecture import (
    Architecture,
    Block,
    FeedForward,
    Mixer,
    MixerKind,
    Model,
    ModelSource,
    Part,
    Split,
    Tensor,
)
from plimsoll.paths import Field
from plimsoll.units import GIB, MIB, ceil_div
from plimsoll.workloads.llmdeployment import PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.models.quantization import Quantization

GFD = "nvidia.com/gpu.product"


def gpu(name: str, mib: int, **more: Any) -> Accelerator:
    """An NVIDIA GPU, eight to a node, that computes in fp8."""
    fields: dict[str, Any] = {
        "title": name.upper(),
        "resource": "nvidia.com/gpu",
        "family": "hopper",
        "compute": (9, 0),
        "gpus_per_node": 8,
        "source": "a test",
        "labels": (Labels(Dialect.GFD, ((GFD, name.upper()),)),),
    }
    return Accelerator(name=name, memory=mib * MIB, **{**fields, **more})


A100 = gpu("nvidia-a100-80gb", 81920, family="ampere", compute=(8, 0))
H100 = gpu("nvidia-h100-80gb", 81559)
H200 = gpu("nvidia-h200", 143771)
L4 = gpu("nvidia-l4", 23034, family="ada-lovelace", compute=(8, 9))
SLICE = gpu(
    "nvidia-h100-80gb-mig-1g.10gb",
    9984,
    mig_of="nvidia-h100-80gb",
    mig_profile="1g.10gb",
    gpus_per_node=1,
    resource="nvidia.com/mig-1g.10gb",
)
VAGUE = gpu("amd-vague", 65536, certain=False, resource="amd.com/gpu")
TABLE = (A100, H100, H200, L4, SLICE, VAGUE)


def architecture(
    layers: int = 80,
    hidden: int = 8192,
    heads: int = 64,
    kv_heads: int = 8,
    parameters: int = 70_000_000_000,
    max_model_len: int = 131072,
    quantization: Quantization | None = None,
) -> Architecture:
    """A dense model of about so many parameters, in equal layers."""
    mixer = Mixer(MixerKind.FULL, heads, kv_heads, 128, 128)
    each = max(1, parameters // layers)
    tensor = Tensor("mlp.weight", (each, 1), Split.COLUMN, Part.MLP, linear=True)
    block = Block((mixer,), FeedForward(4 * hidden), (tensor,))
    return Architecture(
        model_type="llama",
        class_name="LlamaForCausalLM",
        dtype="bfloat16",
        hidden_size=hidden,
        vocab_size=128256,
        max_model_len=max_model_len,
        heads=heads,
        blocks=(block,) * layers,
        outside=(),
        quantization=quantization,
    )


def model(name: str = "acme/Big-70B", **of_architecture: Any) -> Model:
    """A model of known structure."""
    a = architecture(**of_architecture)
    return Model(
        name, ModelSource.CATALOGUE, a, a.parameters, 16.0, f"catalogue:{name}", (), name.lower()
    )


BIG = model()
SMALL = model("acme/Small-8B", layers=32, hidden=4096, heads=32, parameters=8_000_000_000)


@dataclass
class PlainEngine(Engine):
    """weights = parameters x bits / 8 / (tensor x pipeline); KV = 2 x heads x 128 x 2 x tokens.

    Everything else is 2 GiB and 15 bytes x maxNumSeqs x vocabulary. error: share of the need by
    which it may be off, each way. calls: how often an estimate was made.
    """

    name: str = "vllm"
    title: str = "vLLM"
    narrow_cache: str = "fp8"
    features: tuple[Field, ...] = FEATURES
    error: float = 0.02
    calls: int = 0
    stages: bool = True
    refuses: frozenset[str] = frozenset()

    def estimate(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        workload: Workload,
        parallelism: Parallelism,
        accelerator: Accelerator,
    ) -> Estimate:
        """See the class."""
        self.calls += 1
        p, utilization = parallelism, settings.utilization or Decimal("0.92")
        bits = (
            architecture.quantization.default.bits
            if (architecture.quantization and architecture.quantization.default)
            else 16
        )
        layers = ceil_div(len(architecture.blocks), p.pipeline)
        weights = ceil_div(
            architecture.parameters * bits * layers, 8 * len(architecture.blocks) * p.tensor
        )
        length = settings.max_model_len or architecture.max_model_len
        seqs = settings.max_num_seqs or 256
        mixer = next(architecture.mixers())
        width = 1 if settings.kv_cache_dtype.startswith("fp8") else 2
        per_token = 2 * ceil_div(mixer.kv_heads, p.tensor) * mixer.head_dim * width * layers
        said = workload.input_tokens, workload.output_tokens
        sequence = length if None in said else sum(t or 0 for t in said)
        tokens = max(length, sequence * ceil_div(workload.concurrent or 1, p.data))
        sizes = {
            TermName.WEIGHTS: weights,
            TermName.KV_CACHE: per_token * tokens,
            TermName.ACTIVATION: 15 * seqs * architecture.vocab_size,
            TermName.NON_TORCH: GIB * (2 if p.tensor > 1 else 1) // 2,
            TermName.CUDA_GRAPHS: GIB,
        }
        physical = accelerator.memory
        usable = int(physical * utilization)
        room = usable - sum(sizes.values()) + sizes[TermName.KV_CACHE]
        held = max(0, room) // per_token
        return Estimate(
            parallelism=p,
            terms=Terms(
                tuple(
                    Term(
                        name,
                        size,
                        int(size * (1 - self.error)),
                        int(size * (1 + self.error)),
                        Known.MODELLED,
                        f"{tokens} tokens" if name is TermName.KV_CACHE else "",
                    )
                    for name, size in sizes.items()
                )
            ),
            stage=0,
            physical=physical,
            usable=usable,
            utilization=utilization,
            version=settings.version or "0.33.0",
            max_model_len=length,
            max_num_seqs=seqs,
            max_num_batched_tokens=8192,
            kv_cache_dtype=settings.kv_cache_dtype or "bfloat16",
            kv_capacity=room,
            kv_tokens=held * p.data,
            max_concurrency=held * p.data / length,
            largest_max_model_len=min(held, architecture.max_model_len),
        )

    def check(
        self,
        architecture: Architecture,
        settings: EngineSettings,
        parallelism: Parallelism | None,
        accelerator: Accelerator | None,
    ) -> tuple[Finding, ...]:
        """Refuses heads that do not divide, pipelines if it has none, and what the test says."""
        found: list[Finding] = []
        if parallelism is not None and architecture.heads % parallelism.tensor:
            heads, near = architecture.heads, ("1", "2")
            size = parallelism.tensor
            found.append(
                finding(Rule.HEADS_DO_NOT_DIVIDE, Field.TENSOR, size, heads=heads, near=near)
            )
        if parallelism is not None and parallelism.pipeline > 1 and not self.stages:
            found.append(
                finding(Rule.NO_PIPELINE, Field.PIPELINE, parallelism.pipeline, engine="it")
            )
        if accelerator is not None and accelerator.name in self.refuses:
            found.append(finding(Rule.NO_BFLOAT16, Field.DTYPE, "x", gpu=accelerator.title))
        return tuple(found)

    def tensor_parallel_sizes(self, architecture: Architecture, most: int) -> tuple[int, ...]:
        """Powers of two that divide the heads."""
        sizes = (1 << n for n in range(max(1, most).bit_length()))
        return tuple(t for t in sizes if t <= most and architecture.heads % t == 0)

    def read(self, args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
        """Every flag is passed on as it is."""
        return Reading(replace(settings, flags=tuple(args)), asked)

    def arguments(self, estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
        """Two flags, and those of the user."""
        return (
            f"--tensor-parallel-size={estimate.parallelism.tensor}",
            f"--max-model-len={estimate.max_model_len}",
            *settings.flags,
        )

    def constants_digest(self, version: str) -> str:
        """Its own name."""
        return f"plain-{version}"


def world(engine: PlainEngine | None = None, table: tuple[Accelerator, ...] = TABLE) -> Knowledge:
    """The tables to decide by."""
    return Knowledge({"vllm": engine or PlainEngine()}, table)


def request(of: Model = BIG, **fields: Any) -> Request:
    """A request; every field of settings, workload, wanted and the split can be given by name."""
    made = Request(of, name="chat/big", places=PLACES)
    split = {k: v for k, v in fields.items() if hasattr(NOTHING_ASKED, k)}
    fields = {k: v for k, v in fields.items() if k not in split}
    if split:
        fields["split"] = AskedSplit(**split)
    for part in ("engine", "workload", "wanted"):
        known = getattr(made, part)
        given = {k: v for k, v in fields.items() if hasattr(known, k)}
        made = replace(made, **{part: replace(known, **given)})
        fields = {k: v for k, v in fields.items() if k not in given}
    return replace(made, **fields)


def on(*names: str | Accelerator, **fields: Any) -> Request:
    """A request for the big model at 32k tokens on the accelerators named."""
    allowed = tuple(n if isinstance(n, str) else n.name for n in names)
    return request(allowed=allowed, **{"max_model_len": 32768, **fields})


def pool(of: Accelerator, nodes: int = 1, gpus: int = 8, **more: Any) -> Pool:
    """Nodes with that accelerator, labelled by GPU feature discovery and tainted as usual."""
    fields: dict[str, Any] = {
        "node_names": tuple(f"{of.name}-{n}" for n in range(min(nodes, 10))),
        "selector": ((GFD, of.name.upper()),),
        "dialect": Dialect.GFD,
        "ready": nodes,
        "taints": (("nvidia.com/gpu", "present", "NoSchedule"),),
    }
    return Pool(of, gpus, nodes, **{**fields, **more})


def cluster(*pools: Pool, **more: Any) -> Inventory:
    """An inventory that was read."""
    return Inventory(pools, known=True, **more)


__all__ = [
    "A100",
    "BIG",
    "GFD",
    "H100",
    "H200",
    "L4",
    "SLICE",
    "SMALL",
    "TABLE",
    "VAGUE",
    "PlainEngine",
    "Wanted",
    "architecture",
    "cluster",
    "gpu",
    "model",
    "on",
    "pool",
    "request",
    "world",
]
