"""Claims about the words: what a user reads when something is refused, warned about or placed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_builders import A100, H100, H200, L4, SMALL, cluster, model, on, pool, request, world
from plimsoll.decision.decide import decide
from plimsoll.decision.policy import Mode, Policy
from plimsoll.decision.verdict import Decision, Verdict
from plimsoll.inventory.pools import NO_INVENTORY, Inventory
from plimsoll.models.architecture import Model, ModelSource
from plimsoll.report import messages

if TYPE_CHECKING:
    from plimsoll.decision.request import Request

CHAT = Policy(Mode.ENFORCE, "namespace chat has plimsoll.dev/policy=enforce")


def verdict(of: Request, policy: Policy = CHAT, inventory: Inventory = NO_INVENTORY) -> Verdict:
    return decide(of, inventory, policy, world())


def denial(of: Request) -> str:
    return messages.denial(of, verdict(of))


def without_count(text: str) -> str:
    """A denial whatever the number of gates is that the engine has today."""
    return re.sub(r"\d+ before it are passed", "N before it are passed", text)


def test_a_denial_reads_like_this() -> None:
    assert without_count(denial(on(H100, tensor=1))).splitlines() == [
        "spec.engine.parallelism.tensor: Invalid value: 1: "
        "acme/Big-70B does not fit on 1 x nvidia-h100-80gb",
        "  needs 142.4 GiB per GPU = weights 130.4 + KV cache 10.0 (32768 tokens) + activation 0.5 "
        "+ non-torch 0.5 + CUDA graphs 1.0",
        "  has   73.2 GiB per GPU = 79.65 x 0.92",
        "  short by 69.2 GiB per GPU; no room for KV cache, 32,768 tokens asked",
        "Any one of these fits:",
        "  spec.model.quantization: awq                                     "
        "leaves 28.7 GiB per GPU, a 4-bit checkpoint of the model, "
        "which has to be made: the catalogue has none",
        "  spec.model.quantization: fp8 and spec.engine.maxModelLen: 15360  "
        "leaves 1.4 GiB per GPU, an fp8 checkpoint of the model, "
        "which has to be made: the catalogue has none",
        "  spec.engine.parallelism.tensor: 4                                "
        "leaves 35.7 GiB per GPU on 4 x nvidia-h100-80gb",
        "Rule of thumb, for comparison: 168 GB, 2 x nvidia-h100-80gb "
        "(70.00B parameters at 16 bits x 1.2; no context in it)",
        "Gate: NotEnoughMemory (PL001: weights and everything else against the budget); "
        "N before it are passed",
        "Reproduce: plimsoll check FILE",
        "Policy: namespace chat has plimsoll.dev/policy=enforce; "
        "the namespace's label plimsoll.dev/policy sets it, "
        "the annotation plimsoll.dev/override overrides it for those who may",
    ]


def test_the_path_of_a_misfit_is_the_field_that_pins_the_count() -> None:
    heavy = model(parameters=10**12)
    by_field = {
        "spec.engine.parallelism.tensor: Invalid value: 1:": on(H100, tensor=1),
        "spec.accelerator.gpusPerReplica: Invalid value: 1:": on(H100, gpus_per_replica=1),
        "spec.accelerator.allowed: Invalid value: [nvidia-h100-80gb-mig-1g.10gb]:": on(
            "nvidia-h100-80gb-mig-1g.10gb"
        ),
        'spec.model: Invalid value: "acme/Big-70B":': request(
            replace(heavy, architecture=model(parameters=10**14).architecture)
        ),
    }
    for start, of in by_field.items():
        assert denial(of).startswith(start), start


def test_every_problem_is_a_line_of_the_denial() -> None:
    lines = denial(on(A100, tensor=3, gpus_per_replica=4)).splitlines()
    assert lines[0].startswith("spec.accelerator.gpusPerReplica: Invalid value: 4: ")
    assert lines[1].startswith("spec.engine.parallelism.tensor: Invalid value: 3: a divisor")
    assert lines[2].startswith("Gate: heads-do-not-divide (PL203: heads, experts and groups ")
    assert lines[3] == "Reproduce: plimsoll check FILE"
    assert lines[4].startswith("Policy: ")


def test_a_misfit_with_room_for_fewer_tokens_says_for_how_many() -> None:
    of = on(A100, model=SMALL, tensor=1, max_model_len=500_000)
    assert re.search(r"room for [\d,]+ tokens, 500,000 asked", denial(of))
    many = on(A100, tensor=2, concurrent=9)
    assert re.search(r"room for [\d,]+ tokens in all, 294,912 asked", denial(many))


def test_a_size_that_cannot_fit_shows_the_weights_alone() -> None:
    size = Model("70B parameters", ModelSource.PARAMETERS, parameters=70 * 10**9, bits=16)
    text = denial(on(A100, model=size, gpus_per_replica=1))
    assert "the weights alone are 140.0 GB (70.00B parameters at 16 bits)" in text
    assert "before anything else is counted" in text


def test_a_warning_is_one_line_with_need_and_have() -> None:
    of = on(A100, tensor=2)
    first, second = messages.warning(of, verdict(of))
    assert first == (
        "big: needs 72.7 GiB per GPU, 2 x nvidia-a100-80gb has 73.6 GiB usable: "
        "within the estimate's error of 1.5 GiB"
    )
    assert second == 'big: would fit with spec.engine.gpuMemoryUtilization: "0.93"'
    assert all(len(line) <= 120 for line in (first, second))


def test_a_namespace_that_warns_lists_the_denial_and_one_that_audits_is_silent() -> None:
    of = on(H100, tensor=1)
    warned = messages.warning(of, verdict(of, Policy(Mode.WARN, "namespace chat")))
    assert warned[0] == "big: needs 142.4 GiB per GPU, 1 x nvidia-h100-80gb has 73.2 GiB usable"
    assert messages.warning(of, verdict(of, Policy(Mode.AUDIT, "namespace chat"))) == ()
    wrong = on(A100, gpus_per_replica=0)
    (line,) = messages.warning(wrong, verdict(wrong, Policy(Mode.WARN)))
    assert line.startswith("big: spec.accelerator.gpusPerReplica: Invalid value: 0")
    unlisted = on("nope")
    told = " ".join(messages.warning(unlisted, verdict(unlisted)))
    assert 'spec.accelerator.allowed[0]: "nope" is not in the table of accelerators' in told


def test_nothing_is_warned_about_if_all_is_well() -> None:
    of = on(A100)
    assert messages.warning(of, verdict(of)) == ()


def test_the_conditions_say_need_have_and_spare() -> None:
    of = on(A100)
    found = verdict(of)
    assert messages.fits_message(of, found) == (
        "needs 37.6 GiB of 73.6 GiB usable per GPU on 4 x nvidia-a100-80gb (36.0 GiB spare)"
    )
    assert messages.placement_message(found) == (
        "4 x nvidia-a100-80gb per replica (tensor 4): smallest count that fits: "
        "2 is within the estimate's error, 4 fits"
    )
    assert messages.headline(of, found) == "fits, 36.0 GiB spare"
    short = on(H100, tensor=1)
    assert "short by 69.2 GiB; no room" in messages.fits_message(short, verdict(short))
    assert messages.headline(short, verdict(short)) == "short by 69.2 GiB"


def test_a_placement_over_nodes_says_how_many_on_each() -> None:
    of = on(L4, model=model(parameters=180_000_000_000))
    assert messages.placement_message(verdict(of)).startswith(
        "24 x nvidia-l4 per replica (tensor 8 x pipeline 3), 8 on each of 3 nodes: smallest count"
    )


def test_the_model_is_described_by_what_is_known_of_it() -> None:
    assert messages.model_message(SMALL) == (
        "acme/Small-8B: 8.00B parameters, bfloat16, 32 layers, 8 KV heads x 128"
    )
    size = Model("70B parameters", ModelSource.PARAMETERS, parameters=70 * 10**9, bits=4)
    assert messages.model_message(size) == (
        "70B parameters: 70.00B parameters at 4 bits; nothing else is known"
    )
    unknown = Model("acme/who", ModelSource.UNKNOWN, suggestions=("acme/Who-7B",))
    assert messages.model_message(unknown) == "acme/who is unknown; did you mean acme/Who-7B?"


def test_a_summary_says_where_it_runs_or_why_not() -> None:
    of = on(A100)
    assert messages.summary(of, verdict(of))[0].startswith("4 x nvidia-a100-80gb per replica")
    short = on(H100, tensor=1)
    lines = messages.summary(short, verdict(short))
    assert "does not fit" in lines[0]
    assert not any(line.startswith("Reproduce") for line in lines)


HOSTILE = st.text(max_size=2000) | st.just("\x1b[31m\n" * 9) | st.just("я" * 1_000_000)


@pytest.mark.sweep
@given(HOSTILE, HOSTILE)
def test_a_users_text_is_never_repeated_at_length_nor_unprintable(name: str, gpu: str) -> None:
    found_model = replace(SMALL, name=name)
    for of in (on(gpu, model=found_model), on(L4, model=found_model, tensor=1)):
        found = verdict(replace(of, name=name))
        for text in (
            messages.denial(of, found),
            messages.fits_message(of, found),
            messages.model_message(found.model),
            *messages.warning(of, found),
        ):
            assert all(line.isprintable() for line in text.split("\n"))
            assert len(text) < 4000


@given(st.integers(1, 2000), st.integers(1, 300_000), st.sampled_from([1, 2, 4, 8]))
def test_what_is_shown_adds_up(billions: int, length: int, tensor: int) -> None:
    of = on(H200, model=model(parameters=billions * 10**9), tensor=tensor, max_model_len=length)
    found = verdict(of)
    if found.decision is not Decision.DENY or found.estimate is None:
        return
    text = messages.denial(of, found)
    need, terms = re.search(r"needs ([\d.]+) GiB per GPU = (.*)", text).groups()  # type: ignore[union-attr]
    (have,) = re.search(r"has +([\d.]+) GiB per GPU", text).groups()  # type: ignore[union-attr]
    (short,) = re.search(r"short by ([\d.]+) GiB per GPU", text).groups()  # type: ignore[union-attr]
    parts = [float(n) for n in re.findall(r" (\d+\.\d)(?= |$)", " " + terms)]
    assert round(sum(parts), 1) == float(need)
    assert round(float(need) - float(have), 1) == float(short)
    assert float(need) * 2**30 >= found.estimate.required
    assert float(have) * 2**30 <= found.estimate.usable + 1


@given(st.integers(1, 3000), st.none() | st.integers(1, 64))
def test_a_conditions_message_stays_under_a_kibibyte(billions: int, gpus: int | None) -> None:
    of = on(A100, L4, model=model(parameters=billions * 10**9), gpus_per_replica=gpus)
    found = verdict(of, inventory=cluster(pool(L4)))
    for text in (
        messages.fits_message(of, found),
        messages.placement_message(found),
        messages.model_message(found.model),
    ):
        assert len(text.encode()) < 1024
