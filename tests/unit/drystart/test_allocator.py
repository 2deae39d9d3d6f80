"""The allocator that is not there holds what torch's would hold: blocks, segments and peaks."""

from __future__ import annotations

import random

import pytest

from plimsoll_drystart.allocator import MIB, Allocator, Block


@pytest.mark.parametrize(
    ("asked", "block", "segment"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (2 * MIB, 2 * MIB, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (11 * MIB, 12 * MIB, 12 * MIB),
        (10 * MIB + 512, 10 * MIB + 512, 12 * MIB),
    ],
)
def test_a_first_request_gets_a_block_of_a_segment(asked: int, block: int, segment: int) -> None:
    held = Allocator()
    held.take(asked)
    assert (held.allocated, held.reserved) == (block, segment)


def test_what_is_left_of_a_segment_is_used_before_another_is_asked_for() -> None:
    held = Allocator()
    for _ in range(10):
        held.take(2 * MIB)
    assert (held.allocated, held.reserved) == (20 * MIB, 20 * MIB)
    held.take(2 * MIB)
    assert held.reserved == 40 * MIB


def test_a_rest_of_at_most_a_mib_goes_with_the_block() -> None:
    held = Allocator()
    held.take(19 * MIB + 512)  # of a segment of 20 MiB
    assert held.allocated == 20 * MIB


def test_under_a_limit_of_splitting_a_large_request_counts_all_of_the_block_that_it_is_given() -> (
    None
):
    for limit, counted in ((None, 48 * MIB), (20, 64 * MIB)):
        held = Allocator()
        held.limit(limit)
        first = held.take(64 * MIB)
        assert first is not None
        held.give_back(first)
        held.take(48 * MIB)
        assert held.allocated == counted
        assert held.reserved == 64 * MIB


def test_under_a_limit_a_small_request_is_not_cut_off_a_large_free_block() -> None:
    held = Allocator()
    held.limit(20)
    first = held.take(64 * MIB)
    assert first is not None
    held.give_back(first)
    held.take(12 * MIB)
    assert held.reserved == 76 * MIB


def test_free_neighbours_become_one_block_and_whole_segments_go_back_to_cuda() -> None:
    held = Allocator()
    blocks = [held.take(3 * MIB) for _ in range(6)]
    for at in (0, 2, 4, 1, 5, 3):
        block = blocks[at]
        assert block is not None
        held.give_back(block)
    assert (held.allocated, held.reserved, held.peak) == (0, 20 * MIB, 18 * MIB)
    held.empty_cache()
    assert held.reserved == 0


def test_a_segment_of_which_a_piece_is_in_use_stays() -> None:
    held = Allocator()
    first, _ = held.take(3 * MIB), held.take(3 * MIB)
    assert first is not None
    held.give_back(first)
    held.empty_cache()
    assert held.reserved == 20 * MIB


def test_nothing_is_held_for_a_request_of_nothing() -> None:
    held = Allocator()
    assert held.take(0) is None
    assert held.reserved == 0


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_taken_and_given_back_the_sums_hold(seed: int) -> None:
    draw = random.Random(seed)
    held, live = Allocator(), list[tuple[Block, int]]()
    for _ in range(800):
        if live and draw.random() < 0.45:
            held.give_back(live.pop(draw.randrange(len(live)))[0])
        else:
            size = int(2 ** draw.uniform(5, 27))
            block = held.take(size)
            assert block is not None
            live.append((block, size))
        if draw.random() < 0.02:
            held.limit(draw.choice((None, 20)))
        if draw.random() < 0.02:
            held.empty_cache()
        assert held.allocated == sum(block.size for block, _ in live)
        assert all(block.size >= size for block, size in live)
        assert held.allocated <= held.reserved
        assert held.allocated <= held.peak
    while live:
        held.give_back(live.pop()[0])
    held.empty_cache()
    assert (held.allocated, held.reserved) == (0, 0)
