"""What the slots for LoRA adapters take: allocated at start-up, whatever is loaded into them.

    one linear        slots x (rank x in + out x rank) elements     in and out as on the rank, so
                      that A is whole where the output is cut, and B where the input is
    fully sharded     A / tp where the output is cut, B / tp where the input is
    experts           from 0.11.2 on, every expert of the rank; shared factors once a layer
    embedding         slots x ((vocabulary + extra) x rank + rank x hidden), whole on every rank
    logits            slots x (rank x hidden + vocabulary x rank), whole on every rank
    tied head         the embedding once more: it is wrapped under each of its two names
    extra vocabulary  before 0.12, slots x extra x hidden once more for each of the two
    graphs            captured with and without adapters from 0.11.2 on

Towers and projectors have none. Which models take an adapter on embedding and head is a list of
the engine's (``embedding_modules``), in data/lora.json by version. A tensor is allocated for each
slice of a fused linear.

Source: vLLM 0.6.3 to 0.33.0, vllm/lora/layers (layers.py before 0.10), vllm/lora/model_manager.py
and the ``embedding_modules`` of vllm/model_executor/models.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines.base import Known, Term, TermName
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES
from plimsoll.engines.layers.gpu_memory import allocated
from plimsoll.engines.layers.sharding import local_shape, stage_layers
from plimsoll.engines.vllm.options import TABLE, VLLMOptions
from plimsoll.models.architecture import Part, Split
from plimsoll.units import ceil_div

if TYPE_CHECKING:
    from plimsoll.engines.base import EngineSettings, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture, Block, Tensor

DEFAULT_SLOTS: Final = 1
DEFAULT_RANK: Final = 16
RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that the engine takes; anything else stops it."""
_PADDED_HEAD: Final = 256
_ERROR: Final = 0.03
"""Half-width of the band: linears that an engine class names or fuses otherwise than here."""
_TOWERS: Final = (Part.VISION, Part.AUDIO, Part.PROJECTOR)
_EXPERT: Final = (Split.EXPERT_COLUMN, Split.EXPERT_ROW)
_FUSED: Final = {
    "q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj",
}  # fmt: skip


def lora(
    architecture: Architecture,
    settings: EngineSettings,
    element: int,
    parallelism: Parallelism,
    stage: int,
    constants: Constants,
) -> Term | None:
    """The slots on one rank of one pipeline stage; None where there are no adapters.

    element: bytes of an element of the model's dtype, which ``--lora-dtype auto`` takes.
    """
    wanted = settings.lora
    if wanted is None:
        return None
    slots, rank = wanted.slots or DEFAULT_SLOTS, wanted.rank or DEFAULT_RANK
    options = VLLMOptions.of(settings)
    key = (
        "vllm.lora",
        slots,
        rank,
        WEIGHT_BYTES.get(options.lora_dtype or "auto", element),
        element,
        parallelism.tensor,
        parallelism.data,
        parallelism.pipeline,
        parallelism.expert,
        options.fully_sharded_loras,
        options.lora_target_modules,
        options.enable_moe_shared_loras,
        options.lora_extra_vocab_size,
        constants.version,
    )
    sizes = architecture.remembered(
        key,
        lambda: _Slots(
            architecture, options, slots, rank, element, parallelism, constants
        ).stages(),
    )
    size = sizes[stage]
    words = f"{slots} slot{'s' * (slots > 1)} of rank {rank}"
    # The first engine makes its slots after it measured: they lie beside its budget (issue 14450).
    charged = constants.flag("chunked_prefill")
    return Term(
        TermName.LORA,
        size,
        int(size * (1 - _ERROR)) if charged else 0,
        round(size * (1 + _ERROR)),
        Known.MODELLED,
        words,
    )


def graphs(term: Term, settings: EngineSettings, constants: Constants) -> Term:
    """The CUDA graphs where they are captured once more with adapters; as they are elsewhere."""
    twice = constants.flag("lora_graphs_twice")
    if settings.lora is None or not twice or not term.bytes:
        return term
    return replace(
        term,
        bytes=2 * term.bytes,
        high=2 * term.high,
        known=Known.ASSUMED,
        basis=f"{term.basis}, with and without adapters",
    )


@lru_cache(maxsize=1)
def _embedding_modules() -> dict[str, str]:
    """Model types whose embedding and head take adapters, with the version from which."""
    text = Path(__file__).parent.joinpath("data/lora.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)["embedding_modules"]
    return found


class _Slots:
    """The sizes of all slots of a model under one split."""

    def __init__(
        self,
        architecture: Architecture,
        options: VLLMOptions,
        slots: int,
        rank: int,
        element: int,
        parallelism: Parallelism,
        constants: Constants,
    ) -> None:
        self._architecture, self._parallelism = architecture, parallelism
        self._slots, self._rank, self._element = slots, rank, element
        self._bytes = WEIGHT_BYTES.get(options.lora_dtype or "auto", element)
        self._sharded = bool(options.fully_sharded_loras)
        self._shared = bool(options.enable_moe_shared_loras)
        targets = options.lora_target_modules
        self._targets = frozenset(targets) if targets else None
        self._version = TABLE.parse(constants.version)
        self._experts = constants.flag("lora_experts")
        self._extra = int(constants.number("lora_extra_vocabulary"))
        if self._extra and options.lora_extra_vocab_size is not None:
            self._extra = options.lora_extra_vocab_size

    def stages(self) -> tuple[int, ...]:
        """Bytes on a rank of every pipeline stage."""
        architecture, pipeline = self._architecture, self._parallelism.pipeline
        distinct = {id(block): block for block in architecture.blocks}
        layers = {key: self._layer(block) for key, block in distinct.items()}
        bounds = stage_layers(len(architecture.blocks), pipeline)
        found = [sum(layers[id(b)] for b in architecture.blocks[i:j]) for i, j in bounds]
        if self._has_embedding():
            found[0] += self._embedding()
            found[-1] += self._head()
            if architecture.tied:
                found[-1] += self._embedding()
        return tuple(found)

    def _allocated(self, elements: int, width: int = 0) -> int:
        return allocated(self._slots * elements * (width or self._bytes))

    def _layer(self, block: Block) -> int:
        return sum(self._linear(t, block) for t in block.tensors if self._takes_part(t))

    def _takes_part(self, tensor: Tensor) -> bool:
        if len(tensor.shape) < 2 or tensor.part in _TOWERS:
            return False
        experts = tensor.split in _EXPERT
        if experts and not self._experts:
            return False
        if not tensor.linear and tensor.part is not Part.ROUTER and not experts:
            return False
        if self._targets is None:
            return True
        leaf = tensor.name.removesuffix(".weight").rpartition(".")[2]
        names = {leaf, _FUSED.get(leaf, leaf), "experts" if experts else leaf}
        return bool(names & self._targets)

    def _linear(self, tensor: Tensor, block: Block) -> int:
        p, rank = self._parallelism, self._rank
        ranks = p.tensor * p.data
        shape, copies = local_shape(tensor, block, p.tensor, ranks, p.expert)
        out, into = shape[0], shape[-1]
        a, b = rank * into, out * rank
        along_input = tensor.split in (Split.ROW, Split.EXPERT_ROW)
        if self._sharded and tensor.split is not Split.NONE:
            a, b = (a, ceil_div(b, p.tensor)) if along_input else (ceil_div(a, p.tensor), b)
        if tensor.split not in _EXPERT:
            return self._allocated(a) + self._allocated(b)
        shared_a = self._shared and not along_input
        shared_b = self._shared and along_input
        return self._allocated(a * (1 if shared_a else copies)) + self._allocated(
            b * (1 if shared_b else copies)
        )

    def _has_embedding(self) -> bool:
        since = _embedding_modules().get(self._architecture.model_type)
        named = self._targets is None or bool(self._targets & {"embed_tokens", "lm_head"})
        return since is not None and TABLE.parse(since) <= self._version and named

    def _embedding(self) -> int:
        a, h = self._architecture, self._architecture.hidden_size
        return (
            self._allocated((a.vocab_size + self._extra) * self._rank)
            + self._allocated(h * self._rank)
            + self._allocated(self._extra * h, self._element)
        )

    def _head(self) -> int:
        a, h = self._architecture, self._architecture.hidden_size
        rows = a.vocab_size
        if self._extra:
            rows = ceil_div(rows + self._extra, _PADDED_HEAD) * _PADDED_HEAD
        return (
            self._allocated(self._rank * h)
            + self._allocated(rows * self._rank)
            + self._allocated(self._extra * h, self._element)
        )
