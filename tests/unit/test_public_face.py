"""Claims about `import plimsoll`: what it offers, that it is lazy, and that its page is true."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import plimsoll

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
