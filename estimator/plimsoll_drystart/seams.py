"""Where the harness holds on to an engine, and the releases in which each place was seen.

Everything of an engine's inside that is replaced is in this file: no second process, no network, no
NCCL, no compiler. A row that a release in its range lacks is reported in the facts (`moved`), since
then nothing holds there any more, and what follows may be untrue.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import re
import sys
import time
from dataclasses import dataclass
from importlib.machinery import PathFinder
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from plimsoll_drystart.card import Card, nvml, nvml_module
from plimsoll_drystart.device import GPU0, like
from plimsoll_drystart.torch_api import STREAM, Silent, nothing, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec


@dataclass(frozen=True)
class Seam:
    """One place. since, until: the first and the last minor release that has it; until "" where the
    newest that was seen has it. module "a|b": the first of both that is there."""

    module: str
    name: str
    value: Any
    since: str
    until: str = ""

    def expected(self, release: tuple[int, int]) -> bool:
        """Whether that release should have it."""
        return minor(self.since) <= release and (not self.until or release <= minor(self.until))

    def set(self) -> bool:
        """Replace it; False if it is not there."""
        done = False
        for module in self.module.split("|"):
            try:
                owner: Any = importlib.import_module(module)
            except ImportError:
                continue
            *path, last = self.name.split(".")
            for part in path:
                owner = getattr(owner, part, None)
            if owner is not None and hasattr(owner, last):
                setattr(owner, last, self.value)
                done = True
        return done


def minor(version: str) -> tuple[int, int]:
    """Major and minor number of a version; (0, 0) where none is readable."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class _Inside(importlib.abc.MetaPathFinder):
    """Gives NVML's Python module that vLLM carries inside our answers as soon as it is there.

    Seen in 0.8.5 to 0.33.0. In some releases (0.24, 0.27) `import vllm` alone asks it.
    """

    name = "vllm.third_party.pynvml"

    def __init__(self, card: Card) -> None:
        self.card = card

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The module's own spec, with a loader that answers after the module's own."""
        if fullname != self.name:
            return None
        found = PathFinder.find_spec(fullname, path)
        loader: Any = found and found.loader
        if found is None or loader is None:
            return None
        real = loader.exec_module

        def exec_module(module: Any) -> None:
            real(module)
            everything = nvml_module(self.card)
            for name in dir(module):
                if name.startswith("nvml") and callable(getattr(module, name)):
                    setattr(module, name, getattr(everything, name))
            vars(module).update(nvml(self.card))

        loader.exec_module = exec_module
        return found


def before_import(card: Card) -> None:
    """What must hold before the engine finds out on what it runs: NVML's answers.

    Some ask a module of vLLM's own, others `pynvml`.
    """
    sys.modules["pynvml"] = nvml_module(card)
    sys.meta_path.insert(0, _Inside(card))


def no_second_process() -> None:
    """Every process group is torch's fake one; what would be exchanged is not."""
    import torch.distributed as dist

    real = dist.new_group
    names = (
        "all_gather all_gather_into_tensor all_gather_object all_reduce all_to_all_single barrier "
        "broadcast gather irecv isend monitored_barrier recv reduce_scatter reduce_scatter_tensor "
        "send _all_gather_base"
    )
    core: Any = dist.distributed_c10d
    for name in names.split():
        if hasattr(dist, name) or hasattr(core, name):
            setattr(dist, name, say(STREAM))
            setattr(core, name, say(STREAM))

    def one_name(values: list[Any], value: Any, group: Any = None) -> None:
        values[:] = [value] * len(values)

    setattr(dist, "all_gather_object", one_name)  # noqa: B010

    def group(ranks: Any = None, *_: Any, **__: Any) -> Any:
        return real(ranks, backend="fake")

    setattr(dist, "new_group", group)  # noqa: B010
    core.new_group = group


def start_group(rank: int, world: int) -> None:
    """The process group of that many ranks, of which one is here."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())


_PARSERS = ("vllm.entrypoints.common.cli_args", "vllm.entrypoints.openai.cli_args")
"""Where the parser of `vllm serve` is: seen in 0.33.0, and in 0.19.1."""
_READERS = ("vllm.utils.argparse_utils", "vllm.utils")
"""Where its class is: seen in 0.19.1 and 0.33.0, and in 0.10.2."""


def first_of(modules: tuple[str, ...], name: str) -> Any:
    """An attribute of the first of these modules that has it. Raises ImportError for none."""
    for module in modules:
        with contextlib.suppress(ImportError):
            found = getattr(importlib.import_module(module), name, None)
            if found is not None:
                return found
    raise ImportError(f"no {name} in {' or '.join(modules)}: this release has moved it")


def serve_parser() -> Any:
    """The engine's own parser of the flags of `vllm serve`."""
    return first_of(_PARSERS, "make_arg_parser")(first_of(_READERS, "FlexibleArgumentParser")())


class Bodies:
    """Collects the Python bodies of operators while an engine registers them."""

    def __init__(self, into: dict[str, Callable[..., Any]]) -> None:
        self.into = into
        library: Any = torch.library.Library
        self._real = library.impl
        collector = self

        def impl(this: Any, op_name: Any, fn: Any, dispatch_key: str = "", **given: Any) -> Any:
            collector.note(this.ns, op_name, fn, dispatch_key)
            return collector._real(this, op_name, fn, dispatch_key, **given)

        library.impl = impl

    def note(self, space: str, name: Any, body: Any, key: str) -> None:
        """Keep a body that a GPU would run."""
        text = name if isinstance(name, str) else name._schema.name
        full = text if "::" in text else f"{space}::{text}"
        if callable(body) and space != "aten" and key in ("", "CUDA", "CompositeExplicitAutograd"):
            self.into[full.split(".")[0]] = body


def _attention(given: dict[str, Any]) -> Any:
    """Flash attention: the output, and one float per head and token."""
    query = given["q"]
    out = next((given[n] for n in ("out", "out_") if given.get(n) is not None), None)
    out = like(query) if out is None else out
    sums = torch.empty((query.shape[-2], query.shape[0]), dtype=torch.float32, device="meta")
    return [out, sums]


def _attention3(given: dict[str, Any]) -> Any:
    empty = torch.empty((0,), device="meta")
    return [*_attention(given), empty, empty]


def _scales(card: Card) -> Callable[[dict[str, Any]], Any]:
    def scales(given: dict[str, Any]) -> Any:
        """DeepGEMM's scales: kept on Hopper; on Blackwell four exponents in one int32."""
        held, rows, width = given["sf"], given["mn"], given["k"]
        if card.capability[0] < 10:
            return held
        packed = (width + 511) // 512
        return torch.empty((*held.shape[:-2], rows, packed), dtype=torch.int32, device="meta")

    return scales


def _chosen(given: dict[str, Any]) -> Any:
    """Experts chosen by group: their weights and their numbers, for each token."""
    size = (given["scores"].shape[0], given["topk"])
    weights = torch.empty(size, dtype=torch.float32, device="meta")
    return weights, torch.empty(size, dtype=torch.int32, device="meta")


def _multiplied(given: dict[str, Any]) -> Any:
    """Experts in 4 bits by Marlin: what it was given to write to, else a row for each choice."""
    out = next((given[n] for n in ("c_or_none", "output") if given.get(n) is not None), None)
    if out is not None:
        return out
    size = (given["size_m"] * given["top_k"], given["size_n"])
    return torch.empty(size, dtype=given["a"].dtype, device="meta")


def results(card: Card) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """What kernels without a shape function give back, by the start of their names."""
    return {
        "_vllm_fa3_C::": _attention3,
        "_vllm_fa2_C::": _attention,
        "_moe_C::grouped_topk": _chosen,
        "_moe_C::moe_wna16_marlin_gemm": _multiplied,
        "deep_gemm::transform_sf_into_required_layout": _scales(card),
    }


class _Figures(SimpleNamespace):
    """Figures of a GPU by which kernels are chosen; those that are not said are 1."""

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        return 1


_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "experts")


def _all_linears(config: Any, *_: Any, **__: Any) -> None:
    """Say that the linears of attention and MLP are quantized, as in published checkpoints."""
    config.modules_in_block_to_quantize = config.modules_in_block_to_quantize or list(_LINEARS)


def table(card: Card) -> tuple[Seam, ...]:
    """vLLM's seams. Seen: 0.10.2, 0.19.1 and 0.33.0, as far as since and until say."""
    humming = _Figures(
        index=0,
        name=card.name,
        is_ppu=False,
        sm_count=card.processors,
        max_threads_per_block=1024,
        max_threads_per_sm=2048,
        max_registers_per_sm=65536,
        sm_major=card.capability[0],
        sm_minor=card.capability[1],
        sm_version=card.number,
        max_smem_size=card.shared_memory,
        l2_cache_size=50 << 20,
    )
    humming_library = SimpleNamespace(_DeviceInfo=say(humming))
    base = "vllm.model_executor.model_loader"
    jit = "flashinfer.jit"
    fetched = f"{jit}.cubin_loader|{jit}.fused_moe|{jit}.attention.modules|{jit}.gemm.core"
    launch = "humming.ops.gemm|humming.ops.launcher"
    begin = "humming.ops.utils|humming.ops.gemm|humming.ops.launcher"
    communicator = classmethod(lambda cls: "plimsoll_drystart.communicator.Communicator")

    def launched(*_: Any, outputs: Any = None, inputs: Any = None, **__: Any) -> Any:
        return inputs if outputs is None else outputs

    def supports(least: int, below: int = 1 << 30) -> Callable[[int], bool]:
        return lambda capability: least <= capability < below

    ops = "vllm._custom_ops"
    gptq = "vllm.model_executor.layers.quantization."
    state = "vllm.distributed.parallel_state"
    return (
        # No second process: the registry looks at a model's class in one, groups have a queue.
        Seam("vllm.model_executor.models.registry", "_run_in_subprocess", lambda f: f(), "0.8"),
        Seam(state, "in_the_same_node_as", lambda pg, *_, **__: [True] * pg.size(), "0.8"),
        Seam(state, "_node_count", say(1), "0.10"),
        Seam(
            "vllm.platforms.cuda",
            "CudaPlatformBase.get_device_communicator_cls",
            communicator,
            "0.8",
        ),
        # No checkpoint: which layers of it GPTQ quantized is read from its files.
        Seam(f"{gptq}gptq", "GPTQConfig.maybe_update_config", _all_linears, "0.11", "0.21"),
        Seam(
            f"{gptq}gptq_marlin",
            "GPTQMarlinConfig.maybe_update_config",
            _all_linears,
            "0.11",
            "0.21",
        ),
        Seam(f"{gptq}auto_gptq", "AutoGPTQConfig.maybe_update_config", _all_linears, "0.22"),
        # No waiting: what a config lacks is not there two seconds later.
        Seam(
            "vllm.transformers_utils.repo_utils|vllm.transformers_utils.config",
            "time",
            SimpleNamespace(**vars(time) | {"sleep": nothing}),
            "0.8",
        ),
        # No bytes: dummy weights need no values.
        Seam(
            f"{base}.weight_utils|{base}.dummy_loader",
            "initialize_dummy_weights",
            nothing,
            "0.8",
            "0.31",
        ),
        Seam(
            f"{base}.weight_utils|{base}.dummy_loader",
            "initialize_single_dummy_weight",
            nothing,
            "0.19",
        ),
        # No compiler, no network: kernels are made or fetched when they are first asked for.
        Seam(fetched, "get_artifact", say(b""), "0.33"),
        Seam(fetched, "get_meta_hash", say("0"), "0.33"),
        Seam("flashinfer.jit.core", "JitSpec.build_and_load", lambda *_, **__: Silent(), "0.11"),
        Seam("flashinfer.sampling", "get_seed_and_offset", say((0, 0)), "0.11"),
        Seam("tilelang.jit", "JITImpl.__call__", lambda *_, **__: Silent(), "0.33"),
        Seam("humming.device", "_get_device_info_extension", say(humming_library), "0.33"),
        Seam("humming.jit.runtime", "KernelRuntime.__new__", lambda *_, **__: Silent(), "0.33"),
        Seam(launch, "launch_kernel", launched, "0.33"),
        Seam(begin, "init_humming_launcher", nothing, "0.33"),
        Seam("humming.ops.gemm", "_should_use_torch_op", say(True), "0.33"),
        # Questions about the GPU that compiled code answers by asking the driver.
        Seam(ops, "cutlass_scaled_mm_supports_fp8", supports(89), "0.8"),
        Seam(ops, "cutlass_scaled_mm_supports_block_fp8", supports(90), "0.8"),
        Seam(ops, "cutlass_scaled_mm_supports_fp4", supports(100), "0.8"),
        Seam(ops, "cutlass_group_gemm_supported", supports(90), "0.9"),
        Seam(ops, "cutlass_sparse_scaled_mm_supported", supports(90, 100), "0.8", "0.18"),
        Seam(
            ops,
            "get_max_shared_memory_per_block_device_attribute",
            lambda *_: card.shared_memory,
            "0.8",
        ),
    )


def after_import(card: Card, device: GPU0, version: str) -> list[str]:
    """Set every seam. Returns those that this release should have and has not."""
    device.results.update(results(card))
    release = minor(version)
    moved = []
    for seam in table(card):
        if not seam.set() and seam.expected(release):
            moved.append(f"{seam.module}:{seam.name}")
    groups: Any = importlib.import_module("vllm.distributed.parallel_state").GroupCoordinator
    real = groups.__init__

    def without_queue(self: Any, *args: Any, **given: Any) -> None:
        if "use_message_queue_broadcaster" in given:
            given["use_message_queue_broadcaster"] = False
        real(self, *args, **given)

    groups.__init__ = without_queue
    return moved
