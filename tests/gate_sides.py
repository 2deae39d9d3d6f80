"""Both sides of every gate: a start that just gets through it, and one that it just stops.

data/gate_sides.jsonl has a row for each gate and engine; a row of several engines holds for each
of them. What is said: model and on (a GPU) by the names below, split, args (the engine's own
flags), and typed settings by their names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from architectures import A100, H100, L4, LLAMA_8B, T4, dense, hybrid, latent, moe
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings, Parallelism
from plimsoll.engines.registry import engine
from plimsoll.models.quantization import Quantization, Scheme
from plimsoll.models.quantization_config import stored

if TYPE_CHECKING:
    from plimsoll.findings import Finding
    from plimsoll.models.architecture import Architecture

_DATA: Final = Path(__file__).parent / "data"
RELEASES: Final[dict[str, list[str]]] = json.loads((_DATA / "releases.json").read_text("utf-8"))
"""The releases of an engine since the first that is known here, in their order."""


def _gptq(head_dim: int) -> Architecture:
    """A model stored in 4 bits, as its config says, whose outputs per rank vary."""
    model = dense(width=2048, heads=16, kv_heads=16, head_dim=head_dim)
    said = stored("gptq")
    assert said is not None
    return replace(model, quantization=replace(said, by_name=False))


def _stored(method: str, scheme: str, bits: int) -> Architecture:
    """A model whose linears are all stored so."""
    return replace(dense(), quantization=Quantization(method, Scheme(scheme, bits)))


def _sparse() -> Architecture:
    """A model that attends to chosen tokens."""
    model = latent()
    mixers = tuple(replace(mixer, index_dim=128) for mixer in model.blocks[0].mixers)
    blocks = tuple(replace(block, mixers=mixers) for block in model.blocks)
    return replace(model, blocks=blocks)


MODELS: Final = {
    "": LLAMA_8B,
    "moe": moe(),
    "six": dense(heads=24, kv_heads=6, head_dim=128, width=4608, vocab=64 * 480),
    "blocks": replace(
        dense(width=1536, hidden=1024, kv_heads=8, head_dim=128),
        quantization=Quantization("fp8", Scheme("fp8", 8, 128, 128)),
    ),
    "gptq-128": _gptq(128),
    "gptq-96": _gptq(96),
    "small-vocabulary": dense(heads=24, kv_heads=24, vocab=64),
    "odd-width": dense(width=4100),
    "odd-width-8": dense(kv_heads=8, width=4100),
    "four-of-twenty": dense(heads=20, kv_heads=4, head_dim=64),
    "three-of-twenty": dense(heads=20, kv_heads=3, head_dim=64),
    "gemma2": replace(dense(), model_type="gemma2"),
    "gemma3": replace(
        dense(), class_name="Gemma3ForConditionalGeneration", multimodal=True, dtype="float16"
    ),
    "kimi-k25": replace(moe(), class_name="KimiK25ForConditionalGeneration", multimodal=True),
    "latent": latent(),
    "sparse": _sparse(),
    "qwen3": replace(dense(), class_name="Qwen3ForCausalLM"),
    "mamba2": replace(hybrid(), class_name="Mamba2ForCausalLM"),
    "baichuan": replace(dense(), class_name="BaichuanForCausalLM"),
    "awq": replace(dense(), quantization=stored("awq")),
    "mxfp4": replace(moe(), quantization=stored("mxfp4")),
    "ct-w4a16": _stored("compressed-tensors", "w4a16", 4),
    "ct-int8": _stored("compressed-tensors", "int8", 8),
    "ct-fp8": _stored("compressed-tensors", "fp8", 8),
    "modelopt-nvfp4": _stored("modelopt", "nvfp4", 4),
}
GPUS: Final = {
    "h100": H100,
    "a100": A100,
    "l4": L4,
    "t4": T4,
    "v100": replace(T4, name="nvidia-v100-32gb", title="NVIDIA V100", compute=(7, 0)),
    "p100": replace(T4, name="nvidia-p100-16gb", title="NVIDIA P100", compute=(6, 0)),
    "slice": replace(H100, mig_of=H100.name, mig_profile="3g.40gb", memory=40448 << 20),
    "amd": replace(H100, resource="amd.com/gpu", title="AMD MI300X"),
}


@dataclass(frozen=True)
class Sides:
    """A gate of some engines with a start that it lets through, and one that it stops."""

    rule: str
    engines: tuple[str, ...]
    passes: dict[str, Any]
    fails: dict[str, Any]


def problems(name: str, said: dict[str, Any], version: str = "") -> tuple[Finding, ...]:
    """What an engine finds wrong with a start that is said as in a row."""
    own = dict(said)
    model, on = MODELS[own.pop("model", "")], GPUS[own.pop("on", "h100")]
    split, args = Parallelism(**own.pop("split", {})), own.pop("args", ())
    share = own.pop("utilization", None)
    settings = replace(
        EngineSettings(name=name, utilization=Decimal(share) if share else None),
        **{"version": version, **own},
    )
    read = engine(name).read_arguments(args, settings, NOTHING_ASKED)
    return (*read.problems, *engine(name).problems(model, read.settings, split, on))


def stopped(name: str, said: dict[str, Any], version: str = "") -> set[str]:
    """The rules by which a start is stopped."""
    return {str(one.rule) for one in problems(name, said, version)}


def release_before(name: str, version: str) -> str:
    """The last release of an engine before a version."""
    table = engine(name).table
    assert table is not None
    own = table.parse(version)
    return [one for one in RELEASES[name] if table.parse(one) < own][-1]


SIDES: Final = tuple(
    Sides(row["rule"], tuple(row["engines"]), row["passes"], row["fails"])
    for row in map(json.loads, (_DATA / "gate_sides.jsonl").read_text("utf-8").splitlines())
)
