"""torch's own questions about the GPU, answered: torch.cuda, torch.accelerator, tensors, triton."""

from __future__ import annotations

import contextlib
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import _get_current_function_mode_stack

from plimsoll_drystart.card import Card, properties
from plimsoll_drystart.device import CPU, GPU, GPU0, in_main_memory, is_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from plimsoll_drystart.memory import Memory


class Idle:
    """A stream, an event, a graph, a compiled library: does nothing, whatever it is asked."""

    device, device_index, device_type = GPU, 0, 1
    cuda_stream = stream_id = 0
    priority = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._nothing

    def _nothing(self, *_: Any, **__: Any) -> Any:
        return None

    def query(self) -> bool:
        return True

    def elapsed_time(self, *_: Any) -> float:
        return 0.0

    def __enter__(self) -> Idle:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def __call__(self, *_: Any, **__: Any) -> Idle:
        return self


class Silent(Idle):
    """A library made of source: each function of it can be had and called, and gives one on."""

    kernel_id = 0

    def _nothing(self, *_: Any, **__: Any) -> Any:
        return self


STREAM = Idle()


def nothing(*_: Any, **__: Any) -> None:
    """In place of what only a GPU can do."""


def say(value: Any) -> Callable[..., Any]:
    """A function that says one thing."""
    return lambda *_, **__: value


_SILENT = [
    "empty_cache",
    "init",
    "ipc_collect",
    "manual_seed",
    "manual_seed_all",
    "reset_accumulated_memory_stats",
    "set_device",
    "set_device_idx",
    "set_device_index",
    "set_per_process_memory_fraction",
    "set_stream",
    "synchronize",
]


def install(card: Card, memory: Memory) -> None:
    """Let torch answer as if the GPU were there: once, before the engine is imported."""
    held = memory.allocator
    cuda: Any = torch.cuda
    accelerator: Any = getattr(torch, "accelerator", SimpleNamespace())
    answers: dict[str, Any] = dict.fromkeys(_SILENT, nothing)
    answers |= {
        "is_available": say(True),
        "is_initialized": say(True),
        "device_count": lambda *_: card.count,
        "_device_count_nvml": lambda *_: card.count,
        "current_device": say(0),
        "current_device_index": say(0),
        "current_device_idx": say(0),
        "current_accelerator": say(torch.device("cuda")),
        "get_device_name": lambda *_: card.name,
        "get_device_properties": lambda *_: properties(card),
        "get_arch_list": say([f"sm_{card.number}"]),
        "is_bf16_supported": say(card.capability >= (8, 0)),
        "is_current_stream_capturing": say(False),
        "current_stream": say(STREAM),
        "default_stream": say(STREAM),
        "graph_pool_handle": say((0, 0)),
        "stream": say(contextlib.nullcontext()),
        "device": say(contextlib.nullcontext()),
        "device_index": say(contextlib.nullcontext()),
        "empty_cache": lambda *_: held.empty_cache(),
        "memory_stats": memory.statistics,
        "memory_allocated": lambda *_: held.allocated,
        "max_memory_allocated": lambda *_: held.peak,
        "memory_reserved": lambda *_: held.reserved,
        "max_memory_reserved": lambda *_: held.most_reserved,
        "reset_peak_memory_stats": lambda *_: held.reset_peak(),
        "mem_get_info": lambda *_: _free(card, memory),
        "get_memory_info": lambda *_: _free(card, memory),
    }
    for name, answer in answers.items():
        for module in (cuda, cuda.memory, accelerator):
            if hasattr(module, name):
                setattr(module, name, answer)
    cuda.get_device_capability = say(card.capability)
    if hasattr(accelerator, "get_device_capability"):
        accelerator.get_device_capability = say({})
    cuda._lazy_init = nothing
    cuda.Stream = cuda.Event = cuda.CUDAGraph = Idle
    for name in ("Event", "Stream"):
        setattr(torch, name, Idle)
    core: Any = torch._C
    core._cuda_getDeviceCount = lambda *_: card.count
    core._cuda_getDeviceProperties = lambda *_: properties(card)
    core._accelerator_getAllocatorSettings = say("")
    core._accelerator_setAllocatorSettings = lambda text: held.limit(_limit(text))
    cuda.memory._set_allocator_settings = lambda text: held.limit(_limit(text))
    cuda.memory._snapshot = say({"allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": ""}})
    torch.compile = lambda model=None, **_: model if model is not None else (lambda f: f)
    _tensors(memory)
    _generators(cuda, card)
    torch.get_default_device = _default_device
    logging.Manager._clear_cache = nothing  # type: ignore[attr-defined]  # asked 300 times a case
    for name in ("tensor", "as_tensor", "asarray"):
        setattr(torch, name, _made_in_main_memory(getattr(torch, name)))


def _limit(text: str) -> int | None:
    """max_split_size_mb of the allocator's settings."""
    for part in text.split(","):
        key, _, value = part.partition(":")
        if key.strip() == "max_split_size_mb" and value.strip().isdigit():
            return int(value)
    return None


def _free(card: Card, memory: Memory) -> tuple[int, int]:
    return card.cuda_bytes - memory.outside - memory.allocator.reserved, card.cuda_bytes


def _tensors(memory: Memory) -> None:
    """Meta tensors say that they are on the GPU, but to shape functions."""
    tensor: Any = torch.Tensor
    real = {name: getattr(tensor, name) for name in ("device", "is_cuda", "data_ptr", "to")}

    def on_gpu(t: Any) -> bool:
        return is_shape(t) and memory.holds(t)

    tensor.device = property(
        lambda t: GPU if not GPU0.busy and on_gpu(t) else real["device"].__get__(t)
    )
    tensor.is_cuda = property(lambda t: on_gpu(t) or bool(real["is_cuda"].__get__(t)))
    tensor.is_meta = property(lambda t: is_shape(t) and (GPU0.busy > 0 or not memory.holds(t)))
    tensor.data_ptr = lambda t: memory.address(t) if on_gpu(t) else real["data_ptr"](t)
    tensor.get_device = lambda t: 0 if on_gpu(t) else -1
    tensor.pin_memory = lambda t, *_: t
    tensor.is_pinned = say(False)
    tensor.record_stream = nothing
    tensor.cuda = lambda t, *_, **__: t.to(GPU)

    def to(t: Any, *args: Any, **given: Any) -> Any:
        if "device" in given:
            given["device"] = _numbered(given["device"])
        if args:
            args = (_numbered(args[0]), *args[1:])
        wanted = given.get("device", args[0] if args else None)
        if (
            isinstance(wanted, str | torch.device)
            and str(wanted) == "meta"
            and is_shape(t)
            and not GPU0.busy
        ):
            return torch.empty_strided(
                t.size(), t.stride(), dtype=given.get("dtype") or t.dtype, device="meta"
            )
        return real["to"](t, *args, **given)

    tensor.to = to


def _numbered(device: Any) -> Any:
    """A device of kind "cuda" with its number: without one, torch asks the driver."""
    if isinstance(device, str) and device.startswith("cuda"):
        return GPU
    if isinstance(device, torch.device) and device.type == "cuda":
        return GPU
    return device


def _generators(cuda: Any, card: Card) -> None:
    """Generators of the GPU are ones of main memory."""
    real = torch.Generator

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Generator(metaclass=Kind):
        def __new__(cls, device: Any = "cpu") -> Any:
            return real("cpu")

    torch.Generator = Generator
    cuda.default_generators = tuple(real("cpu") for _ in range(card.count))


def _default_device() -> Any:
    """The device of the innermost ``with torch.device(...)``."""
    modes = reversed(_get_current_function_mode_stack())
    return next((mode.device for mode in modes if hasattr(mode, "device")), CPU)


def _made_in_main_memory(real: Any) -> Any:
    """torch.tensor and its like ask the driver before they dispatch: make it here, then move it."""

    def make(data: Any, *args: Any, device: Any = None, **given: Any) -> Any:
        if device is None:
            if isinstance(data, torch.Tensor):
                return real(data, *args, **given)
            device = _default_device()
        place = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        given.pop("pin_memory", None)
        if place.type == "cpu":
            return real(data, *args, device="cpu", **given)
        if is_shape(data):
            return data.to(given["dtype"]) if given.get("dtype") else data
        made = real(data, *args, device="cpu", **given)
        return made.to(place) if in_main_memory(made) else made

    return make


def silence_triton(card: Card) -> None:
    """Triton's kernels do nothing; what their callers allocate is counted all the same."""
    try:
        import triton
        from triton.runtime import autotuner, jit
    except ImportError:
        return
    for owner in (jit.JITFunction, autotuner.Autotuner, autotuner.Heuristics):
        owner.run = nothing

    figures = {
        "multiprocessor_count": card.processors,
        "max_shared_mem": card.shared_memory,
        "max_num_regs": 65536,
        "warpSize": 32,
        "sm_clock_rate": 1_980_000,
        "mem_clock_rate": 2_619_000,
        "mem_bus_width": 5120,
    }

    class Driver(Idle):
        binary_ext = "cubin"
        utils = SimpleNamespace(get_device_properties=say(figures))

        def get_current_target(self) -> Any:
            from triton.backends.compiler import GPUTarget

            return GPUTarget("cuda", card.number, 32)

        def get_current_device(self) -> int:
            return 0

        def get_active_torch_device(self) -> Any:
            return GPU

    triton.runtime.driver.set_active(Driver())
