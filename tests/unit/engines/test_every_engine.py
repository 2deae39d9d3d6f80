"""What holds for every engine that is registered, whichever it is."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from architectures import (
    A100,
    B200,
    H100,
    L4,
    LLAMA_8B,
    LLAMA_70B,
    T4,
    hybrid,
    latent,
    moe,
    windows,
)
from flag_tables import FLAG_TABLES
from plimsoll.engines import registry
from plimsoll.engines.assemble import FEATURES
from plimsoll.engines.base import (
    NOTHING_ASKED,
    AskedSplit,
    EngineSettings,
    Estimate,
    Lora,
    Parallelism,
    Speculative,
    TermName,
    Workload,
)
from plimsoll.engines.flag_values import value
from plimsoll.engines.flags import Ability, Flag, FlagRole, FlagShape, Grammar, grammar
from plimsoll.errors import Unreadable
from plimsoll.findings import Finding, Rule
from plimsoll.models.catalogue import load
from plimsoll.models.quantization_config import stored
from plimsoll.paths import Field
from plimsoll.workloads.llmdeployment import PLACES
from worded import notes_in, problems_in, warnings_in, worded

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator
    from plimsoll.models.architecture import Architecture

MODELS = {
    "8b": LLAMA_8B,
    "70b": LLAMA_70B,
    "moe": moe(),
    "latent": latent(),
    "hybrid": hybrid(),
    "windows": windows(full=4, sliding=20, window=1024, kv_heads=8, head_dim=128),
}
GPUS = (H100, A100, L4, T4, B200)
SPLITS = (
    Parallelism(),
    Parallelism(2),
    Parallelism(4, 2),
    Parallelism(2, 1, 2, expert=True),
    Parallelism(1, 4),
)
VALUES = (
    "1", "0", "-1", "7", "4096", "8k", "0.5", "1e999999999", "auto", "on", "none", "fp8", "q8_0",
    "true", "{}", '{"a":1}', "[1]", "1,0,2", "x", "", "9" * 18, "10" * 200, "\x1b[2J",
)  # fmt: skip
REWRITTEN = {"gpu_layers", "kv_unified", "kv_offload", "ep_size"}
"""Options that are not written as they were said: llama.cpp's as every build takes them, and
TensorRT-LLM's share of experts as the split has it."""
CHOSEN = {"utilization", "dtype", "quantization", "block_size", "enforce_eager"}
"""Settings that are written only if somebody says them."""
FLAGS = {name: json.loads(table.read_text("utf-8")) for name, table in FLAG_TABLES.items()}

engines = pytest.mark.parametrize("name", registry.NAMES)
with_flags = pytest.mark.parametrize("name", FLAG_TABLES)
models = st.sampled_from(sorted(MODELS))
gpus = st.sampled_from(GPUS)
splits = st.sampled_from(SPLITS)
lengths = st.integers(1, 1 << 18)
workloads = st.builds(
    Workload,
    st.none() | st.integers(1, 10**6),
    st.none() | st.integers(1, 10**6),
    st.none() | st.integers(1, 10**6),
)


def grammar_of(name: str) -> Grammar:
    return grammar(registry.engine(name).title, FLAG_TABLES[name])


def run(
    name: str,
    model: Architecture,
    split: Parallelism,
    gpu: Accelerator = H100,
    workload: Workload | None = None,
    **said: Any,
) -> Estimate | None:
    """The estimate, or None if the engine would not start with that split."""
    engine, wanted = registry.engine(name), EngineSettings(name=name, **said)
    if engine.problems(model, wanted, split, gpu):
        return None
    return engine.estimate(model, wanted, workload or Workload(), split, gpu)


# -- estimates ------------------------------------------------------------------------------------


@engines
@settings(max_examples=60)
@given(data=st.data(), model=models, gpu=gpus, split=splits, workload=workloads)
def test_estimates_are_total_for_all_that_a_command_line_may_say(
    name: str,
    data: st.DataObject,
    model: str,
    gpu: Accelerator,
    split: Parallelism,
    workload: Workload,
) -> None:
    engine = registry.engine(name)
    table = FLAGS.get(name, {"fields": {}, "options": {}})
    known = [*table["fields"], *table["options"]] or ["--x"]
    pairs = data.draw(
        st.lists(st.tuples(st.sampled_from(known), st.sampled_from(VALUES)), max_size=6)
    )
    args = [part for pair in pairs for part in pair]
    read = engine.read_arguments(args, EngineSettings(name=name), NOTHING_ASKED).settings
    if engine.problems(MODELS[model], read, split, gpu):
        return
    found = engine.estimate(MODELS[model], read, workload, split, gpu)
    assert [term.name for term in found.terms][:5] == list(TermName)[:5]
    assert all(0 <= term.low <= term.bytes <= term.high for term in found.terms)
    assert found.required == sum(term.bytes for term in found.terms)
    assert 0 <= found.usable <= found.physical
    assert found.kv_tokens >= 0
    assert found.largest_max_model_len >= 0
    assert all(notes_in(found))


@engines
def test_every_model_of_the_catalogue_can_be_estimated(name: str) -> None:
    engine, said = registry.engine(name), EngineSettings(name=name)
    for entry in load():
        found = engine.estimate(entry.architecture, said, Workload(), Parallelism(1, 2), H100)
        assert found.terms[TermName.WEIGHTS].bytes > 0, entry.id
        assert found.required_low <= found.required <= found.required_high, entry.id


@engines
@given(model=models, split=splits, length=lengths, more=lengths)
def test_more_context_never_needs_less(
    name: str, model: str, split: Parallelism, length: int, more: int
) -> None:
    of = replace(MODELS[model], max_model_len=1 << 20)
    short = run(name, of, split, max_model_len=length)
    long = run(name, of, split, max_model_len=length + more)
    if short is not None and long is not None:
        assert short.required <= long.required


@engines
@given(model=models, many=st.integers(1, 64), more=st.integers(0, 64), tokens=lengths)
def test_more_sequences_at_once_never_need_less(
    name: str, model: str, many: int, more: int, tokens: int
) -> None:
    of = MODELS[model]
    few = run(name, of, Parallelism(), workload=Workload(many, tokens, 1))
    lots = run(name, of, Parallelism(), workload=Workload(many + more, tokens, 1))
    assert few is not None
    assert lots is not None
    assert few.required <= lots.required


@engines
@pytest.mark.parametrize("model", MODELS)
def test_more_gpus_never_hold_more_weights_each(name: str, model: str) -> None:
    found = [run(name, MODELS[model], Parallelism(tensor)) for tensor in (1, 2, 4, 8)]
    sizes = [one.terms[TermName.WEIGHTS].bytes for one in found if one is not None]
    assert sizes == sorted(sizes, reverse=True)


# -- refusals -------------------------------------------------------------------------------------


@engines
@given(model=models, gpu=gpus, tensor=st.integers(1, 10**9), pipeline=st.integers(1, 10**9))
def test_a_split_that_is_refused_says_why_at_a_field_of_the_manifest(
    name: str, model: str, gpu: Accelerator, tensor: int, pipeline: int
) -> None:
    engine, split = registry.engine(name), Parallelism(tensor, pipeline)
    for problem in worded(engine.problems(MODELS[model], EngineSettings(name=name), split, gpu)):
        assert problem.path in PLACES.paths.values()
        assert problem.wanted


@engines
@pytest.mark.parametrize("model", MODELS)
def test_the_sizes_that_an_engine_names_are_those_that_it_starts_with(
    name: str, model: str
) -> None:
    sizes = registry.engine(name).tensor_parallel_sizes(MODELS[model], 8)
    assert sizes[0] == 1
    assert all(run(name, MODELS[model], Parallelism(size)) is not None for size in sizes)


@engines
def test_what_advice_may_offer_is_known(name: str) -> None:
    engine = registry.engine(name)
    for word, bits in engine.checkpoints:
        quantization = stored(word)
        assert quantization is not None
        assert quantization.default is not None
        assert quantization.default.bits == bits
    if engine.narrow_cache:
        wide, narrow = (
            run(name, LLAMA_8B, Parallelism(), max_model_len=8192, kv_cache_dtype=dtype)
            for dtype in ("", engine.narrow_cache)
        )
        assert wide is not None
        assert narrow is not None
        assert narrow.terms[TermName.KV_CACHE].bytes < wide.terms[TermName.KV_CACHE].bytes


@engines
def test_the_digest_of_an_unreadable_version_is_that_of_the_newest(name: str) -> None:
    engine = registry.engine(name)
    assert engine.constants_digest("nonsense") == engine.constants_digest("")
    assert len(engine.constants_digest("")) == 12


# -- command lines --------------------------------------------------------------------------------


@engines
@given(st.lists(st.text(max_size=12) | st.sampled_from(["-", "--", "-1", "--x=", "--tp-size"])))
def test_reading_never_raises(name: str, args: list[str]) -> None:
    found = registry.engine(name).read_arguments(args, EngineSettings(name=name), NOTHING_ASKED)
    assert all(problem.wanted for problem in problems_in(found))
    assert all(warnings_in(found))


@with_flags
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_every_flag_is_read_alone_with_a_value_and_twice(name: str, every: bool) -> None:
    """Each flag with the next of the values; in the sweep with every one of them."""
    engine, settings_of = registry.engine(name), EngineSettings(name=name)
    known = grammar_of(name)
    for at, flag in enumerate((*known.flags, *known.aliases)):
        for text in VALUES if every else VALUES[at % len(VALUES) :][:1]:
            for args in ([flag], [flag, text], [f"{flag}={text}"], [flag, text, flag, text]):
                found = engine.read_arguments(args, settings_of, NOTHING_ASKED)
                assert all(isinstance(one, Finding) for one in (*found.problems, *found.warnings))


@with_flags
@settings(max_examples=40)
@given(data=st.data())
def test_what_was_written_reads_back_to_the_same_settings(name: str, data: st.DataObject) -> None:
    engine, known = registry.engine(name), grammar_of(name)
    names = [flag for flag, of in known.flags.items() if of.role is not FlagRole.MODEL]
    pairs = data.draw(
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from(VALUES)), max_size=4)
    )
    args = [
        part
        for flag, text in pairs
        for part in ((flag,) if known.flags[flag].shape is FlagShape.SWITCH else (flag, text))
    ]
    said = engine.read_arguments(args, EngineSettings(name=name), NOTHING_ASKED)
    plain = replace(said.settings, unread=(), flags=())
    split = Parallelism()
    if said.problems or engine.problems(LLAMA_8B, plain, split, H100):
        return
    written = engine.arguments(engine.estimate(LLAMA_8B, plain, Workload(), split, H100), plain)
    again = engine.read_arguments(written, EngineSettings(name=name), AskedSplit())
    assert again.problems == ()
    said_again = dict(again.settings.options.said())
    options = [pair for pair in plain.options.said() if pair[0] not in REWRITTEN]
    assert options == [(option, said_again.get(option)) for option, _ in options]
    kept = {sets for sets, _ in FLAGS[name]["fields"].values()} & CHOSEN
    assert [getattr(plain, one) for one in kept] == [getattr(again.settings, one) for one in kept]


@with_flags
@pytest.mark.parametrize("flag", ["--model", "--model-path", "--model-id"])
def test_a_flag_that_names_another_model_is_a_problem(name: str, flag: str) -> None:
    if grammar_of(name).find(flag)[0].role is not FlagRole.MODEL:
        return
    engine = registry.engine(name)
    found = engine.read_arguments([flag, "a/b"], EngineSettings(name=name), NOTHING_ASKED)
    assert [one.rule for one in found.problems] == [Rule.ANOTHER_MODEL]
    (problem,) = problems_in(found)
    assert problem.fix == "say the model in spec.model alone"


@pytest.mark.parametrize("name", ["vllm", "sglang", "tgi", "tensorrt-llm"])
@pytest.mark.parametrize("entry", ["--seed 1", "--seed=1 --max-model-len=2", "--seed=1\n--x"])
def test_two_arguments_in_one_entry_are_a_problem(name: str, entry: str) -> None:
    engine = registry.engine(name)
    found = engine.read_arguments([entry], EngineSettings(name=name), NOTHING_ASKED)
    assert [one.rule for one in found.problems] == [Rule.TWO_ARGUMENTS_IN_ONE]


@with_flags
def test_a_switch_with_a_value_is_a_problem(name: str) -> None:
    known, engine = grammar_of(name), registry.engine(name)
    if Ability.EQUALS not in known.abilities:
        return
    switches = [flag.name for flag in known.flags.values() if flag.shape is FlagShape.SWITCH]
    for flag in switches:
        args = [f"{flag}=1024"]
        found = engine.read_arguments(args, EngineSettings(name=name), NOTHING_ASKED)
        assert [one.rule for one in found.problems] == [Rule.FLAG_UNREADABLE], flag


@with_flags
def test_what_follows_two_dashes_belongs_to_no_flag(name: str) -> None:
    engine = registry.engine(name)
    args = ["--", "--max-model-len=1024"]
    found = engine.read_arguments(args, EngineSettings(name=name), NOTHING_ASKED)
    assert found.settings == EngineSettings(name=name)
    assert [one.rule for one in found.warnings] == [Rule.STRAY_ARGUMENT] * 2


# -- tables of flags ------------------------------------------------------------------------------


@with_flags
def test_every_table_of_flags_has_the_one_shape(name: str) -> None:
    table = FLAGS[name]
    assert list(table) == [
        "source",
        "abilities",
        "fields",
        "options",
        "memory",
        "harmless",
        "model",
        "can_shrink_weights",
        "harmless_values",
        "aliases",
        "written_as",
        "attached",
    ]
    known = {*EngineSettings.__dataclass_fields__, *AskedSplit.__dataclass_fields__}
    assert {sets for sets, _ in table["fields"].values()} <= known
    flags = grammar_of(name).flags
    assert len(flags) == sum(map(len, (table["fields"], table["options"], table["model"]))) + sum(
        len(names) for role in ("memory", "harmless") for names in table[role].values()
    )
    assert set(table["aliases"].values()) | set(table["written_as"]) <= set(flags)
    assert not set(table["aliases"]) & set(flags)
    memory = {flag for flag, of in flags.items() if of.role is FlagRole.MEMORY}
    assert set(table["harmless_values"]) | set(table["can_shrink_weights"]) <= memory


@with_flags
def test_every_kind_of_value_is_one_that_can_be_read(name: str) -> None:
    table = FLAGS[name]
    for _, kind in (*table["fields"].values(), *table["options"].values()):
        for text in VALUES:
            with suppress(Unreadable):
                value(kind, (text,), on=True)


def test_the_beginning_of_a_flag_stands_for_it_if_no_other_begins_so() -> None:
    known = grammar_of("vllm")
    assert known.find("--gpu")[0].sets == "utilization"
    assert known.find("-t")[0].sets == "tensor"
    assert known.find("--max-mod")[0].sets == "max_model_len"
    assert known.find("--max-num")[0] == Flag("--max-num", FlagRole.UNKNOWN, FlagShape.OPTIONAL)


@engines
@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_that_an_engine_lacks_is_refused_and_never_dropped(
    name: str, feature: Field
) -> None:
    engine = registry.engine(name)
    asked: dict[str, Any] = {
        Field.LORA: Lora(4, 64),
        Field.SPECULATIVE: Speculative("ngram", "", 5),
        Field.CPU_OFFLOAD: 1 << 30,
        Field.IMAGES: 2,
        Field.VIDEOS: 1,
    }
    settings_of = EngineSettings(name=name, **{feature.value: asked[feature]})
    refused = {p.field for p in engine.read_arguments([], settings_of, NOTHING_ASKED).problems}
    assert refused == (set() if feature in engine.features else {feature})
