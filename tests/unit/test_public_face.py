"""Claims about `import plimsoll`: what it offers, that it is lazy, and that its page is true."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import plimsoll

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_public_name_is_there_and_none_is_missing_from_the_page() -> None:
    listed = set(
        re.findall(r"`(\w+)`", PAGE.read_text(encoding="utf-8").partition("## The names")[2])
    )
    assert set(plimsoll.__all__) == listed
    assert [name for name in plimsoll.__all__ if not hasattr(plimsoll, name)] == []
    assert set(plimsoll.__all__) <= set(dir(plimsoll))


def test_every_public_name_says_what_it_is() -> None:
    silent = [name for name in plimsoll.__all__ if not getattr(plimsoll, name).__doc__]
    assert silent == []


def test_importing_it_imports_nothing_else_of_it() -> None:
    code = "import sys, plimsoll; print([m for m in sys.modules if m.startswith('plimsoll.')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_name_that_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'verdict_of'"):
        getattr(plimsoll, "verdict_of")  # noqa: B009


def test_an_estimate_takes_what_the_finders_give_or_a_name_for_them() -> None:
    model = plimsoll.find_model("hf://Qwen/Qwen3-8B")
    accelerator = plimsoll.find_accelerator("nvidia-l4")
    by_name = plimsoll.estimate("Qwen/Qwen3-8B", "nvidia-l4")
    assert plimsoll.estimate(model, accelerator) == by_name


def test_an_estimate_raises_every_problem_at_once() -> None:
    with pytest.raises(plimsoll.Invalid) as caught:
        plimsoll.estimate(
            "meta-llama/Llama-3.3-70B-Instruct",
            "nvidia-h100-80gb",
            settings=plimsoll.EngineSettings(version="x"),
            parallelism=plimsoll.Parallelism(3),
        )
    assert len(caught.value.problems) == 2


def test_an_estimate_refuses_a_model_whose_structure_nobody_knows() -> None:
    request = plimsoll.read_manifest({"spec": {"model": {"parameters": "7B"}}})
    with pytest.raises(plimsoll.Invalid, match="structure"):
        plimsoll.estimate(request.model, "nvidia-l4")


@pytest.mark.parametrize(
    ("find", "name", "near"),
    [
        (plimsoll.find_model, "Qwen/Qwen3-8C", "Qwen/Qwen3-8B"),
        (plimsoll.find_accelerator, "nvidia-h100-80g", "nvidia-h100-80gb"),
    ],
)
def test_a_name_that_is_not_known_is_answered_with_the_near_ones(
    find: Callable[[str], object], name: str, near: str
) -> None:
    with pytest.raises(plimsoll.PlimsollError, match=near):
        find(name)


def test_the_page_about_the_library_prints_what_it_says() -> None:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    printed = io.StringIO()
    told = []
    for language, text in blocks:
        if language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(text, str(PAGE), "exec"), names)
        else:
            told.append(text)
    assert len(told) == len(blocks) // 2
    assert printed.getvalue() == "".join(told)
