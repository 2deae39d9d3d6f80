"""Whose labels the nodes of a cluster carry: how a selector for nodes to come is written.

A provisioner makes nodes for pods that select by labels which it knows beforehand, so one look at
any node, with or without a GPU, tells in which dialect a placement without nodes is to be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.accelerators.types import Accelerator, Dialect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TOLD_BY: Final = (
    ("eks.amazonaws.com/compute-type", Dialect.EKS_AUTO),
    ("eks.amazonaws.com/instance-category", Dialect.EKS_AUTO),
    ("karpenter.k8s.aws/instance-category", Dialect.KARPENTER_AWS),
    ("karpenter.k8s.aws/instance-family", Dialect.KARPENTER_AWS),
    ("karpenter.k8s.aws/ec2nodeclass", Dialect.KARPENTER_AWS),
    ("karpenter.azure.com/sku-name", Dialect.KARPENTER_AZURE),
    ("karpenter.azure.com/aksnodeclass", Dialect.KARPENTER_AZURE),
    ("cloud.google.com/gke-nodepool", Dialect.GKE),
    ("karpenter.k8s.gcp/instance-family", Dialect.GKE),
)
"""Labels of nodes that a provisioner made, with its dialect; the first that is there counts."""
_ORDER: Final = tuple(dict.fromkeys(dialect for _, dialect in _TOLD_BY))


def spoken(labels: Mapping[str, str]) -> Dialect | None:
    """The dialect of the provisioner that made a node; None if no label tells."""
    for key, dialect in _TOLD_BY:
        if key == "eks.amazonaws.com/compute-type" and labels.get(key) != "auto":
            continue
        if key in labels:
            return dialect
    return None


def of_cluster(dialects: Iterable[Dialect | None]) -> Dialect | None:
    """The dialect for nodes to come, of those that the nodes there are speak."""
    said = set(dialects)
    return next((dialect for dialect in _ORDER if dialect in said), None)


def asked_for(accelerator: Accelerator, dialect: Dialect | None) -> tuple[tuple[str, str], ...]:
    """The labels that ask for nodes with an accelerator in a dialect; empty if it has none.

    Where a dialect has several, one with the most labels in common is not to be had: the first of
    the table, which is the usual one. A machine's name asks for one size, which is not guessed.
    """
    if dialect in (None, Dialect.KARPENTER_AZURE) or accelerator.mig_of:
        return ()
    known = (entry.selector for entry in accelerator.labels if entry.dialect is dialect)
    return next(known, ())
