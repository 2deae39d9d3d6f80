"""What TGI is told and what holds otherwise: flags, options, defaults.

If the user says nothing:

    context          before 3.0: at most 4096 where it is not said
    prefill tokens   before 3.0: max-input-tokens + 50
                     from 3.0: GPU operations a second x GPUs / operations of a token, where both
                     are known and that is above 100; else 4096; at most the model's positions
    share            cuda-memory-fraction (1.0) x wiggle room, from 3.0; before, the fraction alone

Source: launcher/src/main.rs of 3.3.7 (`compute_optimal`, `Config::flop`). The launcher also lowers
the prefill tokens where its own estimate of the weights leaves no room; that is not followed.

The flags of ``text-generation-launcher``: ``--num-shard`` is tensor parallelism,
``--max-total-tokens`` the context, ``--max-batch-prefill-tokens`` the batched tokens,
``--cuda-memory-fraction`` the utilization, ``--cuda-graphs 0`` eager mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from plimsoll.engines import flags
from plimsoll.engines.base import Options, Reading
from plimsoll.engines.layers.dtypes import WEIGHT_BYTES, kv_dtype, weight_dtype
from plimsoll.engines.tables import VersionTable
from plimsoll.findings import Rule, finding
from plimsoll.models.architecture import MixerKind
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate, Parallelism
    from plimsoll.engines.tables import Constants
    from plimsoll.models.architecture import Architecture

TABLE: Final = VersionTable("TGI", Path(__file__).parent / "data/constants.json")
_LEAST: Final = 100
_WORDS: Final = MappingProxyType(
    {
        "eetq": "int8_per_channel_weight_only",
        "bitsandbytes": "int8_per_channel_weight_only",
        "bitsandbytes-nf4": "bitsandbytes",
        "bitsandbytes-fp4": "bitsandbytes",
        "marlin": "gptq",
    }
)
"""TGI's words for what vLLM calls otherwise."""
DEFAULT_REQUESTS: Final = 128
"""``--max-concurrent-requests``."""


@dataclass(frozen=True, slots=True)
class TGIOptions(Options):
    """What only TGI can be told."""

    cuda_graphs: str | None = None
    enable_prefill_logprobs: bool | None = None
    max_batch_total_tokens: int | None = None
    max_input_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """One start-up. share: of the GPU that is given out; room: the share of what is free after
    warm-up that goes to the cache (1 from 3.0 on); fits: an unsaid length becomes what fits;
    guessed: the prefill tokens are the launcher's; all_logits: the warm-up makes the logits of
    every prompt token.
    """

    max_model_len: int
    prefill_tokens: int
    requests: int
    share: Decimal
    room: Decimal
    dtype: str
    element: int
    kv_dtype: str
    fits: bool
    guessed: bool
    all_logits: bool


def load_quantization(word: str) -> str:
    """A ``--quantize`` word in vLLM's spelling."""
    return _WORDS.get(word, word)


def resolve(
    architecture: Architecture,
    settings: EngineSettings,
    parallelism: Parallelism,
    accelerator: Accelerator,
    figures: Constants,
) -> Resolved:
    """The settings with the engine's defaults filled in."""
    dtype = weight_dtype(architecture, settings.dtype)
    fraction = settings.utilization if settings.utilization is not None else Decimal(1)
    wiggle = Decimal(str(figures.number("wiggle_room")))
    of_all = figures.flag("room_of_all")
    tokens = settings.max_num_batched_tokens
    options = TGIOptions.of(settings)
    limit = int(figures.number("longest")) or architecture.max_model_len
    length = max(1, settings.max_model_len or min(architecture.max_model_len, limit))
    best = _compute_optimal(architecture, parallelism, accelerator, figures.version)
    if tokens is None and not of_all:
        tokens = (options.max_input_tokens or min(length, limit) - 1) + 50
    if tokens is None:
        tokens = min(best or int(figures.number("prefill_tokens")), architecture.max_model_len)
    return Resolved(
        length,
        max(1, tokens),
        settings.max_num_seqs or DEFAULT_REQUESTS,
        fraction * wiggle if of_all else fraction,
        Decimal(1) if of_all else wiggle,
        dtype,
        WEIGHT_BYTES.get(dtype, 2),
        kv_dtype(architecture, settings.kv_cache_dtype),
        settings.max_model_len is None and figures.flag("chunking"),
        settings.max_num_batched_tokens is None and of_all,
        figures.flag("prefill_logits") or bool(options.enable_prefill_logprobs),
    )


def _tera_operations(version: str, accelerator: str) -> int:
    """The speed of a GPU as the launcher knows it, 10^12 operations a second; 0 for no figure."""
    compute = TABLE.data["compute"]
    if TABLE.parse(version) < TABLE.parse(compute["since"]):
        return 0
    return int(compute["tera"].get(accelerator, 0))


def _compute_optimal(
    architecture: Architecture, parallelism: Parallelism, accelerator: Accelerator, version: str
) -> int:
    """Prefill tokens that keep the GPUs busy, by the launcher's count; 0 where it has none."""
    tera = _tera_operations(version, accelerator.name)
    if not tera or architecture.multimodal or not architecture.blocks:
        return 0
    block = architecture.blocks[-1]
    mixer = next((m for m in block.mixers if m.heads and m.kind is not MixerKind.MLA), None)
    part = block.feed_forward
    if mixer is None or part is None:
        return 0
    width = part.intermediate or part.expert_intermediate * part.experts_per_token
    hidden = architecture.hidden_size
    attention = 2 * mixer.head_dim * hidden * (3 * mixer.heads + 2 * mixer.kv_heads)
    layer = attention + 6 * hidden * width
    best = tera * 10**12 * parallelism.tensor // max(1, layer * len(architecture.blocks))
    return best if best > _LEAST else 0


GRAMMAR: Final = flags.grammar("TGI", Path(__file__).parent / "data/flags.json")


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    command = flags.read(GRAMMAR, args, settings, asked)
    options, split, problems = command.options, command.split, command.problems
    settings = command.settings
    if options.get("cuda_graphs") == "0":
        del options["cuda_graphs"]
        settings = replace(settings, enforce_eager=True)
    sharded = str(options.pop("sharded", "true")).lower()
    if sharded == "false":
        if split.tensor not in (None, 1):
            problems.append(finding(Rule.NOT_SHARDED, Field.EXTRA_ARGS, gpus=split.tensor or 1))
        split = replace(split, tensor=split.tensor or 1)
    elif sharded != "true":
        problems.append(finding(Rule.SHARDED_VALUE, Field.EXTRA_ARGS, f"--sharded={sharded}"))
    settings = replace(settings, options=TGIOptions(**options).or_none())
    return command.reading(settings, split)


def write_arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``text-generation-launcher`` that make it run as estimated, the user's last."""
    values = flags.values_to_write(estimate, settings)
    values["max_model_len"] = settings.max_model_len
    options = TGIOptions.of(settings).as_mapping()
    if settings.enforce_eager:
        options["cuda_graphs"] = "0"
    return (*GRAMMAR.write(values, options), *GRAMMAR.passed_on(settings))
