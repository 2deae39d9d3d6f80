"""A driver's library is made without a compiler, and says that there is no device."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

import pytest

from plimsoll_drystart.elf import NO_DEVICE, UnknownMachine, stub, undefined, wanted, write_stub

if TYPE_CHECKING:
    from pathlib import Path

MACHINES = ("x86_64", "aarch64")
NAMES = {"cuInit", "cuDeviceGetCount", "cuCtxGetCurrent"}
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine not in MACHINES,
    reason="the library is made for Linux on x86-64 and aarch64",
)


@linux
def test_the_loader_takes_the_library_and_every_function_says_that_there_is_no_device(
    tmp_path: Path,
) -> None:
    path = tmp_path / "libcuda.so.1"
    write_stub(path, NAMES)
    library = ctypes.CDLL(str(path))
    assert [getattr(library, name)(0) for name in sorted(NAMES)] == [NO_DEVICE] * 3
    with pytest.raises(AttributeError):
        _ = library.cuMemAlloc


@pytest.mark.parametrize("machine", MACHINES)
def test_the_same_names_give_the_same_bytes(machine: str) -> None:
    assert stub(NAMES, machine) == stub({*list(NAMES)[::-1]}, machine)
    assert stub(set(), machine)[:4] == b"\x7fELF"


def test_of_a_machine_that_is_not_known_it_says_which_are() -> None:
    with pytest.raises(UnknownMachine, match=r"no code for riscv64.*x86_64, aarch64"):
        stub(NAMES, "riscv64")


def test_what_is_no_library_wants_nothing_of_the_driver(tmp_path: Path) -> None:
    for name, content in (("a.so", b""), ("b.so", b"\x7fELF"), ("c.so.1", b"text" * 100)):
        (tmp_path / name).write_bytes(content)
    assert wanted(tmp_path) == set()
    assert undefined(tmp_path / "c.so.1") == set()
