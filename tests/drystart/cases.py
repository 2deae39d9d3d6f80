"""What is asked of a release: architectures, defaults and refusals by GPU, settings that are drawn.

A case is small: model, how it is cut and quantized, GPU, arguments, rank, how far. Its id says all
of that, so that the same case of two releases has the same id.
"""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import ROOT, measured
from drystart.models import QUANTIZATIONS, config_of, configs
from plimsoll.accelerators import catalogue
from plimsoll.engines.layers.gpu_memory import visible_memory
from plimsoll.measured.gpus import named
from plimsoll.measured.rows import TermId

if TYPE_CHECKING:
    from plimsoll.measured.rows import Row

H100: Final = "nvidia-h100-80gb"
_PROCESSORS: Final = {
    "nvidia-a100-40gb": 108,
    "nvidia-a100-80gb": 108,
    "nvidia-a10g": 80,
    "nvidia-b200": 148,
    "nvidia-h200-141gb": 132,
    "nvidia-l4": 58,
    "nvidia-l40s": 142,
    "nvidia-rtx-4090": 128,
    "nvidia-rtx-pro-6000": 188,
    "nvidia-t4": 40,
    "nvidia-v100-16gb": 80,
    H100: 132,
}
"""Streaming multiprocessors: NVIDIA's data sheets. Some workspaces have a part for each."""
GPUS: Final = tuple(_PROCESSORS)


@dataclass(frozen=True)
class Case:
    """One dry start. layers: "cut" or "whole"; arguments: the engine's, by its own names."""

    model: str
    gpu: str = H100
    layers: str = "cut"
    quantization: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    rank: int = 0
    upto: str = ""

    @property
    def id(self) -> str:
        """Everything that it asks, in one line."""
        said = [f"{key}={value}" for key, value in sorted(self.arguments.items())]
        cut = "cut" if self.layers == "cut" else ""
        parts = [self.model, self.gpu, cut, self.quantization, *said]
        parts += [f"rank={self.rank}"] if self.rank else []
        return " ".join(part for part in [*parts, self.upto] if part)

    def data(self) -> dict[str, Any]:
        """As it is kept with its facts."""
        out: dict[str, Any] = {"model": self.model, "gpu": self.gpu, "layers": self.layers}
        out |= {"quantization": self.quantization, "arguments": self.arguments}
        out |= {"rank": self.rank, "upto": self.upto}
        return {key: value for key, value in out.items() if value}

    def asked(self) -> dict[str, Any]:
        """As the harness reads it."""
        config = config_of(self.model, layers=self.layers, quantization=self.quantization)
        return {
            "id": self.id,
            "device": device(self.gpu),
            "config": config,
            "arguments": {"skip_mm_profiling": True} | self.arguments,
            "rank": self.rank,
            "upto": self.upto,
        }


def device(gpu: str) -> dict[str, Any]:
    """A GPU of our table, as the harness reads it."""
    found = catalogue.find(gpu)
    assert found is not None, gpu
    return {
        "name": found.title,
        "capability": list(found.compute),
        "nvml_bytes": found.memory,
        "cuda_bytes": visible_memory(found),
        "processors": _PROCESSORS.get(gpu, 132),
    }


LISTED: Final = ROOT / "tests" / "data" / "drystart" / "models.json"


@lru_cache(maxsize=1)
def by_architecture() -> list[str]:
    """One model of each architecture; what is served most comes first.

    They are written down in tests/data/drystart/models.json: cases are drawn from them, so that a
    catalogue that grows must not change what was asked. Whoever adds one asks the releases again.
    """
    names: list[str] = json.loads(LISTED.read_text("utf-8"))["architectures"]
    return names


@lru_cache(maxsize=1)
def listed() -> list[str]:
    """Those, and all further models of which settings are drawn; written down with them."""
    further: list[str] = json.loads(LISTED.read_text("utf-8"))["further"]
    return [*by_architecture(), *further]


def _is_moe(model: str) -> bool:
    text = str(config_of(model))
    return any(word in text for word in ("num_experts", "n_routed_experts", "num_local_experts"))


def architectures() -> list[Case]:
    """(a) Every architecture, split or not, and quantized as published checkpoints are."""
    models = by_architecture()
    out = [Case(model) for model in models]
    llama, moe = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B"
    for name in QUANTIZATIONS:
        out += [Case(llama, quantization=name)]
        out += [Case(moe, quantization=name)] if name not in ("fp8", "w8a8") else []
    out += [Case(model, arguments={"tensor_parallel_size": 2}) for model in models]
    out += [Case(model, arguments={"tensor_parallel_size": 8}) for model in models[:30]]
    both = {"tensor_parallel_size": 4, "enable_expert_parallel": True}
    out += [Case(model, arguments=both) for model in models if _is_moe(model)]
    for model in models[:12]:
        for rank in (0, 1):
            out.append(Case(model, arguments={"pipeline_parallel_size": 2}, rank=rank))
    out += [Case(model, layers="whole") for model in models[:24]]
    return out


_SHOWN: Final = (
    ("meta-llama/Llama-3.1-8B-Instruct", ""),
    ("meta-llama/Llama-3.1-8B-Instruct", "fp8-dynamic"),
    ("meta-llama/Llama-3.1-8B-Instruct", "gptq"),
    ("meta-llama/Llama-3.1-8B-Instruct", "awq"),
    ("meta-llama/Llama-3.1-8B-Instruct", "w4a16"),
    ("meta-llama/Llama-3.1-8B-Instruct", "w8a8"),
    ("meta-llama/Llama-3.1-8B-Instruct", "nvfp4"),
    ("openai/gpt-oss-20b", ""),
    ("Qwen/Qwen3-30B-A3B", "fp8-block"),
    ("deepseek-ai/DeepSeek-V2-Lite", ""),
    ("google/gemma-3-27b-it", ""),
    ("ibm-granite/granite-4.0-h-small", ""),
)


def by_gpu() -> list[Case]:
    """(b) Defaults and refusals of every kind of GPU."""
    return [
        Case(model, gpu, quantization=quantization, upto=upto)
        for upto in ("config", "")
        for gpu in GPUS
        for model, quantization in _SHOWN
        if model in configs() and (upto or gpu != H100)
    ]


def settings(number: int, seed: int, models: list[str], gpus: tuple[str, ...]) -> list[Case]:
    """(c) Settings drawn by a seed, for models of every kind; what is resolved and refused."""
    draw = random.Random(seed)
    out = []
    for _ in range(number):
        wanted: dict[str, Any] = {}
        choices: tuple[tuple[str, tuple[Any, ...]], ...] = (
            ("max_model_len", (2048, 8192, 32768, 131072)),
            ("max_num_seqs", (1, 16, 128, 512, 2048)),
            ("max_num_batched_tokens", (512, 2048, 8192, 32768)),
            ("kv_cache_dtype", ("auto", "fp8", "fp8_e4m3", "bfloat16")),
            ("block_size", (16, 32, 64, 128)),
            ("enable_prefix_caching", (True, False)),
            ("enable_chunked_prefill", (True, False)),
            ("gpu_memory_utilization", (0.5, 0.8, 0.95)),
            ("dtype", ("bfloat16", "float16", "float32")),
            ("tensor_parallel_size", (2, 3, 4, 8)),
            ("pipeline_parallel_size", (2,)),
            ("quantization", ("fp8",)),
        )
        for name, values in choices:
            if draw.random() < 0.22:
                wanted[name] = draw.choice(values)
        if wanted.get("tensor_parallel_size", 1) * wanted.get("pipeline_parallel_size", 1) > 8:
            del wanted["pipeline_parallel_size"]
        model = draw.choice(models)
        gpu = draw.choice(gpus) if len(gpus) > 1 else gpus[0]
        out.append(Case(model, gpu, arguments=wanted, upto="config"))
    return out


_IN_ALL, _ITS_OWN = 75, 200
"""Settings that every release is asked, and those that are drawn for it alone."""


def drawn(release: str) -> list[Case]:
    """Settings drawn for one release: of all models, on every GPU."""
    seed = 1000 + int(release.split(".")[1])
    return settings(_ITS_OWN, seed, listed(), GPUS)


_STORED_WHOLE: Final = ("none", "mxfp4")
"""Formats of measured rows that are those of the model's own config."""


def beside_measured(release: str) -> list[tuple[Row, Case]]:
    """Start-ups measured on a GPU with a release of the same minor version, as cases."""
    minor = ".".join(release.split(".")[:2])
    out = []
    for row in measured():
        stated = row.version_text.startswith(f"{minor}.") and row.tensor and row.seqs
        whole = (row.pipeline or 1) == (row.data or 1) == 1 and not row.quantization
        whole = whole and (row.weights_format or "none") in _STORED_WHOLE
        if row.engine != "vllm" or not stated or not whole or row.config_id not in configs():
            continue
        gpu = named(row.gpu)
        if gpu is None or gpu.name not in GPUS or TermId.WEIGHTS.measured_as not in row.measured:
            continue
        arguments = {
            "dtype": row.dtype if row.dtype not in ("", "auto", "bfloat16") else None,
            "gpu_memory_utilization": float(row.utilization) if row.utilization else None,
            "max_model_len": row.max_model_len,
            "max_num_batched_tokens": row.batched_tokens,
            "max_num_seqs": row.seqs,
            "tensor_parallel_size": row.tensor if row.tensor and row.tensor > 1 else None,
        }
        said = {key: value for key, value in arguments.items() if value is not None}
        out.append((row, Case(row.config_id, gpu.name, layers="whole", arguments=said)))
    return out


def everything(release: str) -> list[Case]:
    """All cases that a release may be asked, each once, what is worth most first."""
    whole = architectures()
    first = [case for _, case in beside_measured(release)]
    common = settings(4 * _IN_ALL, 7, by_architecture(), (H100,))
    lists = (first, whole[:110], by_gpu(), common, whole[110:], drawn(release))
    return list({case.id: case for cases in lists for case in cases}.values())


_PARTS: Final = 4
WHOLE: Final = ("0.33",)
"""Releases that are asked every case."""


def asked(release: str) -> list[Case]:
    """What a run asks of a release: the newest everything, an older one some 350 cases.

    Settings are quick, so that each release is asked the same 75, and those drawn for it. Of the
    start-ups to the end each is asked a quarter, with the release's number another one, so that
    four releases in a row have all of them; and those that were measured on a GPU. Each compute
    capability wants the engine imported anew: beside Hopper's each release is asked every other.
    """
    cases = everything(release)
    if release.rpartition(".")[0] in WHOLE:
        return cases
    part = int(release.split(".")[1])
    kinds = sorted({_compute(gpu) for gpu in GPUS} - {_compute(H100)})
    turn = {kind for at, kind in enumerate(kinds) if (at + part) % 2 == 0} | {_compute(H100)}
    common = settings(_IN_ALL, 7, by_architecture(), (H100,))
    always = {case.id for case in [*common, *drawn(release), *by_gpu()] if case.upto}
    measured_too = {case.id for _, case in beside_measured(release)}
    return [
        case
        for case in cases
        if case.id in measured_too
        or (
            _compute(case.gpu) in turn
            and (
                case.id in always
                or (not case.upto and (zlib.crc32(case.id.encode()) + part) % _PARTS == 0)
            )
        )
    ]


def _compute(gpu: str) -> tuple[int, int]:
    found = catalogue.find(gpu)
    assert found is not None, gpu
    return found.compute
