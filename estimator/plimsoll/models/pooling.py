"""Which decoders are published to give vectors, though their class says that they write text.

Qwen3-Embedding and many like it name a class ...ForCausalLM in their config.json; that they pool
stands in the files of Sentence Transformers beside it (modules.json), which engines read and a
config does not have. Their names say it: "embed" as part of a word, or gte-, e5- or bge- at the
start. A reranker of such a class writes text unless its class is overridden, so its name says
nothing.

Source: vLLM 0.8.5 to 0.33.0, vllm/config/model.py (_get_default_runner_type: a repository with a
pooling configuration is run by the pooling runner whatever its class).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

_EMBEDS: Final = re.compile(
    r"embed|^(?:gte|e5|bge|sfr-emb|inf-retriever|stella)[-_]", re.IGNORECASE
)
_RANKS: Final = re.compile(r"rerank", re.IGNORECASE)


def pools_by_name(name: str) -> bool:
    """Whether a model of that id or path is published to give vectors."""
    short = name.strip("/").rpartition("/")[2]
    return bool(_EMBEDS.search(short)) and not _RANKS.search(short)


def named(architecture: Architecture, name: str) -> Architecture:
    """The model as one of that name; the same object for the same architecture."""
    if architecture.pools or not pools_by_name(name):
        return architecture
    return architecture.remembered(("models.pools",), lambda: replace(architecture, pools=True))
