"""A card that nobody lists, as a request states it: its memory, and what else is said of it.

name       the one that is allowed, or "stated"
memory     as stated, in place of the table's for a card that it has
capability as said, else of the table, else 9.0 from 70 GiB on and 8.6 below
resource   amd.com/gpu for a family of AMD's, else that of the table, else nvidia.com/gpu
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators.own import assumed_capability, family_of
from plimsoll.accelerators.types import Accelerator
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import gib_down

if TYPE_CHECKING:
    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Wanted
    from plimsoll.findings import Finding

NAME: Final = "stated"
"""What a stated card is called that goes by no other name."""
TOLERANCE: Final = 0.03
"""How far the memory of nodes may lie from the stated one."""


def stated(wanted: Wanted, knowledge: Knowledge) -> Accelerator | None:
    """The card that a request states; None if it states no memory."""
    if wanted.memory is None:
        return None
    name = wanted.allowed[0] if wanted.allowed else NAME
    known = knowledge.find(name)
    compute, family = wanted.compute, wanted.family
    of_amd = family.startswith(("cdna", "rdna", "gcn"))
    if known is not None:
        compute = compute or known.compute
        return replace(
            known,
            memory=wanted.memory,
            compute=compute,
            family=family or (family_of(compute) if wanted.compute else known.family),
            certain=True,
            usual=False,
        )
    if compute is None:
        compute = (0, 0) if of_amd else assumed_capability(wanted.memory)
    return Accelerator(
        name=name,
        title=f"a GPU of {gib_down(wanted.memory)}",
        memory=wanted.memory,
        resource="amd.com/gpu" if of_amd else "nvidia.com/gpu",
        family=family or family_of(compute),
        compute=compute,
        gpus_per_node=8,
        source="stated by the request",
        usual=False,
    )


def problems(wanted: Wanted) -> list[Finding]:
    """Facts of a stated card without its memory, and a memory that is stated for several cards."""
    if wanted.memory is None:
        lone = [
            (Field.COMPUTE, ".".join(map(str, wanted.compute)) if wanted.compute else ""),
            (Field.FAMILY, wanted.family),
        ]
        return [finding(Rule.STATED_WITHOUT_MEMORY, field, said) for field, said in lone if said]
    if len(wanted.allowed) > 1:
        return [finding(Rule.STATED_FOR_SEVERAL, Field.MEMORY, gib_down(wanted.memory))]
    return []


def doubts(wanted: Wanted, knowledge: Knowledge) -> list[Finding]:
    """What is assumed of a stated card."""
    card = stated(wanted, knowledge)
    if card is None or wanted.compute or wanted.family or knowledge.find(card.name):
        return []
    compute = ".".join(map(str, card.compute))
    return [finding(Rule.STATED_CAPABILITY_ASSUMED, Field.COMPUTE, compute)]


def alike(memory: int, wanted: Wanted) -> bool:
    """Whether the memory of a node's card can be the stated one."""
    return wanted.memory is None or abs(memory - wanted.memory) <= TOLERANCE * wanted.memory
