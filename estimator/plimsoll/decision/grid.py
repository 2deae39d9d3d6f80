"""What fits on GPUs that are chosen already, over contexts and requests at once.

Each cell is one estimate and one comparison: no plan is made, and nothing is advised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from plimsoll.decision import candidates
from plimsoll.decision.knowledge import shipped
from plimsoll.decision.trial import Case

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Request
    from plimsoll.engines.base import Parallelism, State


def grid(
    request: Request,
    parallelism: Parallelism,
    lengths: Sequence[int],
    counts: Sequence[int],
    knowledge: Knowledge | None = None,
) -> tuple[tuple[State, ...], ...]:
    """For each context the states over numbers of requests, each as long as the context.

    request: of a model whose structure is known, on one kind of GPU. Raises `ValueError` else.
    """
    known = knowledge or shipped()
    request = replace(request, wanted=candidates.canonical(request.wanted, known))
    architecture, engine = request.model.architecture, known.engines.get(request.engine.name)
    on = candidates.from_table(request.wanted, known)
    if architecture is None or engine is None or len(on) != 1:
        raise ValueError("a grid is of a known model on one kind of GPU")

    def state(length: int, count: int) -> State:
        settings = replace(request.engine, max_model_len=length)
        work = replace(request.workload, concurrent=count, input_tokens=None, output_tokens=None)
        case = Case(replace(request, engine=settings, workload=work), architecture, engine)
        return case.trial(on[0], parallelism).fit.state

    return tuple(tuple(state(length, count) for count in counts) for length in lengths)
