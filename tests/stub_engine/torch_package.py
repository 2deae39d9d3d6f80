"""As much of torch as the harness asks: tensors without bytes, and whoever stands in dispatch.

What is not here is there all the same, and does nothing.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class Anything:
    """Whatever is asked of it, it gives one of itself."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = Anything()
        setattr(self, name, made)
        return made

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()


class Module(types.ModuleType):
    """A module that has everything."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = Anything()
        setattr(self, name, made)
        return made


class device:
    """A kind of memory, and its number."""

    def __init__(self, kind: Any, index: int | None = None) -> None:
        self.type: str = str(kind).split(":")[0]
        self.index = index

    def __str__(self) -> str:
        return self.type


class Storage:
    """Bytes that are nowhere."""

    def __init__(self, size: int) -> None:
        self._size, self._cdata = size, id(self)

    def nbytes(self) -> int:
        return self._size


class Tensor:
    """A shape of one-byte elements, and the kind of memory that it is in."""

    def __init__(self, size: int, place: Any) -> None:
        self._storage, self._place, self.shape = Storage(size), device(place), (size,)

    device = property(lambda self: self._place)
    is_cuda = property(lambda self: self._place.type == "cuda")

    def untyped_storage(self) -> Storage:
        return self._storage

    def data_ptr(self) -> int:
        return 0

    def to(self, *_: Any, **__: Any) -> Tensor:
        return self


class Generator:
    """Of random numbers: there are none."""

    def __init__(self, *_: Any) -> None:
        pass


class TorchDispatchMode:
    """Whoever enters it is asked about every operation."""

    def __enter__(self) -> TorchDispatchMode:
        MODES.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        MODES.remove(self)


MODES: list[Any] = []


class Keys:
    """By which memory a tensor is dispatched."""

    def __init__(self, tensor: Tensor) -> None:
        self._kind = {"meta": "Meta", "cpu": "CPU"}.get(tensor._place.type, "")

    def has(self, key: str) -> bool:
        return key == self._kind


class Empty(Anything):
    """The one operation: make a tensor."""

    namespace = "aten"
    _schema = types.SimpleNamespace(name="aten::empty", returns=[1], arguments=[])

    def _can_decompose(self) -> bool:
        return False

    def __call__(self, size: int, device: Any = "cpu", **_: Any) -> Tensor:
        return Tensor(size, device)


EMPTY = Empty()


def empty(size: int, device: Any = "cpu", **given: Any) -> Any:
    """A tensor of so many bytes, as whoever stands in dispatch makes it."""
    if MODES:
        return MODES[-1].__torch_dispatch__(EMPTY, (), (size,), {"device": device, **given})
    return EMPTY(size, device=device)


def _module(name: str, **held: Any) -> Any:
    made = sys.modules[name] = Module(name)
    made.__path__ = []
    vars(made).update(held)
    parent, _, last = name.rpartition(".")
    setattr(sys.modules[parent], last, made) if parent else None
    return made


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    made = globals()[name] = Anything()
    return made


class _Key:
    Meta, CPU = "Meta", "CPU"


_C = types.SimpleNamespace(_dispatch_keys=Keys, DispatchKey=_Key, Generator=Generator)


class _Library:
    def impl(self, *_: Any, **__: Any) -> None:
        pass


def _store(*_: Any, **__: Any) -> None:
    pass


for _name in (
    "torch._dynamo", "torch.distributed", "torch.distributed.tensor", "torch.testing",
    "torch.testing._internal", "torch.testing._internal.distributed", "torch.cuda", "torch.utils",
    "torch.utils._pytree", "transformers", "transformers.models", "transformers.models.auto",
):  # fmt: skip
    _module(_name)
_module("torch.testing._internal.distributed.fake_pg", FakeStore=_store)
_module("torch.utils._python_dispatch", TorchDispatchMode=TorchDispatchMode)
_module("torch.overrides", _get_current_function_mode_stack=list)
_module("torch.library", Library=_Library)
