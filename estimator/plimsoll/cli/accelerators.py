"""`plimsoll accelerators`: the GPUs that Plimsoll knows, with the memory that drivers report.

It must not look at a cluster; `plimsoll inventory` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plimsoll.cli.output import Table, dump, format_option, show

if TYPE_CHECKING:
    from plimsoll.accelerators.types import Accelerator


@click.command("accelerators")
@click.option("--mig", is_flag=True, help="MIG slices too.")
@format_option("table", "json", "yaml")
def command(mig: bool, output: str) -> None:
    """The GPUs that are known, by the names that spec.accelerator.allowed takes.

    MIB and GIB are what the driver reports for one GPU, which is what counts; the size in the
    name is what it is sold as.
    """
    from plimsoll.accelerators.catalogue import everything, full_gpus
    from plimsoll.units import GIB, MIB

    known = everything() if mig else full_gpus()
    if output != "table":
        dump([accelerator_dict(a) for a in known], output)
        return
    table = Table(
        ("name", "title", "MiB", "GiB", "family", "resource", "per node", "memory from"),
        right=frozenset({"MiB", "GiB", "per node"}),
        drop=("title", "memory from", "family", "per node", "resource", "MiB"),
    )
    for a in known:
        table.add(
            a.name,
            a.title,
            str(a.memory // MIB),
            f"{a.memory / GIB:.2f}",
            a.family,
            a.resource,
            str(a.gpus_per_node),
            "measured" if a.certain else "assumed",
        )
    show(table)


def accelerator_dict(a: Accelerator) -> dict[str, Any]:
    """An accelerator for machines; memory in bytes."""
    return {
        "name": a.name,
        "title": a.title,
        "memory": a.memory,
        "resource": a.resource,
        "family": a.family,
        "computeCapability": ".".join(map(str, a.compute)) if a.compute != (0, 0) else None,
        "gpusPerNode": a.gpus_per_node,
        "products": list(a.products),
        "labels": {str(labels.dialect): dict(labels.selector) for labels in a.labels},
        "migOf": a.mig_of or None,
        "migProfile": a.mig_profile or None,
        "certain": a.certain,
        "source": a.source,
    }
