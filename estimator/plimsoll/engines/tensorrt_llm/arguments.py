"""TensorRT-LLM's command line, read and written: extraArgs into settings, an estimate into flags.

It must not estimate. The options file (``--config``, ``--extra_llm_api_options``) is not read: it
may set anything, so that a denial becomes a warning that names it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plimsoll.engines.plain_flags import Grammar, passed_on, read
from plimsoll.engines.tensorrt_llm.constants import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate, Reading


@lru_cache(maxsize=1)
def grammar() -> Grammar:
    """The flags of ``trtllm-serve``."""
    text = Path(__file__).parent.joinpath("data/flags.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return Grammar(
        "TensorRT-LLM",
        {name: (target, kind) for name, (target, kind) in data["typed"].items()},
        {name: bool(valued) for name, valued in data["memory"].items()},
        {name: bool(valued) for name, valued in data["harmless"].items()},
        data["aliases"],
        equals=True,
    )


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and the typed split; never raises.

    ``--ep_size`` above 1 keeps experts whole; how many ranks share one is the tensor size's rest.
    """
    reading = read(grammar(), args, settings, asked)
    own = dict(reading.settings.own)
    ranks = own.get("ep_size", "")
    if ranks.isdecimal() and reading.split.expert is None:
        reading = replace(reading, split=replace(reading.split, expert=int(ranks) > 1))
    return reading


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``trtllm-serve`` that make it run as estimated, the user's own last."""
    split, own = estimate.parallelism, dict(settings.own)
    out = [f"--tp_size={split.tensor}"]
    if split.pipeline > 1:
        out.append(f"--pp_size={split.pipeline}")
    if split.expert:
        out.append(f"--ep_size={own.get('ep_size', str(split.tensor))}")
    out.append(f"--max_seq_len={estimate.max_model_len}")
    if settings.max_num_seqs is not None:
        out.append(f"--max_batch_size={settings.max_num_seqs}")
    if settings.max_num_batched_tokens is not None:
        out.append(f"--max_num_tokens={settings.max_num_batched_tokens}")
    if settings.utilization is not None:
        out.append(f"--kv_cache_free_gpu_memory_fraction={settings.utilization}")
    figures = TABLE.or_newest(settings.version)
    if settings.kv_cache_dtype and figures.flag("cache_dtype_flag"):
        out.append(f"--kv_cache_dtype={settings.kv_cache_dtype}")
    for name, value in own.items():
        if name == "enable_attention_dp":
            out += ["--enable_attention_dp"] * (value == "True")
        elif name != "ep_size":
            out.append(f"--{name}={value}")
    return (*out, *passed_on(settings))
