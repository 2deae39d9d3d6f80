"""As much of vLLM as the harness asks, over one made-up rule of each kind.

weights   12 x hidden² x layers + vocabulary x hidden parameters, two bytes each, by rank
peak      64 KiB a batched token
cache     pages of 16 tokens, 2 x heads x size x two bytes a token and layer
refuses   a length above max_position_embeddings; a cache that holds no whole sequence
hangs     for so many seconds as the config's stub_seconds says
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

__version__ = "0.33.0"
BLOCK = 16


class FlexibleArgumentParser(argparse.ArgumentParser):
    """The engine's parser."""


def make_arg_parser(parser: Any) -> Any:
    """With the flags of `vllm serve` that this one knows."""
    for flag in ("--model", "--dtype", "--quantization", "--kv-cache-dtype", "--revision"):
        parser.add_argument(flag)
    for flag in (
        "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens", "--tensor-parallel-size",
        "--pipeline-parallel-size", "--data-parallel-size",
    ):  # fmt: skip
        parser.add_argument(flag, type=int)
    parser.add_argument("--gpu-memory-utilization", type=float)
    parser.add_argument("--enforce-eager", action="store_true")
    return parser


class EngineArgs:
    """What is asked of it."""

    enforce_eager = False

    @classmethod
    def from_cli_args(cls, read: Any) -> EngineArgs:
        made = cls()
        vars(made).update(vars(read))
        return made

    def create_engine_config(self, usage: Any) -> Any:
        said: Any = self
        config = json.loads((Path(said.model) / "config.json").read_text())
        time.sleep(config.get("stub_seconds", 0))
        derived = config.get("max_position_embeddings", 4096)
        length = said.max_model_len or derived
        if length > derived:
            raise ValueError(
                f"User-specified max_model_len ({length}) is greater than the derived "
                f"max_model_len (max_position_embeddings={derived})"
            )
        tensor = said.tensor_parallel_size or 1
        batched = said.max_num_batched_tokens or 8192
        return SimpleNamespace(
            hf=config,
            model_config=SimpleNamespace(max_model_len=length, dtype=said.dtype or "bfloat16"),
            scheduler_config=SimpleNamespace(
                max_num_seqs=said.max_num_seqs or 1024, max_num_batched_tokens=batched
            ),
            cache_config=SimpleNamespace(
                block_size=BLOCK, gpu_memory_utilization=said.gpu_memory_utilization or 0.92
            ),
            parallel_config=SimpleNamespace(tensor_parallel_size=tensor, world_size=tensor),
            compilation_config=SimpleNamespace(
                static_forward_context={}, cudagraph_capture_sizes=[1, 2, 4]
            ),
        )


class FullAttentionSpec:
    """Of one layer."""

    block_size, dtype = BLOCK, "torch.bfloat16"

    def __init__(self, config: Any) -> None:
        said = config.hf
        heads = said.get("num_key_value_heads", said["num_attention_heads"])
        self.num_kv_heads = max(1, heads // config.parallel_config.tensor_parallel_size)
        self.head_size = said.get("head_dim", said["hidden_size"] // said["num_attention_heads"])
        self.page_size_bytes = 2 * self.num_kv_heads * self.head_size * 2 * BLOCK


class Model:
    """Its tensors."""

    def __init__(self, weights: Any) -> None:
        self._weights = weights

    def named_parameters(self, remove_duplicate: bool = True) -> Any:
        return [("weights", self._weights)]

    def named_buffers(self, remove_duplicate: bool = True) -> Any:
        return []


class Worker:
    """One rank."""

    def __init__(self, vllm_config: Any, **_: Any) -> None:
        self._config: Any = vllm_config
        self._held: list[Any] = []
        self.model_runner = SimpleNamespace(model=Model(None), model_memory_usage=0)

    def init_device(self) -> None:
        self._free, self._total = torch.cuda.mem_get_info()

    def load_model(self) -> None:
        said = self._config.hf
        width, layers = said["hidden_size"], said["num_hidden_layers"]
        count = 12 * width * width * layers + said["vocab_size"] * width
        size = 2 * count // self._config.parallel_config.tensor_parallel_size
        weights = torch.empty(size, device="cuda")
        self.model_runner = SimpleNamespace(model=Model(weights), model_memory_usage=size)
        self._held.append(torch.empty(64 << 20, device="cuda"))

    def get_kv_cache_spec(self) -> Any:
        layers = self._config.hf["num_hidden_layers"]
        return {f"layers.{at}": FullAttentionSpec(self._config) for at in range(layers)}

    def determine_available_memory(self) -> int:
        batch = torch.empty(
            self._config.scheduler_config.max_num_batched_tokens << 16, device="cuda"
        )
        peak = torch.cuda.max_memory_allocated()
        del batch
        share = self._config.cache_config.gpu_memory_utilization
        return int(self._total * share - peak)

    def initialize_from_config(self, cache: Any) -> None:
        self._held.extend(torch.empty(one.size, device="cuda") for one in cache.kv_cache_tensors)


class Executor:
    """Asks the workers."""

    def determine_available_memory(self) -> Any:
        return self.collective_rpc("determine_available_memory")

    def get_kv_cache_specs(self) -> Any:
        return self.collective_rpc("get_kv_cache_spec")

    def collective_rpc(self, method: str) -> Any:
        raise NotImplementedError

    def initialize_from_config(self, configs: Any) -> None:
        raise NotImplementedError


class EngineCore:
    """Lays out the cache."""

    model_executor: Any

    def _initialize_kv_caches(self, config: Any) -> None:
        (layers,) = self.model_executor.get_kv_cache_specs()
        (available,) = self.model_executor.determine_available_memory()
        one = next(iter(layers.values()))
        page = one.page_size_bytes * len(layers)
        blocks, length = max(0, available) // page, config.model_config.max_model_len
        if blocks * BLOCK < length:
            raise ValueError(
                f"To serve at least one request with the model's max seq len ({length}), more KV "
                "cache is needed than is available; try increasing gpu_memory_utilization"
            )
        size = blocks * one.page_size_bytes
        cache = SimpleNamespace(
            num_blocks=blocks,
            kv_cache_groups=[SimpleNamespace(kv_cache_spec=one, layer_names=list(layers))],
            kv_cache_tensors=[SimpleNamespace(size=size) for _ in layers],
        )
        self.model_executor.initialize_from_config([cache])


def concurrency(config: Any, cache: Any) -> float:
    """Whole sequences that the cache holds."""
    return float(cache.num_blocks * BLOCK / config.model_config.max_model_len)


class GroupCoordinator:
    """Of ranks that are not here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


@contextlib.contextmanager
def set_current_vllm_config(config: Any) -> Any:
    """Nobody asks for it."""
    yield


def _module(name: str, **held: Any) -> None:
    path = "vllm"
    for part in name.split("."):
        before, path = sys.modules[path], f"{path}.{part}"
        if path not in sys.modules:
            sys.modules[path] = types.ModuleType(path)
            sys.modules[path].__path__ = []
            setattr(before, part, sys.modules[path])
    vars(sys.modules[path]).update(held)


_module("config", set_current_vllm_config=set_current_vllm_config)
_module("distributed.parallel_state", GroupCoordinator=GroupCoordinator)
_module("engine.arg_utils", EngineArgs=EngineArgs, AsyncEngineArgs=EngineArgs)
_module("entrypoints.openai.cli_args", make_arg_parser=make_arg_parser)
_module("third_party.pynvml", nvmlInit=None)
_module("usage.usage_lib", UsageContext=SimpleNamespace(OPENAI_API_SERVER=0))
_module("utils", FlexibleArgumentParser=FlexibleArgumentParser)
_module("v1.core.kv_cache_utils", get_max_concurrency_for_kv_cache_config=concurrency)
_module("v1.engine.core", EngineCore=EngineCore)
_module("v1.executor.abstract", Executor=Executor)
_module("v1.worker.gpu_worker", Worker=Worker)
