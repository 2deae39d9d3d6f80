"""The table of accelerators: what is known of each kind of GPU, found by any name people use.

It must not be asked for a size that it does not have: an unknown name is None, never a guess.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from plimsoll.accelerators.machines import carrying
from plimsoll.accelerators.types import Accelerator, Dialect, Labels
from plimsoll.units import MIB

MAX_NAME: Final = 128
"""Characters of a name that are looked at."""
PRODUCT: Final = "nvidia.com/gpu.product"
MEMORY: Final = "nvidia.com/gpu.memory"
_PREFIX: Final = {
    Dialect.KARPENTER_AWS: "karpenter.k8s.aws/",
    Dialect.EKS_AUTO: "eks.amazonaws.com/",
}
"""Whose labels name GPUs as EC2 does."""


@dataclass(frozen=True)
class Catalogue:
    """All accelerators. full: whole GPUs, in the table's order; slices: their MIG slices.

    names: by every name and alias, in lower case. gke: by GKE's labels. products: by the product in
    a node's label, in lower case; more than one where a maker gave one name to cards of different
    memory. several: the names of the cards that a name without a memory may mean, where clouds
    offer more than one.
    """

    full: tuple[Accelerator, ...]
    slices: tuple[Accelerator, ...]
    names: dict[str, Accelerator]
    products: dict[str, tuple[Accelerator, ...]]
    several: dict[str, tuple[str, ...]]
    gke: dict[str, Accelerator]

    def find(self, name: str) -> Accelerator | None:
        """The accelerator of that name, alias or product name, in any case, with dashes, spaces
        or nothing between its parts.
        """
        if len(name) > MAX_NAME:
            return None
        written = "-".join(name.lower().split())
        return self.names.get(written) or self._closed_up.get(_closed_up(written))

    @cached_property
    def _closed_up(self) -> dict[str, Accelerator]:
        """By the names without what stands between their parts, where that leaves one."""
        found: dict[str, set[str]] = {}
        for name, card in self.names.items():
            found.setdefault(_closed_up(name), set()).add(card.name)
        return {name: self.names[min(cards)] for name, cards in found.items() if len(cards) == 1}


def _closed_up(name: str) -> str:
    return re.sub(r"[-_. ]", "", name)


def _accelerator(row: dict[str, Any], alone: set[str]) -> Accelerator:
    """A row of the table. alone: products that no other row has."""
    return Accelerator(
        name=row["name"],
        title=row["title"],
        memory=row["mib"] * MIB,
        resource=row.get("resource", "nvidia.com/gpu"),
        family=row["family"],
        compute=(row["compute"][0], row["compute"][1]),
        gpus_per_node=row.get("gpusPerNode", 8),
        labels=tuple(_labels(row, alone)),
        products=tuple(row["products"]),
        source=row["source"],
        certain=row.get("certain", True),
        usual=row.get("usual", False),
    )


def _labels(row: dict[str, Any], alone: set[str]) -> list[Labels]:
    """How nodes with a card are labelled, dialect by dialect."""
    amd = row.get("resource") == "amd.com/gpu"
    found: list[tuple[Dialect, dict[str, str]]] = []
    for product in row["products"]:
        if amd:
            found.append((Dialect.AMD, {"amd.com/gpu.product-name": product}))
        elif product in alone:
            found.append((Dialect.GFD, {PRODUCT: product}))
        else:
            found.append((Dialect.GFD, {PRODUCT: product, MEMORY: str(row["mib"])}))
    found += [(Dialect.GKE, {"cloud.google.com/gke-accelerator": v}) for v in row.get("gke", ())]
    for dialect, prefix in _PREFIX.items():
        for name, memory in row.get("ec2", ()):
            keys = (f"{prefix}instance-gpu-name", f"{prefix}instance-gpu-memory")
            found.append((dialect, dict(zip(keys, (name, memory), strict=True))))
    found += [(Dialect.COREWEAVE, {"gpu.nvidia.com/class": v}) for v in row.get("coreweave", ())]
    found += [(Dialect.AMD, {"amd.com/gpu.device-id": v}) for v in row.get("ids", ())]
    for name, machine in carrying().get(row["name"], ()):
        found.append((machine.dialect, {"node.kubernetes.io/instance-type": name}))
        if machine.dialect is Dialect.AKS:
            found.append((Dialect.KARPENTER_AZURE, {"karpenter.azure.com/sku-name": name}))
    return [Labels(dialect, tuple(sorted(pairs.items()))) for dialect, pairs in found]


def mig_slice(
    parent: Accelerator, profile: str, memory: int, *, source: str = "", certain: bool = True
) -> Accelerator:
    """A MIG slice of a GPU. profile: ``1g.10gb``; memory: bytes of the slice.

    The labels are those of the single strategy; with the mixed strategy the resource selects.
    """
    products = tuple(f"{product}-MIG-{profile}" for product in parent.products)
    return replace(
        parent,
        name=f"{parent.name}-mig-{profile}",
        title=f"{parent.title}, MIG {profile}",
        memory=memory,
        resource=f"nvidia.com/mig-{profile.replace('+', '.')}",
        gpus_per_node=1,
        labels=tuple(Labels(Dialect.GFD, ((PRODUCT, product),)) for product in products),
        products=products,
        mig_of=parent.name,
        mig_profile=profile,
        source=source,
        certain=certain,
    )


@cache
def load() -> Catalogue:
    """The table, read once."""
    data = json.loads((Path(__file__).parent / "data" / "accelerators.json").read_text("utf-8"))
    rows = data["accelerators"]
    by_product: dict[str, list[str]] = {}
    for row in rows:
        for product in row["products"]:
            by_product.setdefault(product, []).append(row["name"])
    alone = {product for product, owners in by_product.items() if len(owners) == 1}
    full = tuple(_accelerator(row, alone) for row in rows)
    by_name = {a.name: a for a in full}
    slices = tuple(
        mig_slice(
            by_name[row["of"]],
            row["profile"],
            row["mib"] * MIB,
            source=row["source"],
            certain=row["certain"],
        )
        for row in data["mig"]
    )
    products = {
        product.lower(): tuple(by_name[name] for name in owners)
        for product, owners in by_product.items()
    }
    # a product's name alone means the card of less memory
    names = {p: min(cards, key=lambda a: a.memory) for p, cards in products.items()}
    for row, accelerator in zip(rows, full, strict=True):
        names |= {alias.lower(): accelerator for alias in row["aliases"]}
    names |= {a.name: a for a in (*full, *slices)}
    several = {
        written: tuple(cards)
        for name, cards in data["several"].items()
        for written in (name, f"nvidia-{name}", f"tesla-{name}")
    }
    labels = {
        label: card for row, card in zip(rows, full, strict=True) for label in row.get("gke", ())
    }
    return Catalogue(full, slices, names, products, several, labels)


def find(name: str) -> Accelerator | None:
    """The accelerator of that name, alias or product name, in any case; None if none is."""
    return load().find(name)


def of_product(product: str, memory: int | None) -> Accelerator | None:
    """The card of a product in a node's label: of several the one whose memory is the nearest.

    memory: bytes that the node reports; None: the card of least memory, which is not certain then.
    """
    cards = load().products.get("-".join(product.lower().split()), ())
    if memory is None:
        least = min(cards, key=lambda a: a.memory, default=None)
        return least if least is None or len(cards) == 1 else replace(least, certain=False)
    return min(cards, key=lambda a: abs(a.memory - memory), default=None)


def full_gpus() -> tuple[Accelerator, ...]:
    """Every whole GPU of the table."""
    return load().full


def everything() -> tuple[Accelerator, ...]:
    """Every whole GPU and every MIG slice of the table."""
    catalogue = load()
    return catalogue.full + catalogue.slices


def suggest(name: str, most: int = 3) -> tuple[str, ...]:
    """Names of the table that are near an unknown one."""
    names = [a.name for a in everything()]
    return tuple(difflib.get_close_matches(name[:MAX_NAME].lower(), names, n=most, cutoff=0.5))
