"""Nothing is called exact without a check: a measured row, a test on logs, or an engine's code.

tests/data/exact_terms.json lists, by engine and term, what holds it. A term of which nothing is
there is modelled or assumed.
"""

from __future__ import annotations

import itertools
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

from accuracy.data import ROOT, scored
from plimsoll.accelerators import catalogue as accelerators
from plimsoll.engines import registry
from plimsoll.engines.base import EngineSettings, Known, Parallelism, Speculative, Term, Workload
from plimsoll.measured.rows import TermId
from plimsoll.models.catalogue import load

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKS: list[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "data" / "exact_terms.json").read_text("utf-8")
)
MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "deepseek-ai/DeepSeek-V3",
    "openai/gpt-oss-20b",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "Qwen/Qwen3-8B-FP8",
    "BAAI/bge-m3",
)
SAID: tuple[dict[str, Any], ...] = (
    {},
    {"version": "0.19.0"},
    {"max_model_len": 4096, "enforce_eager": True},
    {"max_model_len": 4096, "kv_cache_dtype": "fp8"},
    {"max_model_len": 4096, "kv_cache_memory": 8 << 30},
    {"max_model_len": 4096, "speculative": Speculative("ngram", "", 2)},
    {"max_model_len": 4096, "quantization": "fp8"},
)
SPLITS = (Parallelism(), Parallelism(1, 2))
GPUS = ("nvidia-h100-80gb",)


@lru_cache(maxsize=1)
def exact_terms() -> tuple[tuple[str, Term], ...]:
    """Every term that an engine calls exact, over models, settings, splits and GPUs."""
    return tuple(_exact_terms())


def _exact_terms() -> Iterator[tuple[str, Term]]:
    for name in registry.NAMES:
        engine = registry.engine(name)
        for model, said, split, gpu in itertools.product(MODELS, SAID, SPLITS, GPUS):
            entry, accelerator = load().find(model), accelerators.find(gpu)
            assert entry is not None
            assert accelerator is not None
            settings = EngineSettings(name, **said)
            if engine.problems(entry.architecture, settings, split, accelerator):
                continue
            found = engine.estimate(entry.architecture, settings, Workload(), split, accelerator)
            yield from ((name, t) for t in found.terms if t.known is Known.EXACT)


def checks(engine: str, term: Term) -> list[dict[str, Any]]:
    """What holds a term of an engine."""
    return [c for c in CHECKS if c["engine"] == engine and c["term"] == term.name.value]


def test_every_exact_term_has_a_check() -> None:
    assert len({(engine, term.name) for engine, term in exact_terms()}) >= 8
    for engine, term in exact_terms():
        held = checks(engine, term)
        assert held, f"{engine}: {term}: not exact, or without a line in exact_terms.json"
        if term.high:
            assert any("rows" in c or "test" in c for c in held), (engine, term)
        elif not any("rows" in c or "test" in c for c in held):
            words = [word for c in held for word in c["zero"]]
            assert any(word in term.basis for word in words), (engine, term)


def test_every_check_is_of_a_term_that_is_called_exact() -> None:
    named = {(engine, term.name.value) for engine, term in exact_terms()}
    draft = {("vllm", "draft")}  # needs a draft with weights, on several stages
    assert {(c["engine"], c["term"]) for c in CHECKS} - draft <= named


@pytest.mark.parametrize("check", [c for c in CHECKS if "rows" in c], ids=lambda c: c["engine"])
def test_the_rows_of_a_check_are_met(check: dict[str, Any]) -> None:
    term = TermId(check["measured"])
    by_id = {one.row.id: one for one in scored() if one.row.engine == check["engine"]}
    rows = [by_id[row] for row in check["rows"] if row in by_id]
    assert len(rows) >= 3
    for one in rows:
        point = one.points[term]
        assert point.prediction.middle == pytest.approx(point.measured, rel=check["within"]), one


@pytest.mark.parametrize("check", [c for c in CHECKS if "test" in c], ids=lambda c: c["engine"])
def test_the_tests_of_a_check_are_there(check: dict[str, Any]) -> None:
    path, _, name = check["test"].partition("::")
    assert f"def {name}(" in (ROOT / path).read_text("utf-8")


def test_every_check_says_what_it_is_and_a_zero_its_source() -> None:
    for check in CHECKS:
        assert check["why"]
        assert ("zero" in check) is ("source" in check)
