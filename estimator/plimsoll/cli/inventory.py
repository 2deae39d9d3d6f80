"""`plimsoll inventory`: the GPU pools of a cluster, from kubectl or from a saved list of nodes.

It must not speak to an API server itself: kubectl has the user's credentials and context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from plimsoll.cli.given import parsed, read_saved
from plimsoll.cli.kubectl import Kubectl, kubectl_options
from plimsoll.cli.output import Table, dump, format_option, show

if TYPE_CHECKING:
    from plimsoll.inventory.pools import Inventory


@click.command("inventory")
@click.option(
    "--from",
    "source",
    metavar="FILE",
    help="The output of `kubectl get nodes -o json` (- for standard input); with pods "
    "(`nodes,pods -A`) it is known what is free.",
)
@kubectl_options
@format_option("table", "json", "yaml")
def command(
    source: str | None, context: str | None, kubeconfig: str | None, kubectl: str, output: str
) -> None:
    """The GPU pools of a cluster, and the GPU nodes that cannot be counted, each with the reason.

    Saved with -o json, `plimsoll check --inventory FILE` takes it, in a pipeline without a cluster.
    """
    from plimsoll.inventory.saved import from_dict, to_dict

    if source is None:
        asked = Kubectl(kubectl, context, kubeconfig, output)
        fix = "check the context, and the right to list nodes"
        text = asked.ask(["get", "nodes", "-o", "json"], "a list of nodes", fix)
        source = "kubectl"
    else:
        text = read_saved(source, output)
    if output == "table":
        show_inventory(parsed(from_dict, text, source, output))
    else:
        dump(parsed(to_dict, text, source, output), output)


def show_inventory(inventory: Inventory) -> None:
    """Pools, then the nodes set aside."""
    from plimsoll.units import MIB, grouped

    if not inventory.pools:
        click.echo("no GPU node that can be counted")
    else:
        table = Table(
            ("accelerator", "nodes", "ready", "GPUs/node", "MiB/GPU", "selector", "taints"),
            right=frozenset({"nodes", "ready", "GPUs/node", "MiB/GPU"}),
            drop=("taints", "ready", "MiB/GPU"),
            wrap=frozenset({"selector", "taints"}),
        )
        for pool in inventory.pools:
            table.add(
                pool.accelerator.name,
                grouped(pool.nodes),
                str(pool.ready),
                str(pool.gpus_per_node),
                str(pool.accelerator.memory // MIB),
                ",".join(f"{k}={v}" for k, v in pool.selector),
                ",".join(f"{k}{'=' + v if v else ''}:{e}" for k, v, e in pool.taints),
            )
        show(table)
    if inventory.set_aside:
        click.echo("\nnot counted:")
        for aside in inventory.set_aside:
            click.echo(f"  {aside.node}: {aside.why}")
