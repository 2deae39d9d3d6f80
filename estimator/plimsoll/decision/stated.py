"""A card that nobody lists, as a request states it: its memory, and what else is said of it.

name       the one that is allowed, or "stated"
memory     as stated, in place of the table's for a card that it has
capability as said, else of the table, else 9.0 from 70 GiB on and 8.6 below
resource   amd.com/gpu for a family of AMD's, else that of the table, else nvidia.com/gpu
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from plimsoll.accelerators import catalogue
from plimsoll.accelerators.labels import named_by
from plimsoll.accelerators.own import assumed_capability, family_of
from plimsoll.accelerators.types import Accelerator
from plimsoll.findings import Rule, finding
from plimsoll.paths import Field
from plimsoll.units import gib_down

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plimsoll.decision.knowledge import Knowledge
    from plimsoll.decision.request import Wanted
    from plimsoll.findings import Finding

NAME: Final = "stated"
"""What a stated card is called that goes by no other name."""
TOLERANCE: Final = 0.03
"""How far the memory of nodes may lie from the stated one, and the stated one above the table's."""


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


def above_table(
    wanted: Wanted, knowledge: Knowledge, reported: Sequence[Accelerator]
) -> dict[str, tuple[int, Accelerator]]:
    """Cards of which more memory is said than the table has for them, by name, each with the bytes
    that are said and the table's own card.

    Said by the request, which names the card or its label; or by who added a card to the table
    whose nodes carry the product name of one that was there. reported: cards as the nodes that the
    request may run on report them, which is no mere word.
    """
    if wanted.memory is None:
        cards = (knowledge.find(name) for name in wanted.allowed)
        said = [(a.name, a.memory, _same_product(a, knowledge)) for a in cards if a is not None]
    else:
        name = wanted.allowed[0] if wanted.allowed else NAME
        labelled = named_by(dict(wanted.node_selector)) if wanted.node_selector else ()
        named = knowledge.meant(name) or (name,)
        meant = [_largest(names, knowledge) for names in (named, labelled)]
        listed = [a for a in meant if a is not None]
        known = knowledge.find(name)
        said = [
            (
                known.name if known is not None else name,
                wanted.memory,
                min(listed, key=lambda a: a.memory, default=None),
            )
        ]
    return {
        name: (memory, card)
        for name, memory, card in said
        if card is not None
        and _more(memory, card)
        and not any(a.name in (name, card.name) and _more(a.memory, card) for a in reported)
    }


def told(wanted: Wanted, above: Mapping[str, tuple[int, Accelerator]]) -> list[Finding]:
    """What is said of cards beyond the table: at the memory, or at the names of added cards."""
    if wanted.memory is not None:
        return [
            finding(
                Rule.STATED_ABOVE_TABLE,
                Field.MEMORY,
                gib_down(memory),
                said=memory,
                has=card.memory,
                accelerator=card.name,
            )
            for memory, card in above.values()
        ]
    return [
        finding(
            Rule.STATED_ABOVE_TABLE,
            Field.ALLOWED,
            name,
            index,
            said=above[name][0],
            has=above[name][1].memory,
            accelerator=above[name][1].name,
        )
        for index, name in enumerate(wanted.allowed)
        if name in above
    ]


def _more(memory: int, card: Accelerator) -> bool:
    return memory > (1 + TOLERANCE) * card.memory


def _largest(names: tuple[str, ...], knowledge: Knowledge) -> Accelerator | None:
    """The card of most memory among those of some names, as far as the table has them."""
    cards = [a for a in map(knowledge.find, names) if a is not None]
    return max(cards, key=lambda a: a.memory, default=None)


def _same_product(card: Accelerator, knowledge: Knowledge) -> Accelerator | None:
    """The shipped card of most memory whose nodes carry the product name of an added one."""
    if not card.products or catalogue.find(card.name) is not None:
        return None
    return max(
        (
            a
            for a in knowledge.accelerators
            if not a.mig_of and catalogue.find(a.name) and set(a.products) & set(card.products)
        ),
        key=lambda a: a.memory,
        default=None,
    )


def alike(memory: int, wanted: Wanted) -> bool:
    """Whether the memory of a node's card can be the stated one."""
    return wanted.memory is None or abs(memory - wanted.memory) <= TOLERANCE * wanted.memory
