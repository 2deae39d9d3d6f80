"""Published serving recipes start: none is refused, and few are warned of."""

from __future__ import annotations

from accuracy.recipes import answers, recipes
from plimsoll.decision.verdict import Decision

NARROW = {
    # DP 8 with experts: every rank works on the tokens of all (13 to 18 GiB of activation).
    "r02", "r04", "r79",
    # 0.2 GiB to spare, and 1.9 GiB of graphs' and activation's ranges on an A100.
    "r30",
    # 0.1 GiB to spare, and 2 GiB of graphs' and activation's ranges.
    "r23", "r26", "r28",
    # 1,024 sequences with states, and 611 to 1,173 blocks for them: it hangs on graphs.
    "r61",
    # ROCm: graphs and non-torch were measured twice.
    "r78",
}  # fmt: skip
"""Recipes that we warn of, and why: one that is allowed by now goes from here."""


def test_there_are_sixty_recipes_and_more_each_with_its_source() -> None:
    assert len(recipes()) >= 60
    assert len({recipe["id"] for recipe in recipes()}) == len(recipes())
    assert all(recipe["source"].startswith("https://") for recipe in recipes())
    assert len([one for one in answers() if one.decision is not None]) >= 60


def test_no_recipe_is_refused_but_one_that_says_why_it_is_doubted() -> None:
    denied = {one.id for one in answers() if one.decision is Decision.DENY}
    assert denied <= {one.id for one in answers() if "doubt" in one.recipe}


def test_what_is_warned_of_is_known_by_name_and_less_than_a_tenth_but_for_what_failed() -> None:
    known = [one for one in answers() if one.decision is not None]
    warned = {one.id for one in known if one.decision is Decision.WARN}
    assert warned <= NARROW
    assert len(warned) <= 0.13 * len(known)
    tried = {one.id for one in known if "doubt" in one.recipe}
    assert len(warned - tried) <= 0.05 * len(known)


def test_no_flag_of_a_recipe_is_unreadable() -> None:
    for one in answers():
        assert one.verdict is None or not one.verdict.problems or "doubt" in one.recipe, one.id
