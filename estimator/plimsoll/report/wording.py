"""One text for every rule: how a finding becomes the problem or the sentence that a user reads.

In a text, ``{name}`` is a fact of the finding and ``{shown.name}`` the same made safe to print;
``{given}`` is the value that was there and ``{path}`` its place, ``{at.max_model_len}`` the whole
path of a field in the user's own manifest, ``{name_of.max_model_len}`` the last part of that path
and ``{end_of.max_model_len}`` the last two. ``{names:or}`` joins names by that word;
``{memory:up}`` and ``{memory:down}`` are bytes, rounded, as a manifest writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from plimsoll.errors import Problem, clean, shown
from plimsoll.findings import Finding, Rule
from plimsoll.paths import Field
from plimsoll.report import refusals
from plimsoll.units import ceil_mib, counted, floor_mib, grouped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from plimsoll.decision.verdict import Verdict
    from plimsoll.engines.base import Estimate
    from plimsoll.findings import Fact
    from plimsoll.paths import Places

LONGEST_FACT: Final = 300
"""Characters of a name or a sentence within a text."""

TEXTS: Final[dict[Rule, tuple[str, str]]] = {
    **refusals.REFUSALS,
    Rule.SIZE: ("must be at least 1 and at most {most}", ""),
    Rule.REPLICAS: ("must be from 0 to {most}", ""),
    Rule.SHARE: ("must be above 0 and at most 1, such as 0.9", ""),
    Rule.BITS: ("must be above 0 and at most 64", ""),
    Rule.SEQUENCE_BEYOND_CONTEXT: (
        "{name_of.input_tokens} + {name_of.output_tokens} of at most {name_of.max_model_len} "
        "({length}), not {sequence}",
        "raise {at.max_model_len} to {sequence}, or ask for less",
    ),
    Rule.SEQUENCE_BEYOND_MODEL: (
        "{name_of.input_tokens} + {name_of.output_tokens} of at most {length}, the longest context "
        "of the model's config, not {sequence}",
        "ask for less, or lengthen the context by a flag of the engine and say {at.max_model_len}",
    ),
    Rule.FEWER_SEQUENCES_THAN_ASKED: (
        "the workload asks for {concurrent:,} sequences at once",
        "raise it to {concurrent} or more, or lower {end_of.concurrent}",
    ),
    Rule.COUNT_IS_NOT_THE_SPLIT: (
        "must be {split:x} = {product}",
        "set it to {wanted}, or leave it or the parallelism out",
    ),
    Rule.COUNT_IS_NO_MULTIPLE: (
        "must be a multiple of {split:x} = {product}",
        "set it to {wanted}, or leave it or the parallelism out",
    ),
    Rule.NO_SPLIT_OF_THAT_COUNT: (
        "no split of this model comes to that count with the parallelism that is given",
        "leave one of the two out",
    ),
    Rule.FEWER_GPUS_THAN_RANKS: (
        "the engine is told to use {split:x} = {product} GPUs, and a replica has {there}",
        "give each pod {wanted}, or ask for fewer in {at.tensor}",
    ),
    Rule.ACCELERATOR_BEYOND_POLICY: (
        "one of {allowed}, which {by:and} allows",
        "name one of them, or ask whoever keeps the policy",
    ),
    Rule.STATED_CARD_UNDER_POLICY: (
        "one of {allowed}, which {by:and} allows: a card that is stated by its memory alone may be "
        "any",
        "name one of them",
    ),
    Rule.NO_ACCELERATOR_LEFT: (
        "an accelerator that all of {by:and} allow, and there is none",
        "ask whoever keeps the policies: their lists have no name in common",
    ),
    Rule.GPUS_BEYOND_POLICY: (
        "{by:and} allows at most {most:GPU} a replica, and this is {gpus}",
        "ask for fewer, or ask whoever keeps the policy",
    ),
    Rule.OBJECT_BEYOND_POLICY: (
        "{by:and} allows at most {most:GPU} an object, all its engines and replicas, and this is "
        "{parts:+} = {gpus}",
        "ask for fewer, or ask whoever keeps the policy",
    ),
    Rule.ENGINE_OLDER_THAN_POLICY: (
        "{by:and} asks for {engine} {oldest} or later",
        "take a later release; `plimsoll diff --engine-version` says what it changes",
    ),
    Rule.ANNOTATIONS_MISSING: (
        "{missing:and}, which {by:and} asks for",
        "add what is missing to the object's own annotations",
    ),
    Rule.TENSOR_ACROSS_SLICES: (
        "there is no tensor parallelism across MIG slices",
        "set 1, or allow a whole GPU",
    ),
    Rule.REPLICA_BEYOND_NODE: (
        "a node has at most {most} x {accelerator}, and {engine} spreads a model over no more",
        "set {most} or less, or allow an accelerator with more memory",
    ),
    Rule.TOO_LITTLE_HOST_MEMORY: (
        "its nodes have {has:down} of host memory, {name_of.cpu_offload} takes {memory:up}",
        "lower it",
    ),
    Rule.UNKNOWN_ENGINE: ("unknown engine", "use {engines:or}"),
    Rule.ENGINE_REFUSED: (
        "a start of {version}, which refuses in its own code, run without a GPU: {words}",
        "change what it names",
    ),
    Rule.STATED_WITHOUT_MEMORY: (
        "{name_of.memory} beside it: it says something of a card that is stated by its memory",
        "state that, or leave it out",
    ),
    Rule.STATED_FOR_SEVERAL: (
        "at most one name in {at.allowed}: the memory is stated of one kind of card",
        "leave one name there, or none",
    ),
    Rule.SELECTOR_NAMES_ANOTHER: (
        "labels of nodes with {allowed:or}, which {at.allowed} names; these are labels of "
        "{named:or}",
        "change one of the two",
    ),
    Rule.NO_SUCH_MEMORY: (
        "no accelerator that this request allows has so much memory",
        "the largest is {largest} with {memory:down}; lower it, or allow another accelerator",
    ),
    Rule.SEVERAL_ACCELERATORS: (
        "the name of one accelerator: clouds offer this card with different memory",
        "write {meant:or}",
    ),
    Rule.NO_SUCH_MEMORY_IN_ANY: (
        "no accelerator that this request allows has so much memory",
        "lower it, or allow another accelerator",
    ),
    Rule.NOT_THE_MODEL_AT_URI: (
        "the model at {at.uri}: the catalogue knows {uri}, of {parameters} parameters at {bits} "
        "bits",
        "leave it out, or write the {name_of.uri} of the model that is meant",
    ),
    Rule.NOT_STORED_SO_AT_URI: (
        "how the checkpoint at {at.uri} is stored: the catalogue knows {uri} at {bits} bits",
        "leave it out, or write the {name_of.uri} of a checkpoint that is stored so",
    ),
    Rule.NOT_STORED_SO_AT_URI_BUT_AT: (
        "how the checkpoint at {at.uri} is stored: the catalogue knows {uri} at {bits} bits",
        "leave it out, or write {name_of.uri}: hf://{other}, which is stored so",
    ),
    Rule.UNKNOWN_BASE: (
        "an id of the catalogue",
        "`plimsoll models list` shows all; for a model that is not there use {at.config} with its "
        "config.json",
    ),
    Rule.UNKNOWN_BASE_LIKE: (
        "an id of the catalogue",
        "did you mean {near:or}? `plimsoll models list` shows all; for a model that is not there "
        "use {at.config} with its config.json",
    ),
}
"""What would have been right, and the next step (empty if the first says it all)."""

SENTENCES: Final[dict[Rule, str]] = {
    **refusals.VAIN,
    **refusals.ASSUMED,
    Rule.TENSOR_BEYOND_USUAL_NODE: (
        "{path} is {tensor}, and a node usually has {most} x {accelerator}: over two nodes every "
        "layer waits for the network between them (InfiniBand or RoCE); {most} with "
        "{end_of.pipeline} needs less of it"
    ),
    Rule.TENSOR_OVER_NODES: (
        "{path} is {tensor}, and these nodes have {most} x {accelerator}: every layer waits for "
        "the network between them (InfiniBand or RoCE); {most} with {end_of.pipeline} needs less "
        "of it"
    ),
    Rule.REPLICA_BEYOND_USUAL_NODE: (
        "{engine} runs on one node, so this takes one with {tensor} x {accelerator}; usually a "
        "node has {most}"
    ),
    Rule.HOST_MEMORY: (
        "{path}: takes {memory:up} of host memory on every node, which is not known to be there"
    ),
    Rule.UNREAD_FLAGS: (
        "{name_of.extra_args} {flags}: touches memory in a way that is not estimated"
    ),
    Rule.UNKNOWN_CACHE_DTYPE: (
        "{path}: {given} is no kind of KV cache that is known of this engine: it may not start "
        "with it, and the size of the cache is assumed"
    ),
    Rule.NOMINAL_MEMORY: (
        "{accelerator}: its memory is the nominal figure, not one seen on a node"
    ),
    Rule.UNKNOWN_ACCELERATOR: (
        "{path}: {given} is not in the table of accelerators: nothing was checked on it; state its "
        "memory in {name_of.memory} (`plimsoll accelerators` lists all names)"
    ),
    Rule.UNKNOWN_ACCELERATOR_LIKE: (
        "{path}: {given} is not in the table of accelerators: nothing was checked on it; did you "
        "mean {near:or}? If it is another card, state its memory in {name_of.memory}"
    ),
    Rule.ACCELERATOR_TAKEN_AS: "{path}: {given} is taken for {accelerator}",
    Rule.STATED_CAPABILITY_ASSUMED: (
        "{path}: nobody says what the stated GPU can compute; it is taken for one of NVIDIA's of "
        "compute capability {given}"
    ),
    Rule.STATED_ABOVE_TABLE: (
        "{path}: a memory of {said:down} is stated, and the table has {has:down} for "
        "{accelerator}; nodes of a rebuilt card report theirs by the label nvidia.com/gpu.memory "
        "(GPU Feature Discovery); of any other card, leave the stated memory out"
    ),
    Rule.MODEL_TYPE_ASSUMED: (
        "{model}: its model type is not known in all its parts; "
        "it is estimated like the models that it resembles"
    ),
    Rule.WEIGHTS_UNSIZED: (
        "{model}: its config quantizes weights by a method or with bits that are not known here; "
        "they count as unquantized"
    ),
    Rule.RULES_UNREAD: (
        "{model}: {count} of the rules by which its config names quantized weights cannot be read "
        "here; nothing of them is believed"
    ),
    Rule.ENGINE_WEIGHS_OTHERWISE: (
        "weights of a rank: {version} itself says {said:up}, the estimate {estimated:up}"
    ),
    Rule.ENGINE_HOLDS_FEWER: (
        "tokens of the cache: {version} itself says {said}, the estimate {estimated}"
    ),
    Rule.IDLE_GPUS: (
        "{path}: {idle} of {asked} GPUs would be idle: the engine can split this model over {gpus}"
    ),
    Rule.NO_PRICE: (
        "{path}: Cheapest is asked for, and nobody says what {accelerator} costs; name prices in "
        "an AcceleratorPool or a list (--prices)"
    ),
    Rule.MORE_GPUS_THAN_RANKS: (
        "{path}: {idle} of {there} GPUs would be idle: the engine is told to use {product}; raise "
        "{name_of.tensor}, or ask for fewer GPUs"
    ),
    Rule.SHARED_MEMORY: (
        "{path}: ranks of one engine speak through shared memory, of which a container has 64 MiB; "
        "mount an emptyDir with medium: Memory there"
    ),
    Rule.ENGINE_VERSION_UNSAID: (
        "{path}: nothing says which version of {engine} runs, and {by:and} asks for {oldest} or "
        "later; say it"
    ),
    Rule.RELEASE_DECIDES: (
        "{path}: nothing says which release of {engine} runs: those from {since} on do not start "
        "as this is written ({refused}), {before} may; give a release there"
    ),
    Rule.NOTHING_TO_PLAN_ON: "no accelerator is known to plan on; name one in {path}",
    Rule.RULE_OF_THUMB_ALONE: (
        "decided by the rule of thumb alone, which knows no context length and no concurrency; "
        "give {end_of.base_model} or {end_of.config} for an estimate"
    ),
    Rule.UNSURE_REVISION: (
        "{path}: by the catalogue or by its name, {model} is a larger model than is said here; "
        "whether it is so at the revision that is asked for is not known"
    ),
    Rule.UNKNOWN_MODEL: (
        "model {given} is unknown: nothing was checked; add {end_of.base_model}, "
        "{end_of.config} or {end_of.parameters}"
    ),
    Rule.UNKNOWN_MODEL_LIKE: (
        "model {given} is unknown (did you mean {near:or}?): nothing was checked; add "
        "{end_of.base_model}, {end_of.config} or {end_of.parameters}"
    ),
}
"""Findings that are told in one whole sentence: warnings, and what an estimate assumed."""


def problem(finding: Finding | Problem, places: Places) -> Problem:
    """A finding in the four parts of every error, at its place in the user's manifest."""
    if isinstance(finding, Problem):
        return finding
    wanted, fix = TEXTS[finding.rule]
    facts = _facts(finding, places)
    path = places.path(finding.field, finding.index)
    given = facts["given"]
    if finding.rule in refusals.GIVEN:
        given = refusals.GIVEN[finding.rule].format_map(facts)
    return Problem(path, str(given), wanted.format_map(facts), fix.format_map(facts))


def problems(findings: Iterable[Finding | Problem], places: Places) -> tuple[Problem, ...]:
    """All of them, in order."""
    return tuple(problem(one, places) for one in findings)


def sentence(finding: Finding | str, places: Places) -> str:
    """A finding that is told in one sentence; a sentence that is worded already stays."""
    if isinstance(finding, str):
        return clean(finding, LONGEST_FACT)
    return SENTENCES[finding.rule].format_map(_facts(finding, places))


def problems_of(verdict: Verdict) -> tuple[Problem, ...]:
    """What is wrong with the request, worded for the object that states it."""
    return problems(verdict.problems, verdict.places)


def warnings_of(verdict: Verdict) -> tuple[str, ...]:
    """What a reader of the verdict should know, a sentence each."""
    return tuple(sentence(one, verdict.places) for one in verdict.warnings)


def notes_of(estimate: Estimate, places: Places) -> tuple[str, ...]:
    """What an estimate assumed, a sentence each."""
    return tuple(sentence(one, places) for one in estimate.notes)


def _facts(finding: Finding, places: Places) -> dict[str, object]:
    """What a text may name."""
    facts: dict[str, object] = {name: _fact(value, places) for name, value in finding.facts}
    return facts | {
        "given": _given(finding),
        "path": places.path(finding.field, finding.index),
        "shown": _Shown(facts),
        "at": _Paths(places),
        "name_of": _Names(places),
        "end_of": _Ends(places),
    }


def _given(finding: Finding) -> str:
    """The value that was there, safe to print; booleans as a manifest spells them."""
    if finding.given is None:
        return ""
    if isinstance(finding.given, bool):
        return str(finding.given).lower()
    return shown(finding.given)


def _fact(value: Fact, places: Places) -> object:
    if isinstance(value, Field):
        return places.path(value)
    if isinstance(value, tuple):
        return _Joined(map(clean, value))
    if isinstance(value, str):
        return clean(value, LONGEST_FACT)
    if type(value) is int:
        return _Figure(value)
    return value


class _Joined(tuple[str, ...]):
    """Names in a text: joined by commas, or by the word that the text gives."""

    __slots__ = ()

    def __format__(self, word: str) -> str:
        return (f" {word} " if word else ", ").join(self)

    def __str__(self) -> str:
        return format(self)


class _Figure(int):
    """A count in a text, thousands apart after ``:,``, of GPUs after ``:GPU``, or bytes rounded
    as the text says."""

    def __format__(self, rounding: str) -> str:
        if rounding in ("up", "down"):
            return ceil_mib(self) if rounding == "up" else floor_mib(self)
        if rounding == ",":
            return grouped(int(self))
        if rounding == "GPU":
            return counted(int(self), rounding)
        return super().__format__(rounding)


@dataclass(frozen=True, slots=True)
class _Shown:
    """``{shown.NAME}`` of a text."""

    facts: dict[str, object]

    def __getattr__(self, name: str) -> str:
        return shown(self.facts[name])


@dataclass(frozen=True, slots=True)
class _Paths:
    """``{at.FIELD}`` of a text."""

    places: Places

    def __getattr__(self, name: str) -> str:
        return self.places.path(Field(name))


@dataclass(frozen=True, slots=True)
class _Names:
    """``{name_of.FIELD}`` of a text."""

    places: Places

    def __getattr__(self, name: str) -> str:
        return self.places.name(Field(name))


@dataclass(frozen=True, slots=True)
class _Ends:
    """``{end_of.FIELD}`` of a text."""

    places: Places

    def __getattr__(self, name: str) -> str:
        return self.places.end(Field(name))
