"""What both processes remember of nodes and namespaces: only what a decision reads.

It must not speak to the API server; whoever watches puts objects in and takes them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.api_group import POLICY_LABEL
from plimsoll.inventory.nodes import read_node
from plimsoll.inventory.pools import Inventory, pools
from plimsoll_operator.reflector import name_of, version_of

if TYPE_CHECKING:
    from plimsoll.inventory.pools import NodeFacts, SetAside
    from plimsoll_operator.client import Json


class NodeCache:
    """Of each node with GPUs what the inventory reads of it, and the inventory of them all.

    Lists and watches may both put nodes in: of two states of a node the later one stays.
    """

    def __init__(self) -> None:
        self.inventory = Inventory(known=True)
        """The GPU nodes as of the last `settle`."""
        self.version = 0
        """Counts the inventories that differed from the one before."""
        self._nodes: dict[str, NodeFacts | SetAside] = {}
        self._versions: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self._changed = False

    def put(self, node: Json) -> bool:
        """Take in a node. Whether that changes what is known of GPUs."""
        name, version = name_of(node)[1], version_of(node)
        if version and version <= max(self._versions.get(name, 0), self._gone.get(name, 0)):
            return False
        facts = read_node(node)
        if facts is None:
            return self.drop(name, version)
        self._versions[name] = version
        if self._nodes.get(name) == facts:
            return False
        self._nodes[name] = facts
        self._changed = True
        return True

    def drop(self, name: str, version: int = 0) -> bool:
        """Forget a node. Whether it had GPUs.

        version: of its last state, so that a list that began earlier does not bring it back.
        """
        if self._nodes.pop(name, None) is None:
            return False
        self._gone[name] = max(version, self._versions.pop(name, 0))
        self._changed = True
        return True

    def list_begins(self) -> None:
        """What went before now is in no list that begins now."""
        self._gone.clear()

    def names(self) -> set[str]:
        """The nodes with GPUs."""
        return set(self._nodes)

    def settle(self) -> bool:
        """Compute the inventory anew if a node changed. Whether it differs from the one before."""
        if not self._changed:
            return False
        self._changed = False
        inventory = pools([self._nodes[name] for name in sorted(self._nodes)])
        if inventory == self.inventory:
            return False
        self.inventory = inventory
        self.version += 1
        return True


class NamespaceModes:
    """The policy labels of the namespaces that have one."""

    def __init__(self) -> None:
        self._modes: dict[str, str] = {}

    def put(self, namespace: Json) -> bool:
        """Take in a namespace. Whether its label changed."""
        name = name_of(namespace)[1]
        labels = (namespace.get("metadata") or {}).get("labels") or {}
        mode = labels.get(POLICY_LABEL)
        if mode is None:
            return self.drop(name)
        if self._modes.get(name) == mode:
            return False
        self._modes[name] = mode
        return True

    def drop(self, name: str) -> bool:
        """Forget a namespace's label. Whether it had one."""
        return self._modes.pop(name, None) is not None

    def names(self) -> set[str]:
        """The namespaces that have a label."""
        return set(self._modes)

    def get(self, namespace: str) -> str | None:
        """A namespace's label as written, None where it has none."""
        return self._modes.get(namespace)
