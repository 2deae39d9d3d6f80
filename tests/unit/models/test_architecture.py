"""Claims about an architecture as a value: what a changed copy keeps and what it never keeps."""

from __future__ import annotations

from dataclasses import replace

from architectures import LLAMA_8B


def test_a_changed_copy_starts_without_what_was_derived_from_the_original() -> None:
    derived = LLAMA_8B.remembered(("test: parameters",), lambda: LLAMA_8B.parameters)
    wider = replace(LLAMA_8B, vocab_size=2 * LLAMA_8B.vocab_size, outside=LLAMA_8B.outside * 2)
    assert wider.memo == {}
    assert wider.remembered(("test: parameters",), lambda: wider.parameters) > derived
    assert LLAMA_8B.remembered(("test: parameters",), lambda: 0) == derived
