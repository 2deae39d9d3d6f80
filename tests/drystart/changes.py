"""What a release says otherwise than older ones to the same cases: docs/releases/<release>.md.

Each case stands beside the newest of the older releases that answered it too, since a release is
not asked every case: refusals, what is resolved by default, groups of the cache, and sizes that
differ by more than a part. What both say alike is counted, not listed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from accuracy.data import ROOT
from drystart.compare import about_files
from drystart.files import facts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drystart.files import Fact

FOLDER: Final = ROOT / "docs" / "releases"
_DEFAULTS: Final = (
    "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization",
    "enable_chunked_prefill", "enable_prefix_caching", "async_scheduling", "cudagraph_largest",
    "mamba_cache_mode", "use_v2_model_runner", "dtype", "quantization",
)  # fmt: skip
_SIZES: Final = (
    ("weights", "counted", "weights", 0.005),
    ("weights", "runner", "runner's own state", 0.02),
    ("profile", "peak", "activation peak", 0.02),
)
MIB: Final = 1 << 20


def pairs(old: str, new: str) -> list[tuple[Fact, Fact]]:
    """Facts of the new release, each beside that of the newest from the old one on."""
    known = [fact for fact in facts() if fact.known and not about_files(fact)]
    first, last = _number(old), _number(new)
    before: dict[str, Fact] = {}
    for fact in sorted(known, key=lambda fact: _number(fact.release)):
        if first <= _number(fact.release) < last:
            before[fact.case.id] = fact
    after = [f for f in known if _number(f.release) == last]
    return [(before[f.case.id], f) for f in after if f.case.id in before]


def _where(fact: Fact) -> str:
    case = fact.case
    said = [case.model, case.quantization, "whole" if case.layers == "whole" else ""]
    said += [f"{name} {value}" for name, value in sorted(case.arguments.items())]
    said += [f"rank {case.rank}"] if case.rank else []
    return ", ".join([*(part for part in said if part), case.gpu])


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:2])


def _minor(fact: Fact) -> str:
    return ".".join(fact.release.split(".")[:2])


def _ending(fact: Fact) -> str:
    return " ".join(fact.refused["message"].split())[:160] if fact.refused else "starts"


def _defaults(old: Fact, new: Fact) -> Iterator[tuple[str, Any, Any]]:
    was, now = old.said.get("resolved", {}), new.said.get("resolved", {})
    if not was:
        return
    for name in _DEFAULTS:
        if name in was and name in now and was[name] != now[name]:
            yield name, was[name], now[name]
        elif name in now and name not in was and now[name]:
            yield name, "–", now[name]


def page(old: str, new: str) -> str:
    """What changed, as a page."""
    both = pairs(old, new)
    refusals: list[str] = []
    defaults: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    groups, sizes = list[str](), list[str]()
    for before, after in both:
        model = f"{after.case.model} {after.case.quantization}".strip()
        where = _where(after)
        if bool(before.refused) != bool(after.refused):
            ended = f"{_minor(before)}: {_ending(before)}"
            refusals.append(f"| {where} | {ended} | {_ending(after)} |")
        for name, was, now in _defaults(before, after):
            defaults[name, f"{was} ({_minor(before)})", str(now)].append(model)
        kept = [fact.said.get("cache", {}).get("groups") for fact in (before, after)]
        if all(kept):
            was, now = (
                [(g["kind"], g["block_size"], g["page_bytes"]) for g in one] for one in kept
            )
            if was != now:
                groups.append(f"| {where} | {_minor(before)}: {_groups(was)} | {_groups(now)} |")
        for part, figure, title, least in _SIZES:
            a, b = (fact.said.get(part, {}).get(figure) for fact in (before, after))
            if None not in (a, b) and abs(b - a) > max(least * a, 32 * MIB):
                part_of = f"{b / a - 1:+.1%}" if a else "new"
                change = f"{a / MIB:,.0f} ({_minor(before)}) | {b / MIB:,.0f} | {part_of} |"
                sizes.append(f"| {where} | {title} | {change}")
    beside: dict[str, int] = defaultdict(int)
    for before, _ in both:
        beside[_minor(before)] += 1
    counted = ", ".join(f"{n} beside {minor}" for minor, n in sorted(beside.items(), key=_newest))
    lines = [
        f"# vLLM {new} beside those before it",
        "",
        "What the engine's own start-up code says of the same cases, by dry start; models are cut",
        "to a few layers but where it says whole. Each case stands beside the newest older release",
        f"that was asked it too, in brackets where it matters: {counted}.",
        "Made by",
        f'`make drystart CHANGES="{old} {new}"`.',
    ]
    lines += _table("What one release refuses", "| case | was | is |", refusals)
    rows = [
        f"| {name} | {was} | {now} | {len(set(of))}: {', '.join(sorted(set(of))[:3])} |"
        for (name, was, now), of in sorted(defaults.items(), key=lambda x: (x[0][0], -len(x[1])))
    ]
    lines += _table("What is resolved otherwise", "| setting | was | is | models |", rows)
    lines += _table("Groups of the cache", "| case | was | is |", sorted(set(groups)))
    lines += _table("Sizes, MiB", "| case | of | was | is | change |", sorted(set(sizes)))
    return "\n".join(lines) + "\n"


def _newest(of: tuple[str, int]) -> tuple[int, ...]:
    return tuple(-part for part in _number(of[0]))


def _groups(found: list[tuple[str, int, int]]) -> str:
    kinds: dict[tuple[str, int, int], int] = defaultdict(int)
    for one in found:
        kinds[one] += 1
    return "; ".join(
        f"{n} x {kind.removesuffix('Spec')} {block} tokens {size:,} B"
        for (kind, block, size), n in kinds.items()
    )


def _table(title: str, head: str, rows: list[str]) -> list[str]:
    if not rows:
        return ["", f"## {title}", "", "Nothing."]
    return ["", f"## {title}", "", head, "|" + "---|" * (head.count("|") - 1), *rows]


def write(old: str, new: str) -> Path:
    """Write the page of a release beside those from `old` on. Returns where."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"vllm-{new}.md"
    path.write_text(page(old, new), "utf-8")
    return path
