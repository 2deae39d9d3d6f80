"""The GPU for torch: "cuda" tensors are meta tensors, with shapes and storages and without bytes.

    made on "cuda"    made on "meta", and its storage given a block (`memory.Memory`)
    read back         zeros, but for small tensors that came from main memory
    kernels           their shape function; where there is none, they write in place or are unknown
    Python operators  the body that a GPU would run, so that what it allocates is seen
    sizes by data     (nonzero, masks) the largest that they can be

Meta tensors and no FakeTensor: parameters of engines are subclasses made of their data, and a
FakeTensor would be lost in them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from plimsoll_drystart.card import MIB, Card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from plimsoll_drystart.memory import Memory

aten = torch.ops.aten
META, CPU, GPU = torch.device("meta"), torch.device("cpu"), torch.device("cuda", 0)
_KEYS, _KEY = torch._C._dispatch_keys, torch._C.DispatchKey
_MATMULS = {
    getattr(aten, name)
    for name in ("mm", "addmm", "bmm", "baddbmm", "_addmm_activation", "_scaled_mm", "linear")
    if hasattr(aten, name)
}
_HUGE = 1 << 30
"""Elements of a tensor in main memory that is only its shape here."""
_CUBLAS = {True: 32 * MIB, False: 8519680}
"""cuBLAS' workspace in torch's allocator, from Hopper on and before: at::cuda's parse of
CUBLAS_WORKSPACE_CONFIG (:4096:2:16:8, and 32 MiB for capability 9)."""


def is_shape(value: Any) -> bool:
    """Whether a value is a meta tensor: on the GPU that is not there, or asked for as such."""
    return isinstance(value, torch.Tensor) and bool(_KEYS(value).has(_KEY.Meta))


def in_main_memory(value: Any) -> bool:
    """Whether a value is a tensor with bytes."""
    return isinstance(value, torch.Tensor) and bool(_KEYS(value).has(_KEY.CPU))


def _any_in_main_memory(values: Iterable[Any]) -> bool:
    return any(
        in_main_memory(one) or (isinstance(one, list | tuple) and _any_in_main_memory(one))
        for one in values
    )


def like(tensor: Any, dtype: Any = None) -> Any:
    """A tensor on the GPU of the same shape and strides."""
    return torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=dtype or tensor.dtype, device="meta"
    )


class GPU0(TorchDispatchMode):
    """Turns every operation on the GPU into one on shapes. busy: how deep in shape functions it is.

    bodies: Python bodies of operators by qualified name. results: what a kernel of which only the
    compiled code knows the result gives back, by qualified name or namespace prefix.
    unseen: kernels that ran without a shape function, and how often: what they hold is not known.
    """

    busy = 0

    def __init__(self, card: Card, memory: Memory) -> None:
        super().__init__()
        self.card, self.memory = card, memory
        self.bodies: dict[str, Callable[..., Any]] = {}
        self.results: dict[str, Callable[..., Any]] = {}
        self.unseen: dict[str, int] = {}
        self._workspace: Any = None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func.namespace == "aten" and func._can_decompose():
            with self:  # inference mode hands composite operators over whole
                whole = func.decompose(*args, **given)
            if whole is not NotImplemented:
                return whole
        touched = self._any_on_gpu(args) or self._any_on_gpu(given.values())
        if not touched and func.namespace not in ("aten", "prims"):  # kernels run on a GPU alone
            touched = any(map(is_shape, args))
        device = given.get("device")
        target = torch.device(device).type if device is not None else None
        if given.get("pin_memory"):
            given["pin_memory"] = False
        if not touched and target != "cuda":
            if "view_from_cpu_tensor" in func._schema.name:
                return like(args[0])  # main memory that the GPU reads: no block
            if func is aten.empty.memory_format and math.prod(args[0]) > _HUGE:
                given["device"] = META  # made to be asked for its strides; no such memory is here
            return func(*args, **given)
        answer = self._read_back(func, args, given, target)
        if answer is not NotImplemented:
            return answer
        if target == "meta":  # a shape that is wanted as such holds nothing
            copied = func is aten._to_copy.default
            return like(args[0], given.get("dtype")) if copied else self._run(func, args, given)
        if func is aten._to_copy.default:
            answer = self._moved(args[0], given, touched)
            if answer is not NotImplemented:
                return answer
        if target == "cuda":
            given["device"] = META
        given = {k: v for k, v in given.items() if not isinstance(v, torch._C.Generator)}
        args = tuple(None if isinstance(one, torch._C.Generator) else one for one in args)
        if touched and (_any_in_main_memory(args) or _any_in_main_memory(given.values())):
            args, given = pytree.tree_map(_lifted, (args, given))
        return self._kept(self._run(func, args, given))

    def on_gpu(self, value: Any) -> bool:
        """Whether a value is a tensor on the GPU."""
        return is_shape(value) and self.memory.holds(value)

    def _any_on_gpu(self, values: Iterable[Any]) -> bool:
        for one in values:
            if isinstance(one, torch.Tensor):
                if self.on_gpu(one):
                    return True
            elif isinstance(one, list | tuple) and self._any_on_gpu(one):
                return True
        return False

    def _read_back(
        self, func: Any, args: tuple[Any, ...], given: dict[str, Any], target: str | None
    ) -> Any:
        """What the host sees of the GPU's values."""
        if func in (aten._local_scalar_dense.default, aten.item.default):
            known = self.memory.recall(args[0])
            if known is not None:
                return known.item()
            return torch.zeros((), dtype=args[0].dtype).item()
        if func in (aten.equal.default, aten.allclose.default):
            return True
        if func is aten.is_nonzero.default:
            return False
        if func is aten._to_copy.default and target == "cpu" and is_shape(args[0]):
            dtype = given.get("dtype") or args[0].dtype
            known = self.memory.recall(args[0])
            return (
                torch.zeros(args[0].shape, dtype=dtype)
                if known is None
                else known.to(dtype, copy=True)
            )
        if func is aten.copy_.default and in_main_memory(args[0]):
            known = self.memory.recall(args[1])
            if known is not None and known.shape == args[0].shape:
                return args[0].copy_(known)
            return args[0].zero_()
        return NotImplemented

    def _moved(self, tensor: Any, given: dict[str, Any], touched: bool) -> Any:
        """A tensor moved to the GPU, or within it."""
        dtype = given.get("dtype") or tensor.dtype
        if not touched:
            moved = like(tensor, dtype)
            self.memory.hold(moved)
            if in_main_memory(tensor):
                self.memory.remember(moved, tensor)
            return moved
        if dtype == tensor.dtype and given.get("memory_format") in (None, torch.preserve_format):
            return aten.alias.default(tensor)
        return NotImplemented

    def _run(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """The operation on shapes."""
        name = func._schema.name
        if func is aten.index_put_.default:
            return args[0]
        body = self.bodies.get(name)
        if body is not None:
            with self:
                return body(*args, **given)
        if func.overloadpacket in _MATMULS and self._workspace is None:
            self._workspace = torch.empty(
                (_CUBLAS[self.card.capability >= (9, 0)],), dtype=torch.uint8, device="meta"
            )
            self.memory.hold(self._workspace)
        largest = _LARGEST.get(func)
        if largest is not None:
            found = largest(*args, **given)
            if found is not NotImplemented:
                return found
        if func.namespace not in ("aten", "prims"):
            args = tuple(_scalars(func, args))
        GPU0.busy += 1
        try:
            return func(*args, **given)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            return self._without_shapes(func, args, given, error)
        finally:
            GPU0.busy -= 1

    def _without_shapes(
        self, func: Any, args: tuple[Any, ...], given: dict[str, Any], error: Exception
    ) -> Any:
        """A kernel that has no shape function."""
        if func.namespace in ("aten", "prims") and not isinstance(error, NotImplementedError):
            raise error
        schema = func._schema
        self.unseen[schema.name] = self.unseen.get(schema.name, 0) + 1
        for prefix, result in self.results.items():
            if schema.name.startswith(prefix):
                return result(
                    dict(zip([a.name for a in schema.arguments], args, strict=False)) | given
                )
        if not schema.returns:
            return None
        written = [
            args[at] if at < len(args) else given.get(argument.name)
            for at, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        if written and len(schema.returns) == 1:
            return written[0]
        raise NoShape(f"{schema.name} has no shape function: {error}") from error

    def _kept(self, result: Any) -> Any:
        if isinstance(result, torch.Tensor):
            if is_shape(result):
                self.memory.hold(result)
        elif isinstance(result, list | tuple):
            for one in result:
                self._kept(one)
        return result


class NoShape(Exception):
    """A kernel gives back a tensor, and only its compiled code knows of what shape."""


def _lifted(value: Any) -> Any:
    """A tensor in main memory beside one on the GPU, as it would be there; scalars stay."""
    return like(value) if in_main_memory(value) and value.dim() else value


def _scalars(func: Any, args: Sequence[Any]) -> list[Any]:
    """Arguments of a compiled operator: where it wants a number, a number."""
    out = list(args)
    for at, (value, argument) in enumerate(zip(args, func._schema.arguments, strict=False)):
        if isinstance(value, torch.Tensor) and "Tensor" not in str(argument.type):
            out[at] = 0 if is_shape(value) else value.item()
    return out


def _flat(number: int, dtype: Any) -> Any:
    return torch.empty((number,), dtype=dtype, device="meta")


def _unique(tensor: Any, *_: Any, **__: Any) -> Any:
    size = tensor.numel()
    return _flat(size, tensor.dtype), _flat(size, torch.int64), _flat(size, torch.int64)


def _masked(tensor: Any, indices: Sequence[Any]) -> Any:
    first: Any = next((one for one in indices if one is not None), None)
    if not is_shape(first) or first.dtype not in (torch.bool, torch.uint8):
        return NotImplemented
    rest = tensor.shape[first.dim() :]
    return torch.empty((first.numel(), *rest), dtype=tensor.dtype, device="meta")


def _nonzero(tensor: Any) -> Any:
    size = (tensor.numel(), max(1, tensor.dim()))
    return torch.empty(size, dtype=torch.int64, device="meta")


_LARGEST: dict[Any, Callable[..., Any]] = {
    aten.nonzero.default: _nonzero,
    aten.masked_select.default: lambda tensor, _: _flat(tensor.numel(), tensor.dtype),
    aten._unique2.default: _unique,
    aten.unique_dim.default: _unique,
    aten.unique_consecutive.default: _unique,
    aten.repeat_interleave.Tensor: lambda t, output_size=None: _flat(
        output_size or t.numel(), torch.int64
    ),
    aten.index.Tensor: _masked,
    aten.bincount.default: lambda t, *_, minlength=0: _flat(max(minlength, 1), torch.int64),
}
"""Results whose size depends on values: the largest that they can be."""
