"""How long the parts of a decision take, in this process: estimates, structures, inventories.

The baseline is what Python's own JSON reader takes for the same model's config or the same nodes:
nobody can know them for less.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from controlplane.nodes import gpu_node
from perf.results import Report, percentile
from plimsoll.accelerators.catalogue import find
from plimsoll.engines import registry
from plimsoll.engines.base import EngineSettings, Parallelism, Workload
from plimsoll.inventory.nodes import read_node
from plimsoll.inventory.pools import pools
from plimsoll.models import catalogue
from plimsoll.models.config import architecture

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS: Final = (1024, 2048, 4096)
LONG_MODEL: Final = "Qwen/Qwen3-235B-A22B"
"""Of 94 layers."""
NODES: Final = 1000


def run(report: Report) -> None:
    """The figures of every engine, of one structure and of one inventory."""
    configs = [json.dumps(entry.config) for entry in catalogue.load()]
    baseline = percentile([_milliseconds(json.loads, text) for text in configs], 0.5)
    for name in registry.NAMES:
        figure = f"estimate by {name}, all models: median"
        report.add(figure, percentile(_estimates(name), 0.5), "ms", "<= 1", baseline)
    entry = catalogue.load().find(LONG_MODEL)
    assert entry is not None
    read = min(_milliseconds(architecture, entry.config, entry.quant) for _ in range(5))
    parsed = min(_milliseconds(json.loads, json.dumps(entry.config)) for _ in range(5))
    report.add("structure of 94 layers from its config", read, "ms", "<= 3", parsed)
    nodes = [
        gpu_node(f"n-{i}", gpu, labels={"topology.kubernetes.io/zone": "abc"[i % 3]})
        for i, gpu in enumerate(["a100-80gb", "l4", "h100-80gb", "t4"] * (NODES // 4))
    ]
    facts = [fact for node in nodes if (fact := read_node(node)) is not None]
    grouped = min(_milliseconds(pools, facts) for _ in range(5))
    parsed = min(_milliseconds(json.loads, json.dumps(nodes)) for _ in range(5))
    report.add(f"pools of {NODES} nodes", grouped, "ms", "<= 10", parsed)


def _estimates(name: str) -> list[float]:
    """Milliseconds of estimates that no memory of earlier ones answers, for every model."""
    engine, h200 = registry.engine(name), find("nvidia-h200-141gb")
    assert h200 is not None
    times = []
    for entry in catalogue.load():
        own = entry.architecture
        for length in (None, *LENGTHS):
            settings = EngineSettings(
                name=name, max_model_len=length and min(length, own.max_model_len)
            )
            spent = _milliseconds(engine.estimate, own, settings, Workload(), Parallelism(), h200)
            if length is not None:
                times.append(spent)
    return times


def _milliseconds(call: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return (time.perf_counter() - start) * 1e3
