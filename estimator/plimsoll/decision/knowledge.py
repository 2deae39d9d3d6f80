"""What a decision knows beside the request: the engines and the table of accelerators.

It is one argument so that a test, or a caller with an engine of its
own, can decide with other tables; everybody else leaves it out and gets the ones that we ship.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.accelerators.types import Accelerator
    from plimsoll.engines.assemble import Engine
    from plimsoll.inventory.pools import Inventory
    from plimsoll.start_ups import Calibration


BF16_FROM: Final = (8, 0)
"""Compute capability from which a GPU computes in bfloat16; (0, 0) is another vendor's."""
LONGEST: Final = 128
"""Characters of an unknown name that are compared."""
_SIZE: Final = re.compile(r"\b(\d{1,3})-?(?:gib|gb|g)\b")
_RTX: Final = re.compile(r"\b(rtx|rx)(?=\d)")
_NUMBER: Final = re.compile(r"\d(?!\d*gb$)")
_SAID_BESIDE: Final = re.compile(
    "nvidia|amd|intel|habana|tesla|geforce|instinct|radeon|gpu|graphics|card|generation|edition|"
    r"blackwell|server|workstation|tensor|core|sxm\d?|pcie?|oam|hbm\d?e?|nvlink"
)
"""Words of a card's name that do not say which it is: NVL, Ada, laptop and a size do."""


@dataclass(frozen=True)
class Knowledge:
    """engines: by the name that a request gives. accelerators: the whole table.

    names: accelerators by further names that people use, in lower case. several: what a name of
    people may mean where it means more than one of them.
    """

    engines: Mapping[str, Engine]
    accelerators: tuple[Accelerator, ...]
    names: Mapping[str, Accelerator] = field(default_factory=dict)
    several: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> dict[str, Accelerator]:
        """The table by Plimsoll's names."""
        return {accelerator.name: accelerator for accelerator in self.accelerators}

    def find(self, name: str) -> Accelerator | None:
        """The accelerator of that name, in any case; None if there is none.

        Of several that it may mean (`meant`) one, the card of least memory if the table says none.
        """
        written = _written(name)
        found = self.by_name.get(written) or self.names.get(written)
        if found is None and len(name) <= LONGEST:
            plain = _plain(written)
            cards = self._by_plain.get(plain, ())
            least = min(cards, key=lambda card: card.memory, default=None)
            found = least if len(cards) == 1 else self.names.get(plain) or least
        return found

    def meant(self, name: str) -> tuple[str, ...]:
        """The accelerators that a name leaves open; empty where it means one or none."""
        written = _written(name)
        if written in self.several or written in self.names or len(name) > LONGEST:
            return self.several.get(written, ())
        plain = _plain(written)
        cards = self._by_plain.get(plain, ())
        left = tuple(card.name for card in cards) if len(cards) > 1 else ()
        return self.several.get(plain, left if plain not in self.names else ())

    def near(self, name: str) -> list[str]:
        """Names of the table that are like an unknown one, the nearest first: those of the same
        number, such as h100, before those that are spelled alike."""
        import difflib

        written = _written(name[:LONGEST])
        plain = _plain(written)
        numbers = {word for word in plain.split("-") if _NUMBER.search(word)}
        alike = {
            other: len(numbers.intersection(other.split("-")))
            for other, card in self.by_name.items()
            if not card.mig_of
        }
        most = max(alike.values(), default=0)
        among = [other for other, shared in alike.items() if shared == most] if most else []
        found = difflib.get_close_matches(plain, among, n=3, cutoff=0.0)
        return found or difflib.get_close_matches(written, self.by_name, n=3, cutoff=0.5)

    @cached_property
    def _by_plain(self) -> dict[str, tuple[Accelerator, ...]]:
        """Whole GPUs by the names of makers and clouds without what tells no two of them apart."""
        found: dict[str, dict[str, Accelerator]] = {}
        named = [(name, a) for name, a in self.names.items() if not a.mig_of]
        whole = [a for a in self.accelerators if not a.mig_of]
        titled = [(text, a) for a in whole for text in (a.name, a.title, *a.products)]
        for name, card in (*named, *titled):
            found.setdefault(_plain(_written(name)), {})[card.name] = card
        return {plain: tuple(cards.values()) for plain, cards in found.items()}

    @cached_property
    def plannable(self) -> tuple[Accelerator, ...]:
        """What a request that names nothing is planned on without nodes.

        Whole GPUs of certain memory that clouds offer and that compute in bfloat16, as nearly all
        models are stored; others are planned on if they are named or if a cluster has them.
        """
        return tuple(
            a
            for a in self.accelerators
            if a.certain
            and a.usual
            and not a.mig_of
            and (a.compute >= BF16_FROM or a.compute == (0, 0))
        )

    @cached_property
    def usual(self) -> tuple[Accelerator, ...]:
        """The whole GPUs that clouds offer: what a list of all is short enough with."""
        return tuple(a for a in self.accelerators if a.usual and not a.mig_of)

    @cached_property
    def digest(self) -> str:
        """Short hash of the facts in the table that a decision rests on."""
        facts = sorted(
            (a.name, a.memory, a.compute, a.gpus_per_node, a.certain, a.mig_of)
            for a in self.accelerators
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def adding(self, own: tuple[Accelerator, ...]) -> Knowledge:
        """The same, with accelerators that somebody added to the table."""
        if not own:
            return self
        added = self._added.get(own)
        if added is None:
            names = {product.lower(): card for card in own for product in card.products}
            accelerators = (*self.accelerators, *own)
            added = replace(self, accelerators=accelerators, names={**self.names, **names})
            self._added.clear()
            self._added[own] = added
        return added

    def in_cluster(self, inventory: Inventory) -> Knowledge:
        """The same, with all that a cluster adds: start-ups that it keeps, accelerators."""
        return self.calibrated(inventory.calibration).adding(inventory.own)

    def calibrated(self, by: Calibration) -> Knowledge:
        """The same, with engines that know start-ups which somebody keeps."""
        if not by.kept:
            return self
        found = self._calibrated.get(by.digest)
        if found is None:
            from plimsoll.engines.calibrated import Calibrated

            engines = {name: Calibrated(engine, by) for name, engine in self.engines.items()}
            found = replace(self, engines=engines)
            self._calibrated.clear()
            self._calibrated[by.digest] = found
        return found

    @cached_property
    def _calibrated(self) -> dict[str, Knowledge]:
        """The last that was calibrated, by the digest of what is kept."""
        return {}

    @cached_property
    def _added(self) -> dict[tuple[Accelerator, ...], Knowledge]:
        """The last that was added: the same is added again and again."""
        return {}


def _plain(written: str) -> str:
    """A name of makers and clouds without their own, the form of the card and the chip's name.

    ``nvidia-h100-sxm5`` is ``h100``, ``a100-80-gb-pcie`` is ``a100-80gb``.
    """
    text = _RTX.sub(r"\1-", _SIZE.sub(r"\1gb", written.replace("_", "-")))
    return "-".join(word for word in text.split("-") if word and not _SAID_BESIDE.fullmatch(word))


def _written(name: str) -> str:
    """A name as the table has it: small letters, dashes for spaces."""
    return "-".join(name.lower().split())


@cache
def shipped() -> Knowledge:
    """The engines and accelerators that come with this package; read once."""
    from plimsoll.accelerators import catalogue
    from plimsoll.engines import registry

    table = catalogue.load()
    return Knowledge(
        registry.Engines(),
        catalogue.everything(),
        {**table.gke, **table.names},
        table.several,
    )
