"""Compact profiles: a model's config cut down to its structure, so that a ConfigMap holds it.

A profile and its config have the same architecture, except for what the headers of a checkpoint
say otherwise (`plimsoll.models.checkpoint.corrections`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from plimsoll.errors import Invalid, Problem, shown
from plimsoll.models.checkpoint.corrections import from_dict, wrong
from plimsoll.models.checkpoint.gguf_model import with_table
from plimsoll.models.config import architecture
from plimsoll.units import MAX_PARAMETERS

if TYPE_CHECKING:
    from plimsoll.models.architecture import Architecture

FORMAT: Final = "plimsoll.dev/model-profile/v1"
MAX_BYTES: Final = 256 << 10
"""Bytes of a profile as compact JSON: a ConfigMap holds 1 MiB, a review must stay small."""

_NOISE: Final = re.compile(
    r"_.*|transformers_version|auto_map|.*_token_id|.*_token_index|.*dropout.*|.*_pdrop|"
    r"initializer_.*|init_.*|use_cache|id2label|label2id|task_specific_params|bos_.*|eos_.*|"
    r"pad_token.*|.*loss_coef|output_(attentions|hidden_states|scores|router_logits)|"
    r"return_dict.*|problem_type|chat_template|prefix|torchscript|use_bfloat16|"
    r".*temperature|top_k|top_p|typical_p|repetition_penalty|length_penalty|num_beams.*|"
    r"diversity_penalty|do_sample|max_length|min_length|no_repeat_ngram_size|bad_words_ids|"
    r"tokenizer_class|finetuning_task|pruned_heads|summary_.*|classifier_.*|hidden_act|.*_act|"
    r"activation_function|hidden_activation|gradient_checkpointing|"
    r"scale_attn.*|attn_implementation|residual_in_fp32|time_step_.*"
)
"""Keys that say nothing about tensors, whatever the model."""
_KEPT: Final = frozenset({"time_step_rank", "activation_function", "id2label", "classifier_bias"})
"""Of those, keys that some family's tensors do follow from."""


def _pruned(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Mapping) and depth < 6:
        return {
            k: _pruned(v, depth + 1)
            for k, v in value.items()
            if k in _KEPT or not _NOISE.fullmatch(str(k))
        }
    return value


def profile(
    config: Mapping[str, Any],
    quant: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    checkpoint: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The profile of a config.json (and of its hf_quant_config.json, if there is one).

    checkpoint: what the headers of its tensors say otherwise, as
    `plimsoll.models.checkpoint.corrections` keeps it. A profile is returned as it is.
    Raises `Invalid` if the config is no model's, or too large.
    """
    if config.get("format") == FORMAT:
        return dict(config)
    document: dict[str, Any] = {"format": FORMAT}
    if name:
        document["name"] = name
    document["config"] = _pruned(config)
    if quant:
        document["quant"] = quant
    if checkpoint:
        document["checkpoint"] = checkpoint
    from_profile(document)
    size = len(json.dumps(document, separators=(",", ":")))
    if size > MAX_BYTES:
        raise Invalid(
            Problem(
                "config.json",
                f"{size} bytes after pruning",
                f"at most {MAX_BYTES} bytes",
                "use the config.json as it is, in a file or an image",
            )
        )
    return document


def from_profile(made: Mapping[str, Any]) -> Architecture:
    """The architecture that a profile describes. Raises `Invalid` if it describes none."""
    config, quant = made.get("config"), made.get("quant")
    if made.get("format") != FORMAT or not isinstance(config, Mapping):
        raise Invalid(
            Problem(
                "format",
                shown(str(made.get("format"))),
                FORMAT,
                "make it with `plimsoll models export`",
            )
        )
    from_config = architecture(config, quant if isinstance(quant, Mapping) else None)
    if "checkpoint" not in made:
        return from_config
    return _corrected(from_config, made["checkpoint"])


def _corrected(made: Architecture, given: object) -> Architecture:
    """The architecture as the checkpoint has it. given: ``checkpoint`` of a profile.

    Raises `plimsoll.errors.Invalid` for anything unbelievable.
    """
    if not isinstance(given, Mapping):
        raise wrong("", given, "a mapping")
    if "gguf" in given:
        result = with_table(made, given["gguf"])
    else:
        result = from_dict(given, len(made.blocks)).apply(made)
    if not 0 < result.parameters <= MAX_PARAMETERS:
        raise wrong("", f"{result.parameters} parameters", f"at most {MAX_PARAMETERS}")
    return result
