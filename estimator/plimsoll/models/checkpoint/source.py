"""From where a model's headers are to its profile: a folder, a file, an index, a URI, or a hub.

Only `hub_profile` uses the network.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from plimsoll.errors import Invalid, Problem, Unreadable, shown
from plimsoll.models.checkpoint import gguf, gguf_model, hub, safetensors
from plimsoll.models.checkpoint.packing import unpacked
from plimsoll.models.checkpoint.profile import profile
from plimsoll.models.checkpoint.structure import corrections, packed_bits
from plimsoll.models.config import architecture
from plimsoll.models.files import text_parts

if TYPE_CHECKING:
    from plimsoll.models.files import Checkpoint

_ENDINGS: Final = (".safetensors", ".gguf", ".index.json")
_BEGINNINGS: Final = ("/", "./", "../", "~", "file://")

_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}

Profile = tuple[dict[str, Any], tuple[str, ...]]
"""A compact profile, and notes on what was passed over or corrected."""


def is_local(text: str) -> bool:
    """Whether a text names files on this machine, and not a model of the catalogue or a hub."""
    if text.startswith(_BEGINNINGS) or text in (".", "..") or text.endswith(_ENDINGS):
        return not text.startswith("hf://")
    try:
        return "://" not in text and Path(text).is_dir()
    except (OSError, ValueError):
        return False


def local_profile(text: str) -> Profile:
    """The profile of a checkpoint on this machine, from its headers.

    text: a path or a ``file://`` URI. Raises `Invalid` or `plimsoll.errors.Unreadable`.
    """
    path = _path(text)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    if not is_folder and not is_file:
        raise Unreadable(text, "a folder with a checkpoint, or one of its files: there is none")
    if is_folder:
        weights = sorted(path.glob("*.gguf"))
        if weights and not any(path.glob("*.safetensors*")):
            path = _only(weights, text)
    if path.suffix == ".gguf":
        return profile_of_gguf(gguf.read(path), path.name)
    return profile_of(safetensors.read(path))


def _path(text: str) -> Path:
    if text.startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise Unreadable(text, "a file on this machine: file:///absolute/path")
        return Path(unquote(parts.path))
    return Path(text).expanduser() if text.startswith("~") else Path(text)


def _only(files: list[Path], text: str) -> Path:
    """The one GGUF file of a folder, or the first part of the only one."""
    first = {gguf.parts_of(file.name)[0]: file for file in files}
    if len(first) > 1:
        names = ", ".join(sorted(first)[:4])
        raise Unreadable(text, f"one GGUF file: this folder holds several ({names})")
    return files[0]


def hub_profile(uri: str) -> Profile:
    """The profile of a checkpoint on a hub, from its headers by range requests.

    uri: ``hf://owner/name``, with ``@revision`` or ``/file.gguf`` behind it, or without ``hf://``.
    Raises `Invalid` or `plimsoll.errors.Unreadable`.
    """
    path, _, revision = uri.removeprefix("hf://").partition("@")
    parts = path.strip("/").split("/")
    if len(parts) < 2 or not all(parts):
        raise Invalid(
            Problem(
                "MODEL",
                shown(uri),
                "hf://owner/name",
                "add @revision for a branch, tag or commit, /file.gguf for a GGUF file",
            )
        )
    name, file = "/".join(parts[:2]), "/".join(parts[2:])
    if file:
        return profile_of_gguf(hub.read_gguf(name, file, revision), f"{name}/{file}")
    return profile_of(hub.read(name, revision))


def profile_of(checkpoint: Checkpoint) -> Profile:
    """The profile of a safetensors checkpoint, and notes on what was passed over or corrected.

    Raises `Invalid` if it has no config.json or one that describes no model.
    """
    if checkpoint.config is None:
        raise Invalid(
            Problem(
                checkpoint.origin,
                "",
                "a config.json beside the weights",
                "put the model's config.json there: tensors alone do not say heads or context",
            )
        )
    config = _with_dtype(checkpoint)
    from_config = architecture(config, checkpoint.quant)
    notes = list(checkpoint.notes)
    weights = unpacked(checkpoint.tensors, packed_bits(from_config.quantization))
    differences = corrections(from_config, weights, notes)
    number = sum(len(numbers) for numbers, _ in differences.layers)
    if number:
        notes.append(
            f"{number} of {len(from_config.blocks)} layers hold other tensors than the config "
            "says: the headers count"
        )
    if differences.outside is not None:
        notes.append(
            "embedding, head or tower hold other tensors than the config says: the headers count"
        )
    seen = {"tensors": len(checkpoint.tensors), "bytes": checkpoint.bytes} | differences.as_dict()
    return profile(config, checkpoint.quant, name=checkpoint.name, checkpoint=seen), tuple(notes)


def profile_of_gguf(header: gguf.GGUF, name: str) -> Profile:
    """The profile of a GGUF file, and notes. name: of the file.

    Raises `Invalid` or `plimsoll.errors.Unreadable` if it describes no model.
    """
    config = gguf_model.config(header, name)
    notes: list[str] = []
    gguf_model.with_tensors(architecture(config), header.tensors, notes)
    seen = {
        "tensors": len(header.tensors),
        "bytes": header.bytes,
        "gguf": gguf_model.table(header.tensors),
    }
    called = header.text("general.name")[:256] or name
    return profile(config, name=called, checkpoint=seen), tuple(notes)


def _with_dtype(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config, with the type of most weights if it names none (as vLLM takes it)."""
    config = dict(checkpoint.config or {})
    if any(part.get("torch_dtype") or part.get("dtype") for part in text_parts(config)):
        return config
    count: Counter[str] = Counter()
    for tensor in checkpoint.tensors:
        if tensor.type_name in _DTYPES:
            count[tensor.type_name] += tensor.elements
    if count:
        config["torch_dtype"] = _DTYPES[count.most_common(1)[0][0]]
    return config
