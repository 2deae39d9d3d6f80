"""Configs of models of every family, some fields changed, as ConfigMaps of hostile authors.

The configs are those of the catalogue and those that families are held to, so that every reader of
a family meets values that it did not expect. One case in ten is a text that is no JSON any more.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fuzz import values
from fuzz.harness import Target
from fuzz.promises import Texts, broken_promises, decided, llmdeployment
from plimsoll.engines.registry import NAMES
from plimsoll.models.catalogue import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

FAMILIES: Final = Path(__file__).parents[1] / "data" / "family_configs.json"
GPUS: Final = ("nvidia-l4", "nvidia-a100-80gb", "nvidia-h200-141gb", "amd-mi300x-192gb")

METHODS: Final = (
    "gptq", "awq", "fp8", "compressed-tensors", "bitsandbytes", "mxfp4", "modelopt", "aqlm",
    "quanto", "hqq", "torchao", "no-such-method",
)  # fmt: skip
RULES: Final = (
    "lm_head",
    "re:.*",
    "re:(?x)(.+) +!",
    "re:(a+)+$",
    "re:(a|a)*b",
    "re:.*.*.*.*!",
    "re:[",
    "re:\\d{1000}{1000}",
    "*" * 60,
    "model.layers.*.mlp.*",
    "model.layers.0.self_attn.q_proj",
    "\x1b[2J",
)
"""Names of layers that a quantization leaves out, in the forms that configs know, and bad ones."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document and what it is served with."""

    text: str
    engine: str
    gpu: str


@lru_cache(maxsize=1)
def known() -> tuple[dict[str, Any], ...]:
    """Configs by which every family is read."""
    families = [row["config"] for row in json.loads(FAMILIES.read_text("utf-8"))]
    seen: dict[str, dict[str, Any]] = {}
    for entry in load():
        seen.setdefault(str(entry.config.get("model_type")), dict(entry.config))
    profiles = [entry.profile() for entry in list(load())[:10]]
    return (*families, *seen.values(), *profiles)


def stored(random: Random) -> Stored:
    """A config with a few changes."""
    config = copy.deepcopy(random.choice(known()))
    for _ in range(random.choice((0, 1, 1, 2, 3, 8))):
        values.mutate(random, config, random.choice((values.number, values.count, values.thing)))
    if random.random() < 0.25:
        config["quantization_config"] = quantization(random)
    if random.random() < 0.1:
        config["num_hidden_layers"] = random.choice((0, 1, 511, 512, 1000, 10_000, 10**9))
    text = json.dumps(config)
    if random.random() < 0.1:
        text = values.spoil(random, text.encode()).decode("utf-8", "replace")
    if random.random() < 0.01:
        text = random.choice(("[" * 100_000, '{"a":' * 50_000, "{" + '"k":1,' * 100_000 + '"k":1}'))
    return Stored(text, random.choice(NAMES), random.choice(GPUS))


def quantization(random: Random) -> dict[str, Any]:
    """A quantization config, its rules few or many, its bits anything."""
    rules = [random.choice(RULES) for _ in range(random.choice((0, 1, 3, 20)))]
    if random.random() < 0.05:
        rules *= 3000
    made: dict[str, Any] = {
        "quant_method": random.choice(METHODS),
        "bits": random.choice((1, 2, 3, 4, 8, 16, 0, -1, 64, "4", None)),
        "group_size": random.choice((-1, 0, 1, 32, 128, 2**40)),
        random.choice(("ignore", "modules_to_not_convert", "ignored_layers")): rules,
        "config_groups": {
            "group_0": {
                "targets": random.choice((["Linear"], rules)),
                "weights": {"num_bits": random.choice((1, 4, 8, 0)), "type": "int"},
            }
        },
    }
    for _ in range(random.choice((0, 1, 2))):
        values.mutate(random, made)
    return made


def stored_faults(case: Stored) -> Iterator[str]:
    """What breaks a promise of a decision on a ConfigMap's model."""
    spec = {
        "model": {"configMapRef": {"name": "m"}},
        "engine": {"name": case.engine},
        "accelerator": {"allowed": [case.gpu]},
    }
    yield from broken_promises(*decided(llmdeployment(spec), Texts({"m": case.text})))


CONFIGS: Final = Target("configs", stored, stored_faults, few=80)
