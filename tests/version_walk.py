"""What changes from release to release of vLLM, over one model of each family, and by what.

A start is a model with a GPU and flags. Of every release it has facts: the rules that stop it, or
else what it starts with and what each term takes. Where a fact is another one than a release
before, something that this release begins must explain it:

    a figure     of data/constants.json, without whose step the fact would be as before
    a gate       of the table of gates, or a word, capability, model or flag of those by release

``python -m version_walk`` (`make versions`) writes docs/versions.md; a change that nothing
explains fails the test.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gate_sides import RELEASES
from plimsoll.accelerators import catalogue as gpus
from plimsoll.engines import gates
from plimsoll.engines.base import NOTHING_ASKED, EngineSettings, Parallelism, Workload
from plimsoll.engines.registry import engine
from plimsoll.engines.vllm.defaults import resolve
from plimsoll.engines.vllm.options import TABLE
from plimsoll.models import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs/versions.md"
_VLLM: Final = ROOT / "estimator/plimsoll/engines/vllm/data"
Facts = dict[str, object]


@dataclass(frozen=True)
class Start:
    """A start that is tried on every release. said: typed settings; args: the engine's flags."""

    name: str
    model: str
    gpu: str = "nvidia-h100-80gb"
    tensor: int = 1
    args: tuple[str, ...] = ()
    said: dict[str, Any] = field(default_factory=dict)


_LLAMA: Final = "meta-llama/Llama-3.1-8B-Instruct"
STARTS: Final = (
    Start("dense", _LLAMA),
    Start("dense, two ranks", _LLAMA, tensor=2),
    Start("dense, on A100", _LLAMA, "nvidia-a100-80gb"),
    Start("dense, on L4", _LLAMA, "nvidia-l4", said={"max_model_len": 4096}),
    Start("dense, on T4", _LLAMA, "nvidia-t4", 2, said={"max_model_len": 4096}),
    Start("dense, fp8 while loading, on T4", _LLAMA, "nvidia-t4", 1, ("--quantization=fp8",)),
    Start("dense, fp8 cache", _LLAMA, args=("--kv-cache-dtype=fp8",)),
    Start("dense, LoRA", _LLAMA, args=("--enable-lora",)),
    Start("dense, small batch", _LLAMA, args=("--max-num-batched-tokens=512",)),
    Start("dense, whole share", _LLAMA, args=("--gpu-memory-utilization=0.995",)),
    Start("dense, new", "Qwen/Qwen3-8B-FP8"),
    Start("AWQ, on L4", "Qwen/Qwen2.5-7B-Instruct-AWQ", "nvidia-l4"),
    Start("windows, on T4", "google/gemma-2-9b-it", "nvidia-t4", 4, said={"max_model_len": 2048}),
    Start("windows and images", "google/gemma-3-27b-it", said={"max_model_len": 8192}),
    Start("images", "Qwen/Qwen2.5-VL-7B-Instruct", said={"max_model_len": 8192}),
    Start("experts", "Qwen/Qwen3-30B-A3B"),
    Start("experts, LoRA", "Qwen/Qwen3-30B-A3B", args=("--enable-lora",)),
    Start("experts in MXFP4", "openai/gpt-oss-20b"),
    Start("latent attention", "deepseek-ai/DeepSeek-V2-Lite"),
    Start("recurrent layers", "nvidia/Nemotron-H-8B-Base-8K"),
    Start("gated delta nets", "Qwen/Qwen3-Next-80B-A3B-Instruct", "nvidia-h200-141gb", 2),
    Start("speech", "openai/whisper-large-v3"),
    Start("removed", "baichuan-inc/Baichuan2-7B-Chat"),
)


@dataclass(frozen=True)
class Change:
    """A fact of a start that is another one from a release on. by: what explains it."""

    start: str
    release: str
    fact: str
    before: object
    after: object
    by: tuple[str, ...]


def facts(start: Start, version: str) -> Facts:
    """What a release does with a start: the rules that stop it, or sizes in bytes and counts."""
    entry = catalogue.load().find(start.model)
    assert entry is not None
    model, accelerator = replace(entry.architecture), gpus.find(start.gpu)  # remembers nothing
    assert accelerator is not None
    vllm, split = engine("vllm"), Parallelism(start.tensor)
    said = EngineSettings(version=version, **start.said)
    read = vllm.read_arguments(start.args, said, NOTHING_ASKED)
    found = (*read.problems, *vllm.problems(model, read.settings, split, accelerator))
    if found:
        return {"refused by": tuple(sorted({str(one.rule) for one in found}))}
    made = vllm.estimate(model, read.settings, Workload(), split, accelerator)
    resolved = resolve(model, read.settings, accelerator, TABLE.constants(version))
    sizes: Facts = {str(term.name): term.bytes for term in made.terms}
    doubts = tuple(sorted(str(n.rule) for n in made.notes if "transformers" in str(n.rule)))
    return sizes | {
        "doubts": doubts,
        "usable": made.usable,
        "tokens of cache": made.kv_tokens,
        "sequences": resolved.seqs,
        "batch": resolved.batched_tokens,
        "context": resolved.max_model_len,
        "dtype": resolved.dtype,
    }


@cache
def walk() -> tuple[Change, ...]:
    """Every change, release by release, with what explains it."""
    found: list[Change] = []
    for start in STARTS:
        by_release = {release: facts(start, release) for release in RELEASES["vllm"]}
        for (_, old), (after, new) in pairwise(by_release.items()):
            started = "refused by" not in old and "refused by" not in new
            names = {**old, **new} if started else ("refused by",)
            changed = [name for name in names if old.get(name) != new.get(name)]
            if not changed:
                continue
            reverted = {name: _without(start, after, [name]) for name in figures_from(after)} | {
                "": _without(start, after, figures_from(after))
            }
            for name in changed:
                was, now = old.get(name), new.get(name)
                by = _explained(start, after, name, (was, now), new, reverted)
                found.append(Change(start.name, after, name, was, now, by))
    return tuple(found)


def _explained(
    start: Start,
    release: str,
    name: str,
    values: tuple[object, object],
    new: Facts,
    reverted: dict[str, Facts],
) -> tuple[str, ...]:
    """The figures without whose step a fact would be another one, and the tables that step."""
    by = [one for one, other in reverted.items() if one and other.get(name) != new.get(name)]
    if not by and reverted[""].get(name) != new.get(name):
        by = [*figures_from(release)]
    by += tables_from(start, release, values)
    return tuple(dict.fromkeys(by))


@cache
def figures_from(release: str) -> tuple[str, ...]:
    """The figures that have a step at a release."""
    own = TABLE.parse(release)
    return tuple(
        name
        for name, entries in TABLE.data["figures"].items()
        if any(TABLE.parse(entry["since"]) == own for entry in entries[1:])
    )


def _without(start: Start, release: str, names: tuple[str, ...] | list[str]) -> Facts:
    """The facts of a release as they would be without the steps of some figures."""
    with _stepping_back(release, tuple(names)):
        return facts(start, release)


@contextmanager
def _stepping_back(release: str, names: tuple[str, ...]) -> Iterator[None]:
    """The table of figures without the steps that some of them have at a release."""
    own, data = TABLE.parse(release), TABLE.data
    kept = {
        name: [e for e in data["figures"][name] if TABLE.parse(e["since"]) != own] for name in names
    }
    changed = deepcopy({name: data["figures"][name] for name in names})
    data["figures"].update(kept)
    TABLE._digests.cache_clear()
    TABLE._by_text.cache_clear()
    try:
        yield
    finally:
        data["figures"].update(changed)
        TABLE._digests.cache_clear()
        TABLE._by_text.cache_clear()


def tables_from(start: Start, release: str, values: tuple[object, object]) -> Iterator[str]:
    """The rows of other tables that begin or end at a release and speak of a start."""
    own = TABLE.parse(release)
    rules = {rule for value in values if isinstance(value, tuple) for rule in value}
    for rule in sorted(map(str, rules)):
        gate = gates.table().get(rule)
        for span in gate.engines.get("vllm", ()) if gate else ():
            if own in {TABLE.parse(end) for end in (span.since, span.until) if end}:
                yield f"gate {rule}"
    entry = catalogue.load().find(start.model)
    assert entry is not None
    model, held = entry.architecture, entry.architecture.quantization
    words = {held.method if held else "", start.said.get("quantization", "")}
    words |= {one.partition("=")[2] for one in start.args if one.startswith("--quantization")}
    names = {model.class_name, f"{model.model_type} with slots", *words}
    names |= {one.partition("=")[0] for one in start.args}
    names |= {f"{held.method}/{one.name}" for one in held.schemes} if held else set()
    names.add("multimodal" if model.multimodal else "text")
    names |= {"fp8/blocks"} if held and held.method == "fp8" else set()
    for name in sorted(names & _steps(release)):
        yield f"release of {name}"


@cache
def _steps(release: str) -> frozenset[str]:
    """Names that begin, end or change at a release in the tables by release."""
    own, names = TABLE.parse(release), set[str]()
    for file in ("architectures", "flag_releases"):
        data = json.loads((_VLLM / f"{file}.json").read_text("utf-8"))
        for table in (data[which] for which in data if which != "source"):
            names |= {n for at, each in table.items() if TABLE.parse(at) == own for n in each}
    slots = json.loads((_VLLM / "lora.json").read_text("utf-8"))["embedding_modules"]
    names |= {f"{model} with slots" for model, at in slots.items() if TABLE.parse(at) == own}
    support = json.loads((_VLLM / "support.json").read_text("utf-8"))
    for table in (support["without stages"], support["without adapters"]):
        for span, classes in table.items():
            if own in {TABLE.parse(end) for end in span.split("-") if end}:
                names.update(classes)
    data = json.loads((_VLLM / "quantization.json").read_text("utf-8"))
    rows = {word: ends for word, (_, *ends) in data["words"].items()}
    for name, ends in (*rows.items(), *data["deprecated"].items()):
        if own in {TABLE.parse(end) for end in ends if end}:
            names.add(name)
    for table in ("capability", "dtypes"):
        for name, steps in data[table].items():
            if own in {TABLE.parse(since) for since, _ in steps if since}:
                names.add(name)
    return frozenset(names)


def page() -> str:
    """The changes as a page in Markdown: docs/versions.md."""
    first, last = RELEASES["vllm"][0], RELEASES["vllm"][-1]
    lines = [
        "# What changes from release to release",
        "",
        f"Every release of vLLM from {first} to {last}, over one model of each family: what else",
        "is refused, started with or counted from a release on, and the figure or the row of a",
        "table that says so. A release that is not listed changes nothing. Made by",
        "`make versions`; a change that nothing explains fails a test.",
        "",
        "| release | what changes | of which starts | by |",
        "|---|---|---|---|",
    ]
    grouped: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for change in sorted(walk(), key=lambda one: TABLE.parse(one.release)):
        fact = change.fact
        if fact == "refused by":
            fact = f"{_said(change.before)} → {_said(change.after)}"
        grouped.setdefault((change.release, fact, change.by), []).append(change.start)
    for (release, fact, by), starts in grouped.items():
        which = "; ".join(dict.fromkeys(starts))
        lines.append(f"| {release} | {fact} | {which} | {', '.join(by)} |")
    return "\n".join(lines) + "\n"


def _said(rules: object) -> str:
    """What stops a start, in words."""
    return ", ".join(rules) if isinstance(rules, tuple) else "starts"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"written: {PAGE}")
