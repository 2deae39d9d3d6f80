"""A libcuda.so.1 for a machine without a driver: every function answers "no device".

The engine's compiled extensions are linked against the driver's library and register operators,
schemas and shape functions when they load, which needs no device. Neither a compiler nor binutils
are needed here: symbols are read from the extensions, and the library is written byte by byte
(ELF-64, little endian; System V ABI, chapters 4 and 5).
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE."""
SONAME = "libcuda.so.1"
_PAGE = 0x1000
_CODE = {
    "x86_64": (62, b"\xb8" + struct.pack("<I", NO_DEVICE) + b"\xc3"),  # mov eax, 100; ret
    "aarch64": (
        183,
        struct.pack("<II", 0x52800000 | NO_DEVICE << 5, 0xD65F03C0),
    ),  # mov w0, 100; ret
}
_DYNSYM, _STRTAB_ENTRY = 11, "<IBBHQQ"


class UnknownMachine(Exception):
    """No code is known for this processor."""


def undefined(path: Path) -> set[str]:
    """Names of the driver's functions that a shared object wants; none for what is no ELF-64."""
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            return set()
        offset, size, count = _sections(head)
        file.seek(offset)
        table = file.read(size * count)
        headers = [
            struct.unpack_from("<IIQQQQIIQQ", table, at * size) for at in range(len(table) // size)
        ]
        names: set[str] = set()
        for header in headers:
            if header[1] != _DYNSYM or header[6] >= len(headers):
                continue
            strings = headers[header[6]]
            file.seek(strings[4])
            text = file.read(strings[5])
            file.seek(header[4])
            symbols = file.read(header[5])
            for at in range(0, len(symbols) - 23, 24):
                name, _, _, section, _, _ = struct.unpack_from(_STRTAB_ENTRY, symbols, at)
                if section == 0 and text[name : name + 2] == b"cu":
                    names.add(text[name : text.index(b"\0", name)].decode("ascii", "replace"))
        return {name for name in names if name[2:3].isupper()}


def _sections(head: bytes) -> tuple[int, int, int]:
    offset = struct.unpack_from("<Q", head, 40)[0]
    size, count = struct.unpack_from("<HH", head, 58)
    return offset, size or 64, count


ALWAYS = frozenset({"cuCtxGetCurrent", "cuDeviceGetCount", "cuDriverGetVersion", "cuInit"})
"""What is looked up by name when it is needed, so that no table of symbols says it."""


def wanted(folder: Path) -> set[str]:
    """What the extensions below a folder want of the driver; NVIDIA's own ask at run time."""
    found: set[str] = set()
    for place, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if one not in ("nvidia", "__pycache__")]
        for name in files:
            if ".so" in name:
                found |= undefined(Path(place, name))
    return found


def write_stub(path: Path, names: set[str], machine: str = "") -> None:
    """Write a shared object in which each name is a function that returns `NO_DEVICE`.

    Raises `UnknownMachine` on a processor that has no row in `_CODE`.
    """
    path.write_bytes(stub(names, machine or os.uname().machine))


def stub(names: set[str], machine: str) -> bytes:
    """The bytes of that shared object: headers, hash, symbols, strings, code, dynamic part."""
    if machine not in _CODE:
        raise UnknownMachine(f"no code for {machine} on {sys.platform}; known: {', '.join(_CODE)}")
    number, code = _CODE[machine]
    ordered = sorted(names)
    strings = b"\0" + b"".join(n.encode() + b"\0" for n in [SONAME, *ordered])
    hashed = 64 + 4 * 56
    buckets = struct.pack("<II", 1, len(ordered) + 1) + struct.pack("<I", 1 if ordered else 0)
    chain = [0] + [at + 1 for at in range(1, len(ordered))] + [0] * bool(ordered)
    table = buckets + struct.pack(f"<{len(chain)}I", *chain)
    symbols_at = -(-(hashed + len(table)) // 8) * 8
    strings_at = symbols_at + 24 * (len(ordered) + 1)
    code_at = -(-(strings_at + len(strings)) // 16) * 16
    symbols, name_at = bytes(24), 1 + len(SONAME) + 1
    for name in ordered:
        symbols += struct.pack(_STRTAB_ENTRY, name_at, 0x12, 0, 1, code_at, len(code))
        name_at += len(name) + 1
    dynamic_at = -(-(code_at + len(code)) // _PAGE) * _PAGE
    tags = (
        (14, 1),
        (4, hashed),
        (5, strings_at),
        (6, symbols_at),
        (10, len(strings)),
        (11, 24),
        (0, 0),
    )
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    segments = (
        _segment(1, 5, 0, code_at + len(code)),
        _segment(1, 6, dynamic_at, len(dynamic)),
        _segment(2, 6, dynamic_at, len(dynamic)),
        _segment(0x6474E551, 6, 0, 0),
    )
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, number, 1, 0, 64, 0, 0, 64, 56, 4, 64, 0, 0)
    out = bytearray(dynamic_at + len(dynamic))
    for at, part in (
        (0, head + b"".join(segments)),
        (hashed, table),
        (symbols_at, symbols),
        (strings_at, strings),
        (code_at, code),
        (dynamic_at, dynamic),
    ):
        out[at : at + len(part)] = part
    return bytes(out)


def _segment(kind: int, flags: int, at: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, _PAGE)
