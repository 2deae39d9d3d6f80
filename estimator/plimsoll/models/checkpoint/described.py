"""From a checkpoint to its compact profile: the config, and where its headers say otherwise.

It must not read files or the network; `plimsoll.models.checkpoint.source` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem
from plimsoll.models.checkpoint.packing import unpacked
from plimsoll.models.checkpoint.structure import corrections, packed_bits

if TYPE_CHECKING:
    from plimsoll.models.checkpoint.gguf import GGUF
    from plimsoll.models.checkpoint.table import Checkpoint

_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_NESTED: Final = ("", "text_config", "llm_config", "language_config")


def profile_of(checkpoint: Checkpoint) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The profile of a safetensors checkpoint, and notes on what was passed over or corrected.

    Raises `Invalid` where it has no config.json or one that describes no model.
    """
    from plimsoll.models.config import architecture
    from plimsoll.models.profile import profile

    if checkpoint.config is None:
        raise Invalid(
            Problem(
                checkpoint.origin, "", "a config.json beside the weights",
                "put the model's config.json there: tensors alone do not say heads or context",
            )
        )  # fmt: skip
    config = _with_dtype(checkpoint)
    made = architecture(config, checkpoint.quant)
    notes = list(checkpoint.notes)
    weights = unpacked(checkpoint.tensors, packed_bits(made.quantization))
    found = corrections(made, weights, notes)
    number = sum(len(numbers) for numbers, _ in found.layers)
    if number:
        notes.append(
            f"{number} of {len(made.blocks)} layers hold other tensors than the config says: the "
            "headers count"
        )
    if found.outside is not None:
        notes.append(
            "embedding, head or tower hold other tensors than the config says: the headers count"
        )
    seen = {"tensors": len(checkpoint.tensors), "bytes": checkpoint.bytes} | found.as_dict()
    return profile(config, checkpoint.quant, name=checkpoint.name, checkpoint=seen), tuple(notes)


def profile_of_gguf(header: GGUF, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The profile of a GGUF file, and notes. name: of the file.

    Raises `Invalid` or `plimsoll.errors.Unreadable` where it describes no model.
    """
    from plimsoll.models.checkpoint import gguf_model
    from plimsoll.models.config import architecture
    from plimsoll.models.profile import profile

    config = gguf_model.config(header, name)
    notes: list[str] = []
    gguf_model.with_tensors(architecture(config), header.tensors, notes)
    seen = {"tensors": len(header.tensors), "bytes": header.bytes,
            "gguf": gguf_model.table(header.tensors)}  # fmt: skip
    called = header.text("general.name")[:256] or name
    return profile(config, name=called, checkpoint=seen), tuple(notes)


def _with_dtype(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config, with the type of most weights where it names none (as vLLM takes it)."""
    config = dict(checkpoint.config or {})
    for key in _NESTED:
        part = config.get(key) if key else config
        if isinstance(part, Mapping) and (part.get("torch_dtype") or part.get("dtype")):
            return config
    count: Counter[str] = Counter()
    for tensor in checkpoint.tensors:
        if tensor.type_name in _DTYPES:
            count[tensor.type_name] += tensor.elements
    if count:
        config["torch_dtype"] = _DTYPES[count.most_common(1)[0][0]]
    return config
