"""Files with bytes changed: GGUF, safetensors, its index, configs beside them, start-up logs.

What is read is written by whoever made a checkpoint; a reader ends in a profile that can be read
again, or in one of our own errors.
"""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import checkpoint_files
import gguf_files
from fuzz import values
from fuzz.harness import Target
from fuzz.promises import unclean
from plimsoll.errors import PlimsollError
from plimsoll.measured import logs
from plimsoll.measured.log_row import row_of
from plimsoll.models.checkpoint.profile import from_profile
from plimsoll.models.checkpoint.source import local_profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

MOST_PROFILE: Final = 1 << 20
"""Bytes of a profile: a ConfigMap holds no more."""

HOLE: Final = 8 << 20
"""Bytes in place of the tensors: more than the small models need."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Files by name, and which of them (or the folder, if empty) is read."""

    files: Mapping[str, bytes]
    read: str = ""


@lru_cache(maxsize=1)
def gguf_originals() -> tuple[bytes, ...]:
    """Small GGUF files as llama.cpp's own writer makes them."""
    small = {"num_hidden_layers": 2, "max_position_embeddings": 4096}
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name, shapes in (("llama", gguf_files.dense), ("gemma3", gguf_files.gemma3)):
            config = checkpoint_files.base("llama", **small)
            path = Path(folder, f"{name}.gguf")
            keys = gguf_files.keys(config)
            gguf_files.write(path, name, keys, shapes(config), words=40, default="Q4_K")
            made.append(path.read_bytes())
    return tuple(made)


@lru_cache(maxsize=1)
def safetensors_originals() -> tuple[Folder, ...]:
    """Small checkpoints: one file, three files with an index, and a quantized one."""
    made = []
    for packing, shards in (("", 1), ("", 3), ("gptq", 2)):
        config = checkpoint_files.base("llama", num_hidden_layers=2)
        if packing:
            config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
        tensors = checkpoint_files.dense(config, checkpoint_files.Maker(packing))
        with tempfile.TemporaryDirectory() as folder:
            checkpoint_files.write(Path(folder), config, tensors, shards=shards)
            made.append(Folder({path.name: _head(path) for path in Path(folder).iterdir()}))
    return tuple(made)


def _head(path: Path) -> bytes:
    """A file without the tensors themselves."""
    with path.open("rb") as file:
        first = file.read(8)
        size = int.from_bytes(first, "little")
        return first + file.read(size if path.suffix == ".safetensors" else -1)


def gguf_file(random: Random) -> Folder:
    """A GGUF file with bytes changed."""
    original = random.choice(gguf_originals())
    return Folder({"m.gguf": values.spoil(random, original)}, "m.gguf")


def checkpoint(random: Random) -> Folder:
    """A checkpoint, one of its files changed as bytes or as JSON."""
    files = dict(random.choice(safetensors_originals()).files)
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(sorted(files))
        data = files[name]
        if random.random() < 0.3:
            files[name] = values.spoil(random, data)
        elif name.endswith(".safetensors"):
            header = _changed_json(random, data[8:])
            files[name] = len(header).to_bytes(8, "little") + header
        else:
            files[name] = _changed_json(random, data)
    return Folder(files)


def _changed_json(random: Random, data: bytes) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return values.spoil(random, data)
    for _ in range(random.choice((1, 2, 4))):
        values.mutate(random, document)
    return json.dumps(document).encode()


def folder_faults(case: Folder) -> Iterator[str]:
    """A profile that cannot be read again, or an error that is not ours or not clean."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in case.files.items():
            with (folder / file).open("wb") as stream:
                stream.write(data)
                if file.endswith((".safetensors", ".gguf")):
                    stream.truncate(len(data) + HOLE)
        try:
            profile, notes = local_profile(str(folder / case.read))
        except PlimsollError as error:
            yield from unclean(str(error), "the error")
            return
    yield from unclean(notes, "notes")
    text = json.dumps(profile)
    if len(text) > MOST_PROFILE:
        yield f"endless profile: {len(text)} bytes"
    made = from_profile(json.loads(text))
    if made.parameters < 0:
        yield f"fewer than no parameters: {made.parameters}"


GGUF: Final = Target("gguf", gguf_file, folder_faults, few=150)
SAFETENSORS: Final = Target("safetensors", checkpoint, folder_faults, few=100)

LINES: Final = (
    "INFO 02-10 08:00:00 core.py:50] Initializing a V1 LLM engine (v0.8.5) with config: "
    "model='m/m', dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=1, "
    "pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto)",
    "INFO 04-24 16:31:40 [api_server.py:1035] args: Namespace(model='m/m', max_model_len=32768, "
    "gpu_memory_utilization=0.9, hf_overrides={'a': [1, 2]}, f=<function serve at 0x7f>)",
    "INFO 04-24 16:33:00 [gpu_model_runner.py:1316] Model loading took 14.98 GiB and 3.65 seconds",
    "INFO 04-24 16:33:13 [kv_cache_utils.py:634] GPU KV cache size: 158,656 tokens",
    "INFO 04-24 16:33:13 [kv_cache_utils.py:637] Maximum concurrency for 32,768 tokens per "
    "request: 4.84x",
    "INFO 04-24 16:33:40 [gpu_model_runner.py:1686] Graph capturing finished in 27 secs, took "
    "0.52 GiB",
    "(VllmWorker rank=1 pid=9) INFO 04-24 16:33:13 [gpu_worker.py:298] Available KV cache memory: "
    "51.2 GiB",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
    "capacity of 79.10 GiB of which 1.5 GiB is free.",
    "[2025-01-04 05:20:00] server_args=ServerArgs(model_path='m/m', mem_fraction_static=0.88, "
    "max_total_tokens=None, tp_size=2, chunked_prefill_size=8192)",
    "[2025-01-04 05:21:00 TP0] Load weight begin. avail mem=78.57 GB",
    "[2025-01-04 05:21:05 TP0] Load weight end. type=X, dtype=torch.bfloat16, avail mem=71.05 GB",
    "[2025-01-04 05:21:05 TP0] KV Cache is allocated. K size: 30.74 GB, V size: 30.74 GB.",
    "[2025-01-04 05:21:06 TP0] max_total_num_tokens=1007288, max_prefill_tokens=16384, "
    "max_running_requests=4097, context_len=131072",
)
"""Lines of start-ups, after the formats in the engines' sources."""


def log(random: Random) -> bytes:
    """Lines in some order, numbers and bytes of them changed."""
    chosen = [random.choice(LINES) for _ in range(random.choice((1, 5, 15, 60)))]
    if random.random() < 0.5:
        chosen = [_other_numbers(random, text) for text in chosen]
    data = random.choice(("\n", "\r\n", "\x1b[0m\n")).join(chosen).encode()
    if random.random() < 0.01:
        data = (
            random.choice((b"(" * 400_000, b"model='" + b"[" * 200_000, b"\0" * 1_000_000)) + data
        )
    return values.spoil(random, data) if random.random() < 0.7 else data


def _other_numbers(random: Random, line: str) -> str:
    parts = line.split(" ")
    at = random.randrange(len(parts))
    parts[at] = f"{parts[at].partition('=')[0]}={values.number(random)}"
    return " ".join(parts)


def log_faults(data: bytes) -> Iterator[str]:
    """A row that is no JSON: it is written as JSON only, which escapes what its texts hold."""
    found = logs.read(io.BytesIO(data))
    for start_up in found.start_ups:
        row: dict[str, Any] = row_of(start_up, "log")
        if json.loads(json.dumps(row, allow_nan=False)) != row:
            yield f"a row that is no JSON: {row}"


LOGS: Final = Target("logs", log, log_faults, few=100)
