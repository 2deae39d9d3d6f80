"""What can be wrong in a request, named apart from where a manifest keeps it.

The core speaks of a `Field`; each kind of workload has its `Places`: where an object of that kind
holds each field. So a refusal names the place that its reader can edit, whatever the kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Field(StrEnum):
    """A part of a request that a finding can be about or that a change can edit."""

    REQUEST = "request"
    REPLICAS = "replicas"
    PLACEMENT_POLICY = "placement_policy"

    MODEL = "model"
    URI = "uri"
    BASE_MODEL = "base_model"
    CONFIG = "config"
    STORED = "stored"
    """How the checkpoint is stored."""
    PARAMETERS = "parameters"
    BITS = "bits"

    ENGINE = "engine"
    VERSION = "version"
    DTYPE = "dtype"
    QUANTIZATION = "quantization"
    """What the engine quantizes to while it loads."""
    MAX_MODEL_LEN = "max_model_len"
    MAX_NUM_SEQS = "max_num_seqs"
    MAX_NUM_BATCHED_TOKENS = "max_num_batched_tokens"
    KV_CACHE_DTYPE = "kv_cache_dtype"
    KV_CACHE_MEMORY = "kv_cache_memory"
    UTILIZATION = "utilization"
    ENFORCE_EAGER = "enforce_eager"
    BLOCK_SIZE = "block_size"
    LORA = "lora"
    LORA_SLOTS = "lora_slots"
    LORA_RANK = "lora_rank"
    SPECULATIVE = "speculative"
    SPECULATIVE_METHOD = "speculative_method"
    SPECULATIVE_MODEL = "speculative_model"
    SPECULATIVE_TOKENS = "speculative_tokens"
    CPU_OFFLOAD = "cpu_offload"
    EXTRA_ARGS = "extra_args"

    TENSOR = "tensor"
    PIPELINE = "pipeline"
    DATA = "data"
    EXPERT = "expert"

    CONCURRENT = "concurrent"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    IMAGES = "images"
    VIDEOS = "videos"

    ALLOWED = "allowed"
    GPUS = "gpus_per_replica"
    MIN_MEMORY = "min_memory"
    RESERVED = "reserved"
    """Memory of each GPU that others hold."""
    NODE_SELECTOR = "node_selector"
    MEMORY = "memory"
    COMPUTE = "compute_capability"
    FAMILY = "family"
    TOLERATIONS = "tolerations"
    PREFER = "prefer"
    SHARED_MEMORY = "shared_memory"

    ANNOTATIONS = "metadata.annotations"
    """Where every object has them, whatever its kind."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where one kind of workload keeps each field: a path from the object's root, with dots.

    A field that the kind has no place for is called by its own name. A field that a flag sets has
    the path of the argument, then a blank and the flag: ``args[2] --dtype``.
    elements: of a list whose elements the object keeps in several places, the path of each.
    """

    paths: Mapping[Field, str]
    elements: Mapping[Field, tuple[str, ...]] | None = None

    def path(self, field: Field, index: int | None = None) -> str:
        """The whole path, with the index of an element if there is one."""
        path = self.paths.get(field, field.value)
        if index is None:
            return path
        elements = (self.elements or {}).get(field)
        if elements is None:
            return f"{path}[{index}]"
        return elements[index] if index < len(elements) else path

    def name(self, field: Field) -> str:
        """The last part of the path, for the middle of a sentence."""
        return self._called(field) or self.path(field).rpartition(".")[2]

    def end(self, field: Field) -> str:
        """The last two parts of the path: a name with the group that it belongs to."""
        return self._called(field) or ".".join(self.path(field).split(".")[-2:])

    def _called(self, field: Field) -> str:
        """The flag or the annotation at the end of a path; empty if it ends in neither."""
        path = self.path(field)
        _, _, flag = path.partition(" ")
        key = path.rpartition("[")[2].removesuffix("]") if path.endswith("]") else ""
        return flag if flag.startswith("-") else ("" if key.isdecimal() else key)


NO_PLACES = Places({})
"""For a request that no manifest states: each field goes by its own name."""
