"""What a process knows of GPUs: the nodes that have them, the pods that hold them, and what else
takes them (placements, quotas).

It must not keep an object: of each it keeps what the inventory is made of.

    inventory   the nodes as of the last `settle`, with what was free as of the last `settle_free`
    version     counts inventories whose nodes differ: everything is decided again
    freed_at    when what is free last changed for a kind of GPU or a namespace: only what is
                placed there is decided again
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from plimsoll.inventory import claims, declared, devices, flavors, node_pools, topologies
from plimsoll.inventory.dialects import spoken
from plimsoll.inventory.facts import Asked, NodeFacts
from plimsoll.inventory.nodes import read_node, without_offers
from plimsoll.inventory.pods import asking, holding, in_order
from plimsoll.inventory.pools import Inventory, pools, with_declared, with_own
from plimsoll.start_ups import NONE_KEPT
from plimsoll.units import GIB
from plimsoll_operator.cluster.objects import Json, Name, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plimsoll.accelerators.types import Accelerator, Dialect
    from plimsoll.inventory.devices import Device
    from plimsoll.inventory.facts import Offer
    from plimsoll.inventory.held import Claim, Quota, Taken
    from plimsoll.inventory.pools import SetAside
    from plimsoll.start_ups import Calibration

NOTHING: Final = frozenset[str]()
_NOTHING: Final = Asked()
_LARGE: Final = Asked(cpu=1000, memory=GIB, disk=10 * GIB)
"""What a pod must ask of one of these to change what is said at once: more than agents do."""


@lru_cache(maxsize=16_384)
def _same(node: str, asks: Asked) -> tuple[str, Asked]:
    """One object for all pods of a node that ask for the same."""
    return node, asks


def _is_large(asks: Asked) -> bool:
    return asks.cpu >= _LARGE.cpu or asks.memory >= _LARGE.memory or asks.disk >= _LARGE.disk


@dataclass(frozen=True, slots=True)
class Freed:
    """Where it may be otherwise what is free: names of accelerators, and of namespaces."""

    accelerators: frozenset[str] = NOTHING
    namespaces: frozenset[str] = NOTHING

    def __bool__(self) -> bool:
        return bool(self.accelerators or self.namespaces)


class Free:
    """Who takes GPUs: pods, placements, quotas. Beside it, whose answers that may change."""

    def __init__(self) -> None:
        self._pods: dict[Name, tuple[str, tuple[Taken, ...]]] = {}
        self._on: dict[str, set[Name]] = {}
        self._asks: dict[Name, tuple[str, Asked]] = {}
        self._sums: dict[str, Counter[str]] = {}
        self._claims: dict[Name, Claim] = {}
        self._uses: dict[Name, bytes] = {}
        self.devices: Mapping[claims.Place, Device] = {}
        """Devices that a DRA driver gives out, by pool and name."""
        self._quotas: dict[Name, tuple[Quota, ...]] = {}
        self._touched: set[str] = set()
        self._accelerators: set[str] = set()
        self._namespaces: set[str] = set()

    def __len__(self) -> int:
        return len(self._pods)

    @property
    def changed(self) -> bool:
        """Whether anything changed since `news`."""
        return bool(self._touched or self._accelerators or self._namespaces)

    def put(self, pod: Json) -> bool:
        """Take in a pod as it is now. Whether that changes what is free."""
        name = name_of(pod)
        node, held = holding(pod)
        beside = self._ask(name, asking(pod))
        if self._pods.get(name, ("", ())) == (node, held):
            return beside
        self._release(name)
        if held:
            self._pods[name] = (node, held)
            self._on.setdefault(node, set()).add(name)
            self._touched.add(node)
        return True

    def drop(self, name: Name) -> bool:
        """Forget a pod. Whether it held anything that matters."""
        beside = self._ask(name, ("", _NOTHING))
        return self._release(name) or beside

    def _release(self, name: Name) -> bool:
        """Take a pod off the GPUs of its node. Whether it held any."""
        node, held = self._pods.pop(name, ("", ()))
        if not held:
            return False
        self._on[node].discard(name)
        if not self._on[node]:
            del self._on[node]
        self._touched.add(node)
        return True

    def _ask(self, name: Name, after: tuple[str, Asked]) -> bool:
        """Note what a pod asks of its node beside GPUs. Whether that is so much that answers may be
        others: what small ones ask is summed up, and counts with the next change.
        """
        before = self._asks.get(name, ("", _NOTHING))
        if before == after:
            return False
        for sign, (node, asks) in ((-1, before), (1, after)):
            if node:
                sums = self._sums.setdefault(node, Counter())
                sums.update({key: sign * count for key, count in asdict(asks).items()})
                if not sums["pods"]:
                    del self._sums[node]
        if after[0]:
            self._asks[name] = _same(*after)
        else:
            self._asks.pop(name, None)
        large = [node for node, asks in (before, after) if node and _is_large(asks)]
        self._touched.update(large)
        return bool(large)

    def asked(self, node: str) -> Asked:
        """What all pods of a node ask of it beside GPUs."""
        sums = self._sums.get(node)
        return Asked(**sums) if sums is not None else _NOTHING

    def claim(self, name: Name, claim: Claim | None) -> bool:
        """Take in what an LLMDeployment is placed on, None if nowhere. Whether that is new."""
        before = self._claims.get(name)
        if before == claim:
            return False
        self._accelerators.update(one.accelerator for one in (before, claim) if one is not None)
        if claim is None:
            del self._claims[name]
        else:
            self._claims[name] = claim
        return True

    def use(self, name: Name, claim: Json | None) -> bool:
        """Take in a ResourceClaim as it is now, None if it is gone. Whether that is new."""
        slim = claims.trimmed(claim) if claim is not None else None
        packed = json.dumps(slim).encode() if slim is not None else b""
        before = self._uses.get(name, b"")
        if before == packed:
            return False
        for text in filter(None, (before, packed)):
            for place in claims.places(json.loads(text)):
                if device := self.devices.get(place):
                    self._touched.add(device.node)
        if packed:
            self._uses[name] = packed
        else:
            del self._uses[name]
        return True

    def quota(self, name: Name, quotas: tuple[Quota, ...]) -> bool:
        """Take in what a ResourceQuota says of GPUs. Whether that is new."""
        if self._quotas.get(name, ()) == quotas:
            return False
        self._namespaces.add(name[0])
        if quotas:
            self._quotas[name] = quotas
        else:
            del self._quotas[name]
        return True

    def taken(self, node: str) -> tuple[Taken, ...]:
        """What pods hold of a node."""
        names = self._on.get(node, ())
        return tuple(one for name in names for one in self._pods[name][1])

    def on(self, bare: Inventory, *, pods_read: bool) -> Inventory:
        """An inventory of nodes alone with what is taken of it."""
        uses = (json.loads(self._uses[name]) for name in sorted(self._uses))
        by_claims = claims.claimed(uses, self.devices) if self._uses else {}
        facts = [
            replace(
                fact,
                taken=in_order((*self.taken(fact.name), *by_claims.get(fact.name, ()))),
                asked=self.asked(fact.name) if pods_read else None,
            )
            for fact in bare.facts
        ]
        found = pools(facts, bare.set_aside, speak=(bare.speaks,), pods_read=pods_read)
        return replace(
            found,
            own=bare.own,
            calibration=bare.calibration,
            declared=bare.declared,
            topologies=bare.topologies,
            claims=tuple(sorted(self._claims.values(), key=lambda claim: claim.turn)),
            quotas=tuple(quota for name in sorted(self._quotas) for quota in self._quotas[name]),
        )

    def news(self, bare: Inventory) -> Freed:
        """What changed since this was last asked, on the nodes of an inventory."""
        accelerators = self._accelerators | {
            offer.accelerator.name
            for fact in bare.facts
            if fact.name in self._touched
            for offer in fact.offers
        }
        freed = Freed(frozenset(accelerators), frozenset(self._namespaces))
        self._touched, self._accelerators, self._namespaces = set(), set(), set()
        return freed


class GpuNodes:
    """Of each node with GPUs what the inventory reads of it, and the inventory of them all."""

    def __init__(self) -> None:
        self.inventory = Inventory(known=True)
        """The GPU nodes as of the last `settle`."""
        self.version = 0
        """Counts the inventories that differed from the one before."""
        self._nodes: dict[str, NodeFacts | SetAside] = {}
        self._without: dict[str, NodeFacts] = {}
        self._slices: dict[str, tuple[str, bytes]] = {}
        self._given_on: Counter[str] = Counter()
        self._given: Mapping[str, tuple[Offer, ...]] | None = {}
        self._speak: dict[str, Dialect] = {}
        self._said: Counter[Dialect] = Counter()
        self._own: tuple[Accelerator, ...] = ()
        self._calibration = NONE_KEPT
        self._changed = False
        self.free = Free()
        self._bare = self.inventory
        self._declared: dict[tuple[str, str], Json] = {}
        self._pods_read = False
        self._turn = 0
        self._freed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def put(self, node: Json) -> bool:
        """Take in a node as it is now. Whether that changes what is known of GPUs."""
        name = name_of(node)[1]
        facts = read_node(node)
        bare = None if isinstance(facts, NodeFacts) else without_offers(node)
        if self._keep_without(name, bare) and self._given_on[name]:
            self._changed = True
        if facts is None:
            labels = (node.get("metadata") or {}).get("labels") or {}
            heard = self._hear(name, spoken(labels))
            return self._forget(name) or heard
        self._hear(name, None)
        if self._nodes.get(name) == facts:
            return False
        self._nodes[name] = facts
        self._changed = True
        return True

    def _keep_without(self, name: str, facts: NodeFacts | None) -> bool:
        """Note what a node is but for the GPUs that a driver may give out. Whether that is new."""
        before = self._without.get(name)
        if facts is None:
            self._without.pop(name, None)
        else:
            self._without[name] = facts
        return before != facts

    def slice(self, name: str, page: Json | None) -> bool:
        """Take in a ResourceSlice as it is now, None if it is gone. Whether that is new."""
        slim = devices.trimmed(page) if page is not None else None
        before = self._slices.get(name)
        after = (slim["spec"]["nodeName"], json.dumps(slim).encode()) if slim is not None else None
        if before == after:
            return False
        if before is not None:
            self._given_on[before[0]] -= 1
            del self._slices[name]
        if after is not None:
            self._given_on[after[0]] += 1
            self._slices[name] = after
        self._given, self._changed = None, True
        return True

    def _given_out(self) -> Mapping[str, tuple[Offer, ...]]:
        """What drivers give out, by the node's name; read again only after a slice changed."""
        if self._given is None:
            pages = [json.loads(text) for _, text in self._slices.values()]
            self._given = devices.given_out(pages)
            self.free.devices = devices.by_place(pages)
        return self._given

    def add(self, own: tuple[Accelerator, ...]) -> bool:
        """Add these accelerators, and no others, to the table. Whether that changes it."""
        if own == self._own:
            return False
        self._own, self._changed = own, True
        return True

    def calibrate(self, by: Calibration) -> bool:
        """Narrow ranges by these start-ups, and no others. Whether that is new."""
        if by == self._calibration:
            return False
        self._calibration, self._changed = by, True
        return True

    def declare(self, name: str, pool: Json | None) -> bool:
        """Take in an AcceleratorPool as it is now, None if it is gone. Whether that is new."""
        slim = declared.trimmed(pool) if pool is not None else None
        return self._declare((declared.KIND, name), slim)

    def node_pool(self, name: str, pool: Json | None) -> bool:
        """Take in a NodePool of Karpenter's, None if it is gone. Whether that is new."""
        slim = node_pools.trimmed(pool) if pool is not None else None
        return self._declare((node_pools.KIND, name), slim)

    def of_kueue(self, kind: str, name: str, obj: Json | None) -> bool:
        """Take in a ResourceFlavor, a ClusterQueue or a Topology of Kueue's, None if it is gone.
        Whether that is new."""
        trim = topologies.trimmed if kind == topologies.KIND else flavors.trimmed
        slim = trim({**obj, "kind": kind}) if obj is not None else None
        return self._declare((kind, name), slim)

    def _declare(self, name: tuple[str, str], slim: Json | None) -> bool:
        if self._declared.get(name) == slim:
            return False
        if slim is None:
            del self._declared[name]
        else:
            self._declared[name] = slim
        self._changed = True
        return True

    def _of(self, kind: str) -> list[Json]:
        """What is declared by objects of a kind, by their names."""
        return [self._declared[key] for key in sorted(self._declared) if key[0] == kind]

    def drop(self, name: str) -> bool:
        """Forget a node. Whether it had GPUs."""
        heard = self._hear(name, None)
        if self._keep_without(name, None) and self._given_on[name]:
            self._changed = heard = True
        return self._forget(name) or heard

    def _hear(self, name: str, said: Dialect | None) -> bool:
        """Note which dialect a node without GPUs speaks. Whether one came or went by that."""
        before = self._speak.pop(name, None)
        if said is not None:
            self._speak[name] = said
        if before == said:
            return False
        self._said.update(filter(None, (said,)))
        self._said.subtract(filter(None, (before,)))
        gone = before is not None and not self._said[before]
        new = said is not None and self._said[said] == 1
        self._changed = self._changed or gone or new
        return gone or new

    def _forget(self, name: str) -> bool:
        if self._nodes.pop(name, None) is None:
            return False
        self._changed = True
        return True

    def settle(self) -> bool:
        """Compute the inventory again if a node changed. Whether it differs from the one before."""
        if not self._changed:
            return False
        self._changed = False
        by_driver = {
            name: replace(self._without[name], offers=offers)
            for name, offers in self._given_out().items()
            if name in self._without
        }
        known = {**self._nodes, **by_driver}
        facts = [known[name] for name in sorted(known)]
        speak = frozenset(dialect for dialect, nodes in self._said.items() if nodes > 0)
        inventory = with_own(pools(facts, speak=speak), self._own)
        mine = declared.read_pools(self._of(declared.KIND), self._own, inventory.speaks)
        for made in self._of(node_pools.KIND):
            mine += node_pools.read_node_pool(made)
        mine += flavors.read_flavors(
            self._of(flavors.KIND), self._of(flavors.QUEUE), (*inventory.pools, *mine)
        )
        levels = topologies.read_topologies(self._of(topologies.KIND))
        inventory = with_declared(inventory, mine)
        inventory = replace(inventory, topologies=levels, calibration=self._calibration)
        if inventory == self._bare:
            return False
        self._bare = inventory
        self.inventory = self.free.on(inventory, pods_read=self._pods_read)
        self.version += 1
        return True

    def pods_are_read(self, read: bool) -> bool:
        """Say whether all pods are known. Whether that is new."""
        if read == self._pods_read:
            return False
        self._pods_read, self._changed = read, True
        self._bare = Inventory(known=True)  # whatever the nodes are, the inventory is another one
        return True

    def settle_free(self) -> Freed:
        """Take in what changed of pods, placements and quotas; whose answers that may change."""
        if not self.free.changed:
            return Freed()
        freed = self.free.news(self._bare)
        if not freed:
            return freed
        self.inventory = self.free.on(self._bare, pods_read=self._pods_read)
        self._turn += 1
        for key in (*freed.accelerators, *(f"{namespace}/" for namespace in freed.namespaces)):
            self._freed[key] = self._turn
        return freed

    @property
    def turn(self) -> int:
        """Counts the changes of what is free."""
        return self._turn

    def freed_at(self, accelerator: str, namespace: str) -> int:
        """The turn in which what is free last changed for what is placed so."""
        return max(self._freed.get(accelerator, 0), self._freed.get(f"{namespace}/", 0))
