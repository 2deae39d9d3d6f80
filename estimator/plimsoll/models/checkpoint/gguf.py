"""Reads the header of GGUF files: metadata and the table of tensors, and no tensor.

Nothing in a file is believed beyond its limits: a bad file is `Unreadable`. The model is made of
it in `plimsoll.models.checkpoint.gguf_model`.

A file of several parts (``-00001-of-00003.gguf``) is read whole from any of its parts. A file that
ends after its header is good: that is what a range request brings.

The ``gguf`` package is not used to read: it maps whole files, makes numpy arrays for every entry
of a vocabulary (seconds), and refuses a file without its tensors. It writes the files of our tests.

    bytes of a tensor = elements / block x bytes of a block, by its type
    source            https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; types and block
                      sizes: gguf-py/gguf/constants.py of llama.cpp
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from plimsoll.errors import Unreadable
from plimsoll.models.files import MAX_DIMENSIONS, MAX_ELEMENTS, MAX_TENSORS, HeaderTensor

TYPES: Final = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Number in the file: name, elements of a block, bytes of a block."""
BLOCKS: Final = {name: (block, size) for name, block, size in TYPES.values()}
"""Elements and bytes of a block by the type's name."""

MAX_HEADER: Final = 512 << 20
"""Bytes of a header; vocabularies of a quarter of a million words take about ten million."""
_FIRST: Final = 1 << 20
_MAX_ENTRIES: Final = 100_000
_MAX_KEPT: Final = 16_384
"""Entries of an array that are kept; of a longer one (a vocabulary) only the length is."""
_MAX_TEXT: Final = 64 << 20
_SCALARS: Final = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING: Final = 8
_ARRAY: Final = 9
_PART: Final = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")

Fetch = Callable[[int], bytes]
"""Gives the first bytes of a file, at most as many as asked; fewer mean that it ends there."""


@dataclass(frozen=True, slots=True)
class GGUF:
    """The header of a GGUF file, all parts together.

    metadata: key and value; an array of more than 16,384 entries is not in it.
    lengths: entries of every array, kept or not (``tokenizer.ggml.tokens``: the vocabulary).
    tensors: name, shape with the input (``ne0``) first, type and bytes.
    """

    metadata: dict[str, Any]
    lengths: dict[str, int]
    tensors: tuple[HeaderTensor, ...]

    @property
    def architecture(self) -> str:
        """``general.architecture`` (``llama``, ``qwen3moe``); empty if it is missing."""
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        """A text of the metadata; empty if it is missing or something else."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    @property
    def bytes(self) -> int:
        """Bytes of all tensors, without padding between them."""
        return sum(tensor.bytes for tensor in self.tensors)


class _Short(Exception):
    """More of the file is needed."""


def read(path: str | Path) -> GGUF:
    """The header of a GGUF file, or of the file of several parts that it belongs to.

    Raises `Unreadable` for a file that is no GGUF, is cut within its header or lacks a part.
    """
    first = Path(path)
    parts = [first.with_name(name) for name in parts_of(first.name)]
    if len(parts) == 1:
        return read_file(first)
    count = len(parts)
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if missing[3:] else "")
        raise Unreadable(str(first), f"a GGUF file with all of its {count} parts; missing: {some}")
    return joined([read_file(part) for part in parts], str(first))


def parts_of(name: str) -> tuple[str, ...]:
    """The names of all parts of the file that a name belongs to; the name alone if it is one."""
    match = _PART.match(name)
    count = int(match["count"]) if match is not None else 0
    if match is None or not 1 <= count <= 10_000:
        return (name,)
    return tuple(f"{match['stem']}-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1))


def joined(parts: list[GGUF], name: str) -> GGUF:
    """One header out of those of all parts; the first holds the metadata.

    Raises `Unreadable` if a tensor stands in two of them.
    """
    tensors = [tensor for part in parts for tensor in part.tensors]
    seen = {tensor.name for tensor in tensors}
    if len(seen) != len(tensors):
        raise Unreadable(name, "a GGUF file in which every tensor stands once")
    return GGUF(parts[0].metadata, parts[0].lengths, tuple(tensors))


def read_file(path: Path) -> GGUF:
    """The header of one file, even if it is a part of several. Raises `Unreadable`."""
    try:
        with path.open("rb") as file:

            def fetch(size: int) -> bytes:
                file.seek(0)
                return file.read(size)

            return parse(fetch, str(path))
    except OSError as error:
        why = error.strerror or str(error)
        raise Unreadable(str(path), f"a GGUF file that can be read ({why})") from None


def parse(fetch: Fetch, name: str) -> GGUF:
    """The header in a file that is fetched from its start, in ever larger pieces.

    Raises `Unreadable`; name: of the file, for the message.
    """
    size = _FIRST
    while True:
        data = fetch(size)
        try:
            return _Header(data, name).read()
        except _Short:
            if len(data) < size:
                raise Unreadable(
                    name, "a GGUF file with its whole header: this one is cut"
                ) from None
            if size >= MAX_HEADER:
                raise Unreadable(
                    name, f"a GGUF file with a header below {MAX_HEADER} bytes"
                ) from None
            size *= 4


class _Header:
    """A header in memory, read from front to back."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name, self._at = data, name, 0
        self._order, self._wide = "<", True

    def read(self) -> GGUF:
        """The whole header. Raises `_Short` if it goes on behind the data."""
        data = self._data
        if len(data) < 8:
            if data and not b"GGUF".startswith(data[:4]):
                raise self._wrong("a GGUF file")
            raise _Short
        if data[:4] != b"GGUF":
            raise self._wrong("a GGUF file, which begins with the letters GGUF")
        self._at = 4
        version = self._scalar("I")
        if version & 0xFFFF == 0:
            self._order, version = ">", int.from_bytes(data[4:8], "big")
        if version not in (1, 2, 3):
            raise self._wrong(f"a GGUF file of version 1, 2 or 3, not {version}")
        self._wide = version > 1
        tensors, entries = self._size(), self._size()
        if tensors > MAX_TENSORS or entries > _MAX_ENTRIES:
            raise self._wrong(
                f"a GGUF file with at most {MAX_TENSORS} tensors and {_MAX_ENTRIES} keys"
            )
        metadata: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        for _ in range(entries):
            key = self._text()
            value = self._value(self._scalar("I"), key, lengths)
            if value is not None:
                metadata[key] = value
        seen: dict[str, HeaderTensor] = {}
        for _ in range(tensors):
            tensor = self._tensor()
            if tensor.name in seen:
                raise self._wrong("a GGUF file in which every tensor stands once")
            seen[tensor.name] = tensor
        return GGUF(metadata, lengths, tuple(seen.values()))

    def _wrong(self, wanted: str) -> Unreadable:
        return Unreadable(self._name, wanted)

    def _scalar(self, code: str) -> Any:
        form = self._order + code
        size = struct.calcsize(form)
        if self._at + size > len(self._data):
            raise _Short
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += size
        return value

    def _size(self) -> int:
        return int(self._scalar("Q" if self._wide else "I"))

    def _skip(self, size: int) -> None:
        if size > MAX_HEADER:
            raise self._wrong(f"a GGUF file with a header below {MAX_HEADER} bytes")
        if self._at + size > len(self._data):
            raise _Short
        self._at += size

    def _text(self) -> str:
        length = self._size()
        if length > _MAX_TEXT:
            raise self._wrong("a GGUF file with texts of a believable length")
        start = self._at
        self._skip(length)
        return self._data[start : self._at].decode("utf-8", "replace")

    def _value(self, kind: int, key: str, lengths: dict[str, int]) -> Any:
        if kind == _STRING:
            return self._text()
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind != _ARRAY:
            raise self._wrong(f"a GGUF file with kinds of values that are known, not {kind}")
        return self._array(key, lengths)

    def _array(self, key: str, lengths: dict[str, int]) -> list[Any] | None:
        kind, count = self._scalar("I"), self._size()
        lengths[key] = count
        if kind in _SCALARS:
            code = _SCALARS[kind]
            width = struct.calcsize("=" + code)
            start = self._at
            self._skip(count * width)
            if count > _MAX_KEPT:
                return None
            return list(struct.unpack_from(f"{self._order}{count}{code}", self._data, start))
        if kind != _STRING:
            raise self._wrong("a GGUF file with arrays of numbers or texts")
        if count > MAX_HEADER // 8:
            raise self._wrong(f"a GGUF file with a header below {MAX_HEADER} bytes")
        if count > _MAX_KEPT:
            self._skip_texts(count)
            return None
        return [self._text() for _ in range(count)]

    def _skip_texts(self, count: int) -> None:
        """Pass over many texts: a vocabulary."""
        unpack = struct.Struct(self._order + ("Q" if self._wide else "I")).unpack_from
        width = 8 if self._wide else 4
        data, at, end = self._data, self._at, len(self._data)
        for _ in range(count):
            if at + width > end:
                raise _Short
            length = unpack(data, at)[0]
            if length > _MAX_TEXT:
                raise self._wrong("a GGUF file with texts of a believable length")
            at += width + length
        if at > end:
            raise _Short
        self._at = at

    def _tensor(self) -> HeaderTensor:
        name = self._text()
        dimensions = self._scalar("I")
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            raise self._wrong(f"a GGUF file with at most {MAX_DIMENSIONS} dimensions of a tensor")
        shape = tuple(self._size() for _ in range(dimensions))
        number = self._scalar("I")
        self._scalar("Q")  # where the tensor lies
        if number not in TYPES:
            raise self._wrong(f"a GGUF file with types of tensors that are known, not {number}")
        type_name, block, size = TYPES[number]
        elements = math.prod(shape)
        if elements > MAX_ELEMENTS or (shape and shape[0] % block):
            raise self._wrong(
                f"a GGUF file with tensors of whole blocks of {block} elements for {type_name}"
            )
        return HeaderTensor(name[:512], shape, type_name, elements // block * size)
