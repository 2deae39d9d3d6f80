"""Specs: sane ones, ones with odd values, and hostile ones, through request, decision and words.

Two targets. `SPECS` holds every decision against what must be true of all. `NEIGHBOURS` changes
one thing for the worse or for the better, and holds the two answers against each other.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from controlplane.nodes import GPUS as NODES
from fuzz import values
from fuzz.harness import Target
from fuzz.promises import Texts, broken_promises, decided, llmdeployment, nodes_of
from plimsoll.accelerators.catalogue import everything
from plimsoll.decision.verdict import Decision
from plimsoll.engines.registry import NAMES
from plimsoll.inventory.pools import NO_INVENTORY
from plimsoll.models.catalogue import load
from plimsoll.paths import Field
from plimsoll.units import MIB
from plimsoll.workloads.llmdeployment import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from plimsoll.decision.verdict import Change, Verdict

MODELS: Final = tuple(entry.id for entry in load())
GPUS: Final = tuple(accelerator.name for accelerator in everything())
ENGINES: Final = ("vllm", "vllm", "vllm", *NAMES)

Spec = dict[str, Any]

USUAL: Final[dict[str, tuple[Any, ...]]] = {
    "engine.version": ("0.6.3", "0.8.5", "0.10.1", "0.19.0", "0.33.0", "0.4.9", "0.5.15", "1.2.0"),
    "engine.dtype": ("auto", "bfloat16", "float16", "float32"),
    "engine.quantization": ("fp8", "bitsandbytes", "awq"),
    "engine.maxModelLen": (512, 4096, 16384, 32768, 131072),
    "engine.maxNumSeqs": (1, 16, 128, 256, 1024),
    "engine.maxNumBatchedTokens": (512, 2048, 8192, 16384),
    "engine.kvCacheDtype": ("auto", "fp8", "q8_0"),
    "engine.kvCacheMemory": ("2Gi", "16Gi"),
    "engine.gpuMemoryUtilization": ("0.5", "0.85", "0.9", "0.95"),
    "engine.enforceEager": (True, False),
    "engine.lora": ({}, {"maxLoras": 4}, {"maxLoras": 2, "maxRank": 64}),
    "engine.speculative": ({"method": "ngram", "tokens": 4}, {"method": "mtp"}),
    "engine.cpuOffload": ("4Gi", "40Gi"),
    "engine.parallelism.tensor": (1, 2, 4, 8),
    "engine.parallelism.pipeline": (1, 2, 4),
    "engine.parallelism.data": (1, 2),
    "engine.parallelism.expert": (True, False),
    "workload.concurrentSequences": (1, 4, 32, 200),
    "workload.inputTokens": (256, 4000),
    "workload.outputTokens": (128, 2000),
    "workload.imagesPerPrompt": (0, 1, 8),
    "workload.videosPerPrompt": (0, 1),
    "accelerator.gpusPerReplica": (1, 2, 4, 8, 16),
    "accelerator.minMemory": ("24Gi", "80Gi"),
    "accelerator.nodeSelector": ({"zone": "a"}, {"nvidia.com/gpu.product": "NVIDIA-L4"}),
    "accelerator.tolerations": (
        [{"operator": "Exists"}],
        [{"key": "team", "value": "a", "effect": "NoSchedule"}],
    ),
    "accelerator.prefer": ("FewestGPUs", "Smallest", "FirstAvailable"),
    "placementPolicy": ("Stay", "Follow"),
    "replicas": (0, 1, 3),
    "model.quantization": ("fp8", "awq", "none", "int8"),
}
"""What people write, by field."""

FLAGS: Final = (
    "--max-model-len",
    "--max-num-seqs",
    "--gpu-memory-utilization",
    "--enforce-eager",
    "--tensor-parallel-size",
    "--seed",
    "--swap-space",
    "--hf-overrides",
    "--trust-remote-code",
    "--context-length",
    "--mem-fraction-static",
    "--ctx-size",
    "--no-such-flag",
    "-tp",
    "--",
    "-",
)


def put(spec: Spec, path: str, value: Any) -> None:
    """Set a field by its path below ``spec``."""
    *parents, last = path.split(".")
    for name in parents:
        spec = spec.setdefault(name, {})
    spec[last] = copy.deepcopy(value)


def drop(spec: Spec, path: str) -> None:
    """Take a field away, if it is there."""
    *parents, last = path.split(".")
    for name in parents:
        spec = spec.get(name) or {}
    spec.pop(last, None)


def sane(random: Random) -> Spec:
    """What somebody might write who means no harm."""
    spec: Spec = {"model": {"uri": f"hf://{random.choice(MODELS)}"}}
    if random.random() < 0.08:
        spec["model"] = {"parameters": random.choice(("1B", "8B", "70B", "1.5T"))}
    if random.random() < 0.85:
        put(spec, "accelerator.allowed", random.sample(GPUS, random.choice((1, 1, 1, 2, 4))))
    if random.random() < 0.6:
        put(spec, "engine.name", random.choice(ENGINES))
    for path, usual in USUAL.items():
        if random.random() < 0.09:
            put(spec, path, random.choice(usual))
    if random.random() < 0.15:
        put(spec, "engine.extraArgs", arguments(random))
    return spec


def arguments(random: Random) -> list[str]:
    """A few flags, with values in either form, and stray words."""
    made: list[str] = []
    for _ in range(random.choice((1, 1, 2, 4))):
        flag, value = random.choice(FLAGS), values.text(random)
        made += random.choice(([flag], [flag, value], [f"{flag}={value}"], [value]))
    return made


def drawn(random: Random) -> Spec:
    """A sane spec; an odd value in every second one, something hostile in every fifth."""
    spec = sane(random)
    mood = random.random()
    if mood < 0.5:
        return spec
    for _ in range(random.choice((1, 1, 2, 3))):
        path = random.choice(list(USUAL))
        if mood < 0.8:
            put(spec, path, _odd(random, random.choice(USUAL[path])))
        elif mood < 0.9:
            values.mutate(random, spec)
        else:
            values.mutate(random, spec, values.text)
    return spec


def _odd(random: Random, usual: Any) -> Any:
    """A value of the same kind that hardly anybody would write."""
    if isinstance(usual, bool):
        return random.choice((True, False, None))
    if isinstance(usual, int):
        return values.count(random)
    if isinstance(usual, str):
        return random.choice((*values.QUANTITIES, *values.NUMERALS, *values.WORDS))
    if isinstance(usual, list):
        return [_odd(random, value) for value in usual]
    return {str(key): _odd(random, value) for key, value in usual.items()} if usual else {}


@dataclass(frozen=True, slots=True)
class Asked:
    """A spec, and the kinds of GPU that the cluster has nodes of; none: no cluster is known."""

    spec: Spec
    nodes: tuple[str, ...]


def asked(random: Random) -> Asked:
    """A spec in a cluster: none, one that has everything, or a few kinds."""
    spec, kinds = drawn(random), tuple(NODES)
    few = tuple(sorted(random.sample(kinds, random.choice((1, 2, 3)))))
    return Asked(spec, random.choice(((), (), kinds, few)))


def spec_faults(case: Asked) -> Iterator[str]:
    """What breaks a promise."""
    inventory = nodes_of(case.nodes) if case.nodes else NO_INVENTORY
    yield from broken_promises(*decided(llmdeployment(case.spec), Texts(), inventory))


SPECS: Final = Target("specs", asked, spec_faults, few=60)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A spec and what is changed in it."""

    spec: Spec
    change: str


WORSE: Final = ("longer context", "more sequences", "longer prompts", "graphs")
BETTER: Final = ("larger share", "larger GPU")
LARGER: Final = {
    "nvidia-a100-40gb": "nvidia-a100-80gb",
    "nvidia-h100-80gb": "nvidia-h200-141gb",
    "nvidia-l4": "nvidia-l40s",
}
SLACK: Final = 16 * MIB
"""By how many bytes asking for more may need less: graphs are captured at sizes that engines round,
and a stage of a pipeline takes whole layers."""
SLACK_OF_SGLANG: Final = 256 * MIB
"""SGLang leaves more memory outside its share the more graphs it captures; without them more of
what is outside the share counts as needed there."""


def neighbours(random: Random) -> Neighbours:
    """A sane spec on one kind of GPU and one change."""
    spec = sane(random)
    drop(spec, "engine.extraArgs")
    drop(spec, "engine.kvCacheMemory")
    put(spec, "accelerator.allowed", [random.choice((*LARGER, "nvidia-h200-141gb"))])
    return Neighbours(spec, random.choice((*WORSE, *BETTER, "alternatives", "again")))


def neighbour_faults(pair: Neighbours) -> Iterator[str]:
    """Whether the answers go the right way."""
    verdict = _verdict(pair.spec)
    if verdict.estimate is None or verdict.problems:
        return
    if pair.change == "again":
        if _verdict(copy.deepcopy(pair.spec)) != verdict:
            yield "decided otherwise: the same spec, twice"
        yield from _chosen_again(pair.spec, verdict)
    elif pair.change == "alternatives":
        yield from _alternatives(pair.spec, verdict)
    else:
        yield from _held_against(pair, verdict)


def _verdict(spec: Spec) -> Verdict:
    return decided(llmdeployment(spec), Texts())[1]


def _pinned(spec: Spec, verdict: Verdict) -> Spec:
    """The spec with the split and the context that were chosen, so that nothing else moves."""
    made, estimate = copy.deepcopy(spec), verdict.estimate
    assert estimate is not None
    split = estimate.parallelism
    for name in ("tensor", "pipeline", "data", "expert"):
        put(made, f"engine.parallelism.{name}", getattr(split, name))
    put(made, "accelerator.allowed", [verdict.accelerator])
    put(made, "accelerator.gpusPerReplica", split.gpus)
    put(made, "engine.maxModelLen", estimate.max_model_len)
    return made


def _chosen_again(spec: Spec, verdict: Verdict) -> Iterator[str]:
    """What was chosen is allowed if somebody asks for exactly that."""
    if verdict.decision is Decision.ALLOW:
        again = _verdict(_pinned(spec, verdict))
        if again.decision is not Decision.ALLOW:
            yield f"chosen and then refused: {again.reason} {again.problems[:2]}"


def _alternatives(spec: Spec, verdict: Verdict) -> Iterator[str]:
    """Each proposed set of changes, made, is no longer refused."""
    for alternative in verdict.alternatives:
        made = copy.deepcopy(spec)
        for change in alternative.changes:
            _make(made, change)
        after = _verdict(made)
        if after.denied:
            changes = [f"{PLACES.path(c.field)}={c.value}" for c in alternative.changes]
            yield f"proposed and then refused: {changes}: {after.reason} {after.problems[:2]}"


def _make(spec: Spec, change: Change) -> None:
    path = PLACES.path(change.field).removeprefix("spec.")
    if not change.value:
        drop(spec, path)
        return
    value = yaml.safe_load(change.value)
    quoted = change.field in (Field.UTILIZATION, Field.VERSION, Field.PARAMETERS)
    put(spec, path, str(value) if quoted else value)


def _held_against(pair: Neighbours, verdict: Verdict) -> Iterator[str]:
    base = _pinned(pair.spec, verdict)
    other = copy.deepcopy(base)
    workload = base.get("workload", {})
    assert verdict.estimate is not None
    length = verdict.estimate.max_model_len
    if pair.change == "longer context":
        put(base, "engine.maxModelLen", max(1, length // 2))
    elif pair.change == "more sequences":
        put(other, "workload.concurrentSequences", 2 * workload.get("concurrentSequences", 1))
    elif pair.change == "longer prompts":
        put(base, "workload.inputTokens", max(1, length // 4))
        put(base, "workload.outputTokens", max(1, length // 4))
        other = copy.deepcopy(base)
        put(other, "workload.inputTokens", max(1, length // 2))
    elif pair.change == "graphs":
        put(base, "engine.enforceEager", True)
        put(other, "engine.enforceEager", False)
    elif pair.change == "larger share":
        put(base, "engine.gpuMemoryUtilization", "0.7")
        put(other, "engine.gpuMemoryUtilization", "0.9")
    else:
        larger = LARGER.get(verdict.accelerator)
        if larger is None:
            return
        put(other, "accelerator.allowed", [larger])
    sglang = pair.change == "graphs" and base["engine"].get("name") == "sglang"
    slack = SLACK_OF_SGLANG if sglang else SLACK
    yield from _compared(pair.change, slack, _verdict(base), _verdict(other))


def _compared(change: str, slack: int, less: Verdict, more: Verdict) -> Iterator[str]:
    """less: before the change, more: after it. slack: by how many bytes more may need less."""
    if less.problems or more.problems or less.estimate is None or more.estimate is None:
        return
    if change in BETTER:
        if less.decision is Decision.ALLOW and more.denied:
            yield f"{change} fits no more: {more.reason}, short by {more.short_by}"
        return
    fell = less.estimate.required - more.estimate.required
    if fell > slack:
        terms = {
            str(term.name): (term.bytes - more.estimate.terms[term.name].bytes) // MIB
            for term in less.estimate.terms
            if term.name in more.estimate.terms
        }
        yield f"{change} needs less: by {fell // MIB} MiB, MiB by term {terms}"
    if less.denied and more.decision is Decision.ALLOW:
        yield f"{change} fits, less does not: {less.reason}"


NEIGHBOURS: Final = Target("neighbours", neighbours, neighbour_faults, few=60)
