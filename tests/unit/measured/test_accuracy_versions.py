"""The versions that a text may mean, and the flags that a row states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.measured.printed import stated_arguments
from plimsoll.measured.versions import Versions, candidates, read

LAST = 9999


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0.19.0", (0, 19, 0), (0, 19, 0)),
        ("v0.9.2", (0, 9, 2), (0, 9, 2)),
        ("0.6.6.post1", (0, 6, 6), (0, 6, 6)),
        ("0.8.5 rocm", (0, 8, 5), (0, 8, 5)),
        ("0.9.2.dev364+gb432b7a28", (0, 9, 1), (0, 9, 2)),
        ("0.23.1rc1.dev280+gc0b2d8f47", (0, 23, 0), (0, 23, 1)),
        ("0.6.5-dev", (0, 6, 4), (0, 6, 5)),
        ("0.11.1-dev (2025-11)", (0, 11, 0), (0, 11, 1)),
        ("0.8.x", (0, 8, 0), (0, 8, LAST)),
        ("0.10", (0, 10, 0), (0, 10, LAST)),
        ("0.6-0.8 v0", (0, 6, 0), (0, 8, LAST)),
        ("0.11.x/0.12 (2025-12)", (0, 11, 0), (0, 12, LAST)),
        ("0.22+", (0, 22, 0), (LAST, LAST, LAST)),
        ("0.13.0-ish", (0, 12, 0), (0, 14, LAST)),
    ],
)
def test_a_version_text_means_every_release_that_it_leaves_open(
    text: str, low: tuple[int, int, int], high: tuple[int, int, int]
) -> None:
    assert read(text) == Versions(low, high)


@pytest.mark.parametrize(
    "text", ["", "2026-08", "2026", "main", "gb432b7a28", "0.1.1.dev0+g69db1c26b", "0.7.0-dev (v1)"]
)
def test_a_date_or_a_commit_bounds_no_version(text: str) -> None:
    assert not read(text).known


@pytest.mark.parametrize("text", ["windows fork", "vllm-ascend 2025-10", "0.7.2 (unsloth)"])
def test_a_fork_says_that_it_is_one(text: str) -> None:
    assert read(text).fork


def test_a_range_stands_for_the_releases_at_which_a_figure_changes() -> None:
    found = candidates("vllm", read("0.16-0.18"))
    assert found[0] == "0.16.0"
    assert "0.17.0" in found
    assert "0.19.0" not in found


def test_versions_before_the_first_known_have_no_candidate() -> None:
    assert candidates("vllm", read("0.5.4")) == ()


@given(st.text(max_size=300))
def test_no_version_text_raises(text: str) -> None:
    candidates("vllm", read(text))


def test_the_engines_own_line_of_arguments_is_whole() -> None:
    said = stated_arguments("{'model': 'x/y', 'max_model_len': 4096, 'enforce_eager': True}")
    assert said.whole
    assert said.flags == ("--max-model-len=4096", "--enforce-eager")


def test_a_line_that_is_cut_off_is_not_whole_and_gives_what_it_has() -> None:
    said = stated_arguments(
        "{'host': 'localhost', 'max_num_seqs': 64, 'chat_template': \"{% if mess"
    )
    assert not said.whole
    assert said.flags == ("--max-num-seqs=64",)


def test_flags_settings_and_words_are_read_as_flags() -> None:
    assert stated_arguments("--enable-prefix-caching --block-size=128").flags == (
        "--enable-prefix-caching",
        "--block-size=128",
    )
    assert stated_arguments("cpu_offload_gb=1").flags == ("--cpu-offload-gb=1",)
    said = stated_arguments("DCP4, MTP 3 tokens")
    assert said.flags == ("--decode-context-parallel-size=4",)
    assert said.features == ("--speculative-config",)
    assert stated_arguments("cudagraph_mode NONE").no_graphs


@given(
    st.none()
    | st.integers()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
    )
)
def test_nothing_in_other_args_raises(value: object) -> None:
    assert all(isinstance(arg, str) for arg in stated_arguments(value).flags)
