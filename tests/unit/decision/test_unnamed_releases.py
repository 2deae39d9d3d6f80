"""Claims about a release that nobody names: refused is what every release that may run refuses."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import pytest

from gate_sides import GPUS, MODELS, RELEASES, SIDES, Sides
from plimsoll.decision.decide import decide
from plimsoll.decision.knowledge import shipped
from plimsoll.decision.request import Request, Wanted
from plimsoll.decision.verdict import Decision, Verdict
from plimsoll.engines import gates
from plimsoll.engines.base import NOTHING_ASKED, AskedSplit, EngineSettings
from plimsoll.engines.registry import engine
from plimsoll.findings import Finding
from plimsoll.models import catalogue
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.report.wording import warnings_of
from plimsoll.workloads.llmdeployment import PLACES
from worded import problems_in

OLDEST: Final = "0.8"


def decided(name: str, said: dict[str, Any], version: str = "") -> Verdict:
    """The verdict on a start that is said as in a row of both sides, of one release or of any."""
    own = dict(said)
    model, on = MODELS[own.pop("model", "")], GPUS[own.pop("on", "h100")]
    split, args = own.pop("split", {}), own.pop("args", ())
    share = own.pop("utilization", None)
    settings = replace(
        EngineSettings(name=name, utilization=Decimal(share) if share else None),
        **{**own, "version": version},
    )
    read = engine(name).read_arguments(args, settings, NOTHING_ASKED)
    known = Model(
        "acme/one", ModelSource.CATALOGUE, model, model.parameters, 16.0, "a test", (), ""
    )
    request = Request(
        model=known,
        engine=read.settings,
        wanted=Wanted(allowed=(on.name,), split=AskedSplit(**{"tensor": 1, **split})),
        problems=read.problems,
        places=PLACES,
        any_release="" if version else "nothing says which release runs",
    )
    return decide(request, knowledge=replace(shipped(), accelerators=(on,)))


def rows() -> list[Any]:
    """Each row of a gate that not every release of its engine has."""
    return [
        pytest.param(row, name, id=f"{row.rule}-{name}-{at}")
        for at, row in enumerate(SIDES)
        for name in row.engines
        if any(s.since or s.until for s in gates.table()[row.rule].engines[name])
    ]


@pytest.mark.parametrize(("sides", "name"), rows())
def test_an_unnamed_release_is_refused_only_for_what_every_release_refuses(
    sides: Sides, name: str
) -> None:
    table, span = engine(name).table, gates.table()[sides.rule].engines[name][-1]
    assert table is not None
    for said in (sides.passes, sides.fails):
        starts = [
            release
            for release in RELEASES.get(name, [])
            if name != "vllm" or table.parse(release) >= table.parse(OLDEST)
            if decided(name, said, release).decision is not Decision.DENY
        ]
        found = decided(name, said)
        assert (found.decision is Decision.DENY) == (not starts), starts
    late = span.since and not span.until and "version" not in sides.fails
    if late and starts and table.parse(starts[0]) < table.parse(span.since):
        assert found.decision is Decision.WARN
        told = [one for one in warnings_of(found) if f"those from {span.since} on" in one]
        assert told, warnings_of(found)
        assert f"({sides.rule})" in told[0]
        assert told[0].startswith("spec.engine.version: ")
        assert decided(name, sides.fails, span.since).decision is Decision.DENY


@pytest.mark.parametrize("rule", ["heads-do-not-divide", "context-beyond-model"])
def test_what_every_release_refuses_stays_a_refusal_where_none_is_named(rule: str) -> None:
    row = next(one for one in SIDES if one.rule == rule and "vllm" in one.engines)
    found = decided("vllm", row.fails)
    assert found.decision is Decision.DENY
    assert rule in {str(one.rule) for one in found.problems if isinstance(one, Finding)}


def test_a_gate_of_all_releases_that_know_the_model_stays_a_refusal() -> None:
    said = {"model": "kimi-k25", "utilization": "0.995", "split": {"tensor": 1}}
    found = decided("vllm", said)
    assert found.decision is Decision.DENY
    assert decided("vllm", said, "0.9").decision is Decision.DENY
    assert "share-never-free" in {
        str(one.rule) for one in found.problems if isinstance(one, Finding)
    }


def test_a_model_that_later_releases_removed_is_told_of_where_none_is_named() -> None:
    removed = catalogue.load().find("microsoft/Phi-3-small-8k-instruct")
    assert removed is not None
    architecture = removed.architecture
    settings = EngineSettings(name="vllm", max_model_len=4096)
    known = Model(
        "a", ModelSource.CATALOGUE, architecture, architecture.parameters, 16.0, "", (), ""
    )
    asked = Request(model=known, engine=settings, wanted=Wanted(allowed=("nvidia-h100-80gb",)))
    unnamed = decide(replace(asked, places=PLACES, any_release="nothing says which release runs"))
    assert unnamed.decision is Decision.WARN
    (told,) = [one for one in warnings_of(unnamed) if "those from 0.10 on" in one]
    assert "(model-of-earlier-release), 0.9.2 may" in told
    newest = decide(replace(asked, places=PLACES))
    assert newest.decision is Decision.DENY
    assert "a vLLM before 0.10: Phi3SmallForCausalLM was removed" in str(problems_in(newest))
