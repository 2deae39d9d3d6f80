"""TGI's command line (``text-generation-launcher``), read and written.

It must not estimate. ``--num-shard`` is tensor parallelism, ``--max-total-tokens`` the context,
``--max-batch-prefill-tokens`` the batched tokens, ``--cuda-memory-fraction`` the utilization,
``--cuda-graphs 0`` eager mode.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plimsoll.engines.list_flags import list_grammar, passed_on, read_list
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.engines.base import AskedSplit, EngineSettings, Estimate, Reading
    from plimsoll.engines.list_flags import ListGrammar

_GRAPHS: Final = "cuda-graphs"


def tgi_grammar() -> ListGrammar:
    """The flags of ``text-generation-launcher``."""
    return list_grammar("TGI", Path(__file__).parent / "data/flags.json", prefixes=False)


def read_arguments(args: Sequence[str], settings: EngineSettings, asked: AskedSplit) -> Reading:
    """Read extraArgs beside the typed settings and split. Never raises."""
    reading = read_list(tgi_grammar(), args, settings, asked)
    own = dict(reading.settings.own)
    problems = list(reading.problems)
    tensor = reading.split.tensor
    said = reading.settings
    if own.get(_GRAPHS, "") == "0":
        own.pop(_GRAPHS)
        said = replace(said, enforce_eager=True)
    sharded = own.pop("sharded", "").lower()
    if sharded == "false":
        if tensor not in (None, 1):
            problems.append(finding(Rule.NOT_SHARDED, Field.EXTRA_ARGS, gpus=tensor))
        tensor = tensor or 1
    elif sharded not in ("", "true"):
        given = f"--sharded={sharded}"
        problems.append(finding(Rule.SHARDED_VALUE, Field.EXTRA_ARGS, given))
    said = replace(said, own=tuple(sorted(own.items())))
    split = replace(reading.split, tensor=tensor)
    return replace(reading, settings=said, split=split, problems=tuple(problems))


def arguments(estimate: Estimate, settings: EngineSettings) -> tuple[str, ...]:
    """The flags of ``text-generation-launcher`` that make it run as estimated, the user's last."""
    out = [f"--num-shard={estimate.parallelism.tensor}"]
    if settings.max_model_len is not None:
        out.append(f"--max-total-tokens={settings.max_model_len}")
    if settings.max_num_batched_tokens is not None:
        out.append(f"--max-batch-prefill-tokens={settings.max_num_batched_tokens}")
    if settings.max_num_seqs is not None:
        out.append(f"--max-batch-size={settings.max_num_seqs}")
    if settings.utilization is not None:
        out.append(f"--cuda-memory-fraction={settings.utilization}")
    if settings.kv_cache_dtype:
        out.append(f"--kv-cache-dtype={settings.kv_cache_dtype}")
    if settings.dtype:
        out.append(f"--dtype={settings.dtype}")
    if settings.quantization:
        out.append(f"--quantize={settings.quantization}")
    if settings.enforce_eager:
        out.append(f"--{_GRAPHS}=0")
    out.extend(f"--{name}={value}" for name, value in settings.own)
    out.extend(passed_on(tgi_grammar(), settings))
    return tuple(out)
