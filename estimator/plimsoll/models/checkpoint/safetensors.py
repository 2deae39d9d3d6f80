"""Reads the headers of safetensors checkpoints on disk: one file, shards with an index, a folder.

No tensor is read. Nothing in a file is believed beyond its limits: a bad file is `Unreadable`.

    file      8 bytes little-endian n, then n bytes of JSON: name -> dtype, shape, data_offsets
    index     weight_map: name -> file, metadata.total_size: bytes of all tensors
    which     the files that an index names; without an index all of the folder's own but
              ``consolidated*``; never those of ``original/``, ``metal/`` and other folders below
    source    https://huggingface.co/docs/safetensors/index#format and safetensors/src/tensor.rs;
              the choice of files is vLLM's (``filter_duplicate_safetensors_files``)
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from plimsoll.errors import Invalid, Unreadable
from plimsoll.models.files import (
    MAX_DIMENSIONS,
    MAX_DOCUMENT,
    MAX_ELEMENTS,
    MAX_TENSORS,
    Checkpoint,
    HeaderTensor,
)

if TYPE_CHECKING:
    from pathlib import Path

INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
CONFIG: Final = "config.json"
QUANT: Final = "hf_quant_config.json"
MAX_HEADER: Final = 100_000_000
"""Bytes of a header: the format's own limit."""
MAX_INDEX: Final = 256 << 20
MAX_FILES: Final = 10_000

_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
_SHARD: Final = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors$")
_COPIES: Final = ("original", "metal", "onnx", "openvino", "gguf")
"""Folders in which repositories keep the same weights once more."""


@dataclass(frozen=True, slots=True)
class Header:
    """One file's header: its tensors, and the bytes that they take behind it."""

    tensors: tuple[HeaderTensor, ...]
    data: int


def header_size(first: bytes, name: str) -> int:
    """Bytes of the JSON, from a file's first 8. Raises `Unreadable` for an unbelievable one."""
    size = int.from_bytes(first[:8], "little")
    if len(first) < 8 or not 2 <= size <= MAX_HEADER:
        raise Unreadable(
            name, f"a safetensors file: 8 bytes with its header's length, at most {MAX_HEADER}"
        )
    return size


def parse_header(data: bytes, name: str) -> Header:
    """The tensors that the JSON of a header lists. Raises `Unreadable`; name: of the file."""
    parsed = json_object(data, name)
    if len(parsed) > MAX_TENSORS:
        raise Unreadable(name, f"a safetensors file with at most {MAX_TENSORS} tensors")
    spans = []
    tensors = []
    for key, entry in parsed.items():
        if key == "__metadata__":
            continue
        tensor, start = _tensor(key, entry, name)
        tensors.append(tensor)
        spans.append((start, start + tensor.bytes))
    at = 0
    for start, end in sorted(spans):
        if start != at:
            raise Unreadable(
                name,
                "a safetensors file whose tensors follow one another without a gap or an overlap",
            )
        at = end
    return Header(tuple(tensors), at)


def _tensor(key: str, entry: object, name: str) -> tuple[HeaderTensor, int]:
    if not isinstance(entry, Mapping):
        raise Unreadable(name, f"a safetensors file: {key[:80]!r} is described by a mapping")
    dtype, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    bits = _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise Unreadable(name, f"a safetensors file of known dtypes; {key[:80]!r} has another")
    if not _integers(shape, MAX_DIMENSIONS) or not _integers(span, 2) or len(span) != 2:
        raise Unreadable(
            name, f"a safetensors file: {key[:80]!r} has a shape and two offsets, all whole numbers"
        )
    elements = math.prod(shape)
    size = -(-elements * bits // 8)
    if elements > MAX_ELEMENTS or span[1] - span[0] != size:
        raise Unreadable(
            name,
            f"a safetensors file: the offsets of {key[:80]!r} are as far apart "
            "as its shape and dtype say",
        )
    return HeaderTensor(key[:512], tuple(shape), str(dtype), size), span[0]


def _integers(value: object, most: int) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 1 << 62 for x in value)
    )


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object of any size. Raises `Unreadable` for anything else."""
    try:
        parsed = json.loads(
            data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once
        )
    except RecursionError:
        raise Unreadable(name, "a file with JSON that is not nested for ever") from None
    except ValueError as error:  # not JSON, not UTF-8, a key twice, endless digits
        raise Unreadable(name, f"a file with JSON ({str(error)[:100]})") from None
    if not isinstance(parsed, dict):
        raise Unreadable(name, "a file with a JSON object")
    return parsed


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a key stands twice")
    return read


def weight_map(index: Mapping[str, Any], name: str) -> dict[str, str]:
    """Tensor -> file, from an index. Raises `Unreadable` if it names anything but files."""
    given = index.get("weight_map")
    if not isinstance(given, dict) or not given or len(given) > MAX_TENSORS:
        raise Unreadable(name, "an index with a weight_map of names to files")
    if not all(isinstance(file, str) and _plain(file) for file in given.values()):
        raise Unreadable(name, "an index whose files lie beside it")
    if len(set(given.values())) > MAX_FILES:
        raise Unreadable(name, f"an index of at most {MAX_FILES} files")
    return given


def _plain(file: str) -> bool:
    """Whether a name from an index stays within the index's folder."""
    return (
        0 < len(file) < 512
        and file.isprintable()
        and not file.startswith("/")
        and not {"..", ""} & set(file.split("/"))
        and "\\" not in file
    )


def merged(
    headers: Mapping[str, Header], index: Mapping[str, str], total: object, notes: list[str]
) -> tuple[HeaderTensor, ...]:
    """All tensors, each once, in the order of their names.

    index: tensor -> file; a tensor in two files counts where the index says. total: the index's
    ``total_size``. Says in `notes` what was there twice. Raises `Unreadable` if a tensor of the
    index is in no file.
    """
    by_name: dict[str, HeaderTensor] = {}
    twice = 0
    for file, header in headers.items():
        for tensor in header.tensors:
            if tensor.name in by_name:
                twice += 1
                if index.get(tensor.name) != file:
                    continue
            by_name[tensor.name] = tensor
    lost = [name for name in index if name[:512] not in by_name]
    if lost:
        raise Unreadable(
            lost[0],
            f"a tensor in one of the {len(headers)} files, as the index "
            f"says ({len(lost)} are in none)",
        )
    if twice:
        notes.append(f"{twice} tensors stand in two files and count once")
    size = sum(tensor.bytes for tensor in by_name.values())
    if isinstance(total, int) and total != size and abs(total - size) > size // 1000:
        notes.append(
            f"the index says {total} bytes in all; the files' headers say {size}, which holds"
        )
    return tuple(by_name[name] for name in sorted(by_name))


def read(path: Path) -> Checkpoint:
    """The checkpoint in a folder, or the one that a file or an index belongs to.

    Raises `Unreadable` for files that are missing or bad.
    """
    folder = path if path.is_dir() else path.parent
    notes: list[str] = []
    listed: dict[str, str] = {}
    total: object = None
    index = path if path.name.endswith(".index.json") else folder / INDEX
    alone = path.is_file() and path.suffix == ".safetensors"
    if index.is_file() and not (alone and not _SHARD.match(path.name)):
        said = json_object(_bytes(index, MAX_INDEX), str(index))
        listed = weight_map(said, str(index))
        metadata = said.get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, Mapping) else None
        files = sorted(set(listed.values()))
    elif alone:
        files = _shards_of(path)
    else:
        files = chosen((entry.name for entry in _entries(folder)), str(folder), notes)
    headers = {file: read_header(folder / file, notes) for file in files}
    tensors = merged(headers, listed, total, notes)
    _say_copies(folder, set(files), notes)
    return Checkpoint(
        folder.resolve().name or str(folder),
        str(path),
        tensors,
        document(folder / CONFIG),
        document(folder / QUANT),
        tuple(notes),
    )


def chosen(names: Iterable[str], where: str, notes: list[str]) -> list[str]:
    """The files of a folder without an index that make up its checkpoint.

    Raises `Unreadable` if there is none, or one of several shards is missing.
    """
    every = sorted(name for name in names if name.endswith(".safetensors"))
    usual = [name for name in every if not name.startswith(("consolidated", "adapter_"))]
    if SINGLE in usual and any(_SHARD.match(name) for name in usual):
        usual = [SINGLE]
    picked = usual or [name for name in every if not name.startswith("adapter_")]
    if not picked:
        raise Unreadable(
            where, "a folder with safetensors files; for a config.json alone, say --config FILE"
        )
    for name in picked:
        match = _SHARD.match(name)
        if match is not None:
            _all_there(match, set(picked), where)
    if len(picked) < len(every):
        notes.append(
            f"passed over {', '.join([n for n in every if n not in picked][:3])}: "
            "the same weights in another form, or an adapter"
        )
    return picked


def _all_there(match: re.Match[str], there: set[str], where: str) -> None:
    count = int(match["count"])
    if count > MAX_FILES:
        raise Unreadable(where, f"a checkpoint of at most {MAX_FILES} files")
    wanted = [f"{match['stem']}-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise Unreadable(
            where,
            f"a checkpoint with all of its {count} files; {missing[0]} is "
            f"missing ({len(missing)} in all)",
        )


def _shards_of(path: Path) -> list[str]:
    """A file, with the other shards if it is one of several."""
    match = _SHARD.match(path.name)
    if match is None:
        return [path.name]
    names = {entry.name for entry in _entries(path.parent)}
    _all_there(match, names, str(path))
    same = _SHARD.match
    return sorted(
        name
        for name in names
        if (m := same(name)) and (m["stem"], m["count"]) == (match["stem"], match["count"])
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise Unreadable(str(folder), f"a folder that can be read ({error.strerror})") from None


def _say_copies(folder: Path, used: set[str], notes: list[str]) -> None:
    copies = [name for name in _COPIES if (folder / name).is_dir()]
    if copies:
        notes.append(
            f"passed over {', '.join(f'{name}/' for name in copies)}: the same weights "
            "in another form"
        )
    other = [e.name for e in _entries(folder) if e.name.startswith("consolidated")]
    if other and not used & set(other) and not any("consolidated" in note for note in notes):
        notes.append(f"passed over {other[0]}: the same weights in another form")


def read_header(path: Path, notes: list[str]) -> Header:
    """The header of one file. Raises `Unreadable`; says in `notes` if its tensors are cut."""
    try:
        with path.open("rb") as file:
            size = header_size(file.read(8), str(path))
            data = file.read(size)
            end = file.seek(0, 2)
    except OSError as error:
        why = error.strerror or str(error)
        raise Unreadable(str(path), f"a safetensors file that can be read ({why})") from None
    if len(data) < size:
        raise Unreadable(str(path), "a safetensors file with its whole header: this one is cut")
    header = parse_header(data, str(path))
    if end < 8 + size + header.data:
        notes.append(f"{path.name} ends before its last tensor: its header counts")
    return header


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        why = error.strerror or str(error)
        raise Unreadable(str(path), f"a file that can be read ({why})") from None
    if len(data) > most:
        raise Unreadable(str(path), f"a file of at most {most} bytes")
    return data


def document(path: Path, read: Callable[[Path, int], bytes] = _bytes) -> dict[str, Any] | None:
    """The JSON object in a small file beside the weights; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        return json_object(read(path, MAX_DOCUMENT), str(path))
    except Invalid as error:
        raise Unreadable(str(path), error.problems[0].wanted) from None
