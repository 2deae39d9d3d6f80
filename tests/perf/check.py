"""How long `plimsoll check` takes over a repository of 1,000 mixed manifests.

    400 Deployments of an engine: 10 models x 4 contexts x 5 kinds of GPU, and what goes with each
    150 LLMDeployments      250 of every other kind that is read, from the fixtures of the readers
    200 that serve no LLM: Services, ConfigMaps, Deployments of a web server

Whole processes against a bare interpreter, in turn; the aim is the seconds beyond that.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perf.results import Report

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/unit/workloads/manifests"
ROUNDS = 3
PER_FILE = 5

MODELS = (
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-30B-A3B",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "google/gemma-3-27b-it",
    "deepseek-ai/DeepSeek-V2-Lite",
    "microsoft/phi-4",
    "openai/gpt-oss-20b",
)
CONTEXTS = (4096, 8192, 16384, 32768)
GPUS = (
    ("NVIDIA-L4", 1),
    ("NVIDIA-L40S", 2),
    ("NVIDIA-A100-SXM4-80GB", 2),
    ("NVIDIA-H100-80GB-HBM3", 4),
    ("", 1),
)
VERSIONS = ("v0.8.5", "v0.11.0", "v0.18.0", "latest")


def _metadata(name: str) -> dict[str, str]:
    return {"name": name, "namespace": f"team-{len(name) % 7}"}


def _deployment(index: int, model: str, context: int, gpu: tuple[str, int]) -> dict[str, Any]:
    product_name, count = gpu
    arguments = ["--model", model, "--max-model-len", str(context)]
    arguments += ["--tensor-parallel-size", str(count)] if index % 3 else []
    arguments += ["--kv-cache-dtype", "fp8"] if index % 5 == 0 else []
    image = f"vllm/vllm-openai:{VERSIONS[index % len(VERSIONS)]}"
    resources = {"limits": {"nvidia.com/gpu": str(count)}}
    engine = {"name": "engine", "image": image, "args": arguments, "resources": resources}
    spec: dict[str, Any] = {"containers": [engine, {"name": "proxy", "image": "envoy:1"}]}
    if product_name:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": product_name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(f"engine-{index}"),
        "spec": {"replicas": 1 + index % 3, "template": {"spec": spec}},
    }


def _llm_deployment(index: int, model: str, context: int) -> dict[str, Any]:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": _metadata(f"llm-{index}"),
        "spec": {
            "model": {"uri": f"hf://{model}"},
            "engine": {"name": "vllm", "maxModelLen": context},
            "accelerator": {"allowed": ["nvidia-h100-80gb", "nvidia-a100-80gb"][: 1 + index % 2]},
            "workload": {"concurrentSequences": 1 + index % 16},
        },
    }


def _others(count: int) -> Iterator[dict[str, Any]]:
    """Every fixture in turn, each time under another name."""
    fixtures = [
        one
        for file in sorted(FIXTURES.glob("[cgkp]*.yaml"))
        for one in yaml.safe_load_all(file.read_text("utf-8"))
        if one
    ]
    for index in range(count):
        one = fixtures[index % len(fixtures)]
        metadata = {**one.get("metadata", {}), "name": f"other-{index}"}
        yield {**one, "metadata": metadata}


def _no_llm(index: int) -> dict[str, Any]:
    metadata = _metadata(f"web-{index}")
    match index % 3:
        case 0:
            return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}}
        case 1:
            data = {"settings.ini": "a=1\n" * 20}
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    containers = [{"name": "web", "image": "nginx:1.29", "args": ["-g", "daemon off;"]}]
    spec = {"template": {"spec": {"containers": containers}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def manifests() -> list[dict[str, Any]]:
    """The 1,000 objects, kinds mixed."""
    every = list(product(MODELS, CONTEXTS, GPUS))
    found = [_deployment(index, *every[index % len(every)]) for index in range(400)]
    pairs = list(product(MODELS, CONTEXTS))
    found += [_llm_deployment(index, *pairs[index % len(pairs)]) for index in range(150)]
    found += list(_others(250))
    found += [_no_llm(index) for index in range(200)]
    return [found[index * 377 % len(found)] for index in range(len(found))]


def write(folder: Path) -> None:
    """The objects as a repository has them: a few to a file, files in folders."""
    rest = iter(manifests())
    number = 0
    while some := list(islice(rest, PER_FILE)):
        place = folder / f"app-{number % 40}"
        place.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump_all(some, sort_keys=False)
        (place / f"objects-{number}.yaml").write_text(text, "utf-8")
        number += 1


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr.decode()
    return time.perf_counter() - start


def run(report: Report) -> None:
    """`plimsoll check` of the folder, beyond what the bare interpreter takes."""
    plimsoll = str(Path(sys.executable).parent / "plimsoll")
    bare = [sys.executable, "-c", "import pydantic, yaml; pydantic.BaseModel"]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        command = [plimsoll, "check", folder, "-o", "json"]
        _seconds(bare), _seconds(command)
        pairs = [(_seconds(bare), _seconds(command)) for _ in range(ROUNDS)]
    report.add(
        "check of 1,000 mixed manifests, beyond the bare interpreter",
        statistics.median(there - without for without, there in pairs) * 1e3,
        "ms",
        "<= 2000",
        statistics.median(without for without, _ in pairs) * 1e3,
    )
