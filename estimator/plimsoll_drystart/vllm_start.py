"""vLLM's start-up on one rank, as far as it goes without a GPU.

    EngineArgs -> VllmConfig                              resolved, refused
    Worker.init_device, load_model (dummy weights)        weights, what the runner holds
    EngineCore._initialize_kv_caches                      profile, groups, pages, blocks, checks
    Worker.initialize_from_config                         the cache itself

All of that is the engine's code. One process stands for the whole split: it is rank r of a group
of which nobody else is there. From the model on, as with --enforce-eager: compilation would want a
GPU.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import time
from typing import TYPE_CHECKING, Any

import torch

from plimsoll_drystart import facts
from plimsoll_drystart.device import GPU0, is_shape
from plimsoll_drystart.seams import serve_parser, start_group

if TYPE_CHECKING:
    from pathlib import Path

    from plimsoll_drystart.memory import Memory

UNSEEN = (
    "what kernels hold of their own (sorting samplers, grouped GEMM, NCCL, the CUDA context)",
    "CUDA graphs and compiled code: the profile ran eagerly",
)
"""Said of every profile."""


class Start:
    """One case in this process: a process runs one, then ends."""

    def __init__(self, case: dict[str, Any], device: GPU0, memory: Memory) -> None:
        self.case, self.device, self.memory = case, device, memory
        self.out: dict[str, Any] = {"reached": "config", "seconds": {}}
        self._clock = time.process_time()

    def run(self, folder: Path) -> dict[str, Any]:
        """The facts. folder: where the model's files are."""
        try:
            self._run(folder)
        except BaseException as error:  # every end is a fact, the harness's own too
            self.out |= facts.verdict(error)
        if self.device.unseen:
            self.out["without_shapes"] = dict(sorted(self.device.unseen.items()))
        return self.out

    def _lap(self, name: str) -> None:
        """Seconds of processor time: those of the wall depend on what else runs."""
        now = time.process_time()
        self.out["seconds"][name] = round(now - self._clock, 2)
        self._clock = now

    def _run(self, folder: Path) -> None:
        config = self._config(folder, eager=False)
        self.out["resolved"] = resolved(config)
        self._lap("config")
        if self.case.get("upto") == "config":
            return
        self.out["reached"] = "model"
        config = self._config(folder, eager=True)
        rank = int(self.case.get("rank") or 0)
        start_group(rank, config.parallel_config.world_size)
        from vllm.config import set_current_vllm_config

        with self.device, set_current_vllm_config(config):
            worker = self._loaded(config, rank)
            self._lap("load")
            self.out["reached"] = "cache"
            self.out["layers"] = specs(worker.get_kv_cache_spec())
            self.out["backends"] = backends(config)
            self._engine(config, worker)
            self._lap("cache")
            after = resolved(config)
            self.out["resolved_after"] = {
                key: value for key, value in after.items() if value != self.out["resolved"].get(key)
            }
        self.out["reached"] = "end"

    def _config(self, folder: Path, *, eager: bool) -> Any:
        """What the engine makes of its arguments."""
        from vllm.engine.arg_utils import EngineArgs
        from vllm.usage.usage_lib import UsageContext

        given: dict[str, Any] = {
            "model": str(folder),
            "skip_tokenizer_init": True,
            "load_format": "dummy",
            "disable_log_stats": True,
            "disable_custom_all_reduce": True,
        }
        if self.case.get("command_line"):
            made = parsed(list(self.case["command_line"]), given)
        else:
            known = inspect.signature(EngineArgs).parameters
            given |= self.case.get("arguments") or {}
            lacking = sorted(given.keys() - known.keys())
            self.out["not_known_to_release"] = [k for k in lacking if k in self.case["arguments"]]
            made = EngineArgs(**{key: value for key, value in given.items() if key in known})
        if eager:
            made.enforce_eager = True
        return made.create_engine_config(UsageContext.OPENAI_API_SERVER)

    def _loaded(self, config: Any, rank: int) -> Any:
        """A worker with its model. Weights as the engine counts them: what the allocator holds."""
        from vllm.v1.worker.gpu_worker import Worker

        held = self.memory.allocator
        worker = Worker(
            vllm_config=config,
            local_rank=rank,
            rank=rank,
            distributed_init_method="env://",
            is_driver_worker=rank == 0,
        )
        worker.init_device()
        held.empty_cache()
        before, reserved = held.allocated, held.reserved
        held.reset_peak()
        worker.load_model()
        held.empty_cache()
        with contextlib.suppress(ImportError):
            from vllm.platforms import current_platform

            update = getattr(current_platform, "update_block_size_for_backend", None)
            if callable(update):  # its executors do so after loading
                update(config)
        counted = int(getattr(worker.model_runner, "model_memory_usage", 0) or 0)
        self.out["weights"] = {
            "counted": counted,
            "parameters": tensors_of(worker.model_runner.model, self.memory),
            "runner": held.allocated - before - counted,
            "reserved": held.reserved - reserved,
            "most_reserved": held.most_reserved - reserved,
            "reserved_before": reserved,
        }
        return worker

    def _profiled(self, worker: Any) -> int:
        given = self.case.get("available_bytes")
        if given:
            return int(given)
        self.out["reached"] = "profile"
        held = self.memory.allocator
        base, reserved = held.allocated, held.reserved
        held.reset_peak()
        available = int(worker.determine_available_memory())
        self.out["profile"] = {
            "peak": held.peak - base,
            "kept": held.allocated - base,
            "kept_reserved": held.reserved - reserved,
            "available": available,
            "unseen": list(UNSEEN),
        }
        self.out["reached"] = "cache"
        return available

    def _engine(self, config: Any, worker: Any) -> None:
        """EngineCore's own start-up over this one worker."""
        from vllm.v1.engine.core import EngineCore
        from vllm.v1.executor.abstract import Executor

        start = self

        class Alone(Executor):
            def _init_executor(self) -> None:
                pass

            def collective_rpc(
                self, method: Any, timeout: Any = None, args: Any = (), kwargs: Any = None, **_: Any
            ) -> Any:
                if method == "determine_available_memory":
                    return [start._profiled(worker)]
                if method in ("compile_or_warm_up_model", "initialize_from_config"):
                    return [None]
                if isinstance(method, str):
                    return [getattr(worker, method)(*args, **(kwargs or {}))]
                return [method(worker, *args, **(kwargs or {}))]

            def initialize_from_config(self, configs: Any) -> None:
                start._allocated(config, worker, configs[0])

            def compile_or_warm_up_model(self, *_: Any, **__: Any) -> Any:
                return None

        Alone.__abstractmethods__ = frozenset()
        alone = Alone.__new__(Alone)
        alone.vllm_config = config
        for name in dir(config):
            if name.endswith("_config") and not hasattr(type(config), name + "_"):
                setattr(alone, name, getattr(config, name))
        core = EngineCore.__new__(EngineCore)
        core.vllm_config, core.model_executor = config, alone
        core.available_gpu_memory_for_kv_cache = -1
        core._initialize_kv_caches(config)

    def _allocated(self, config: Any, worker: Any, cache: Any) -> None:
        """The cache's layout, and the cache itself."""
        length = config.model_config.max_model_len
        concurrency = requests(config, cache)
        self.out["cache"] = {
            "blocks": cache.num_blocks,
            "groups": [
                dict(spec(group.kv_cache_spec), layers=len(group.layer_names))
                for group in cache.kv_cache_groups
            ],
            "bytes": sum(int(getattr(one, "size", 0)) for one in tensors(cache)),
            "concurrency": None if concurrency is None else round(concurrency, 6),
            "tokens": None if concurrency is None else int(concurrency * length),
            "max_model_len": length,
        }
        self.out["reached"] = "allocation"
        held = self.memory.allocator
        before = held.allocated
        worker.initialize_from_config(cache)
        self.out["cache"]["allocated"] = held.allocated - before
        self.out["cache"]["reserved_in_all"] = held.reserved


def parsed(command_line: list[str], given: dict[str, Any]) -> Any:
    """Engine arguments as `vllm serve` reads them, with those that are given set over them.

    Raises SystemExit, with the parser's words.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    parser = serve_parser()
    words = io.StringIO()
    try:
        with contextlib.redirect_stderr(words):
            read = parser.parse_args(command_line)
    except SystemExit as error:
        raise SystemExit(words.getvalue().strip().splitlines()[-1:] or error.code) from None
    for key, value in given.items():
        setattr(read, key, value)
    return AsyncEngineArgs.from_cli_args(read)


def tensors_of(model: Any, memory: Memory) -> int:
    """Bytes of a model's parameters and buffers, each storage once."""
    sizes: dict[int, int] = {}
    for named in (model.named_parameters, model.named_buffers):
        for _, tensor in named(remove_duplicate=False):
            if is_shape(tensor) and memory.holds(tensor):
                storage = tensor.untyped_storage()
                sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def tensors(cache: Any) -> Any:
    """The tensors of a cache: a list; in 0.8 by the name of the layer."""
    listed = getattr(cache, "kv_cache_tensors", None)
    return cache.tensors.values() if listed is None else listed


def requests(config: Any, cache: Any) -> float | None:
    """Requests of the longest that the cache holds at once; None where the release has no words for
    it (0.8)."""
    if not cache.kv_cache_groups:
        return 0.0
    try:
        from vllm.v1.core.kv_cache_utils import get_max_concurrency_for_kv_cache_config
    except ImportError:
        return None
    return float(get_max_concurrency_for_kv_cache_config(config, cache))


def spec(one: Any) -> dict[str, Any]:
    """A layer's cache: its kind, tokens and bytes of a page, and what those come from."""
    out = {
        "kind": type(one).__name__,
        "block_size": one.block_size,
        "page_bytes": one.page_size_bytes,
    }
    names = (
        "num_kv_heads head_size sliding_window attention_chunk_size dtype shapes dtypes "
        "num_speculative_blocks"
    )
    for name in names.split():
        value = getattr(one, name, None)
        if value is not None:
            out[name] = value if isinstance(value, int) else str(value).replace("torch.", "")
    return out


def specs(layers: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers' caches, alike ones counted together."""
    kinds: dict[str, int] = {}
    for one in layers.values():
        key = json.dumps(spec(one), sort_keys=True)
        kinds[key] = kinds.get(key, 0) + 1
    return [dict(json.loads(key), layers=number) for key, number in kinds.items()]


def backends(config: Any) -> dict[str, int]:
    """Attention backends by name, with the layers that use each."""
    out: dict[str, int] = {}
    for layer in config.compilation_config.static_forward_context.values():
        backend = getattr(layer, "attn_backend", None) or getattr(layer, "backend", None)
        name = getattr(backend, "get_name", None)
        if callable(name):
            out[str(name())] = out.get(str(name()), 0) + 1
    return out


_RESOLVED = {
    "model_config": "dtype quantization max_model_len runner_type architecture enforce_eager",
    "scheduler_config": (
        "max_num_seqs max_num_batched_tokens enable_chunked_prefill chunked_prefill_enabled "
        "async_scheduling disable_hybrid_kv_cache_manager max_num_encoder_input_tokens"
    ),
    "cache_config": (
        "block_size gpu_memory_utilization cache_dtype enable_prefix_caching mamba_block_size "
        "mamba_page_size_padded mamba_cache_mode mamba_cache_dtype mamba_ssm_cache_dtype "
        "kv_cache_memory_bytes"
    ),
    "parallel_config": (
        "tensor_parallel_size pipeline_parallel_size data_parallel_size enable_expert_parallel "
        "decode_context_parallel_size all2all_backend"
    ),
    "compilation_config": "cudagraph_mode mode level max_cudagraph_capture_size",
}


def resolved(config: Any) -> dict[str, Any]:
    """What the engine made of what it was given, by the engine's own names."""
    out: dict[str, Any] = {}
    for part, names in _RESOLVED.items():
        held = getattr(config, part, None)
        for name in names.split():
            if hasattr(held, name):
                out[name] = facts.plain(getattr(held, name))
    sizes = getattr(config.compilation_config, "cudagraph_capture_sizes", None) or []
    out["cudagraph_sizes"], out["cudagraph_largest"] = len(sizes), max(sizes, default=0)
    if hasattr(config, "use_v2_model_runner"):
        out["use_v2_model_runner"] = facts.plain(config.use_v2_model_runner)
    return out


def prepare() -> str:
    """Import what every case needs. Returns the engine's version."""
    import vllm
    import vllm.engine.arg_utils
    import vllm.v1.engine.core
    import vllm.v1.worker.gpu_worker

    torch.set_num_threads(1)
    return str(vllm.__version__)
