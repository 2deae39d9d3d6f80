"""``--gpu NAME``: the GPU that somebody names, by any name that `accelerator.allowed` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.cli.output import bad_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.decision.knowledge import Knowledge


def gpus_named(
    names: Sequence[str], output: str, knowledge: Knowledge | None = None, fix: str = ""
) -> tuple[Accelerator, ...]:
    """The GPUs of these names; exit code 2 if one is in no table, or may mean several.

    knowledge: what is known; unset: what we ship. fix: what else can be done about an unknown one.
    """
    from plimsoll.decision.knowledge import shipped
    from plimsoll.errors import Problem, shown
    from plimsoll.units import gib_down

    known = knowledge or shipped()
    found, problems = [], []
    for name in names:
        card, meant = known.find(name), known.meant(name)
        if card is not None and not meant:
            found.append(card)
            continue
        if meant:
            wanted = "the name of one accelerator: clouds offer this card with different memory"
            problems.append(Problem("--gpu", shown(name), wanted, f"write {' or '.join(meant)}"))
            continue
        near = [f"{a.name} ({gib_down(a.memory)})" for a in map(known.find, known.near(name)) if a]
        like = f"did you mean {' or '.join(near)}? " if near else ""
        what = f"{like}`plimsoll accelerators` lists all names{fix}"
        problems.append(Problem("--gpu", shown(name), "a known accelerator", what))
    if problems:
        bad_input(problems, output)
    return tuple(found)
