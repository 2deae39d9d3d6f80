"""`python -m scheduler --seeds 20`: draws fleets and LLMDeployments, and has pods of them bound."""

from __future__ import annotations

import asyncio
import sys
import time

import click

from controlplane import ControlPlane
from controlplane.scheduler import Scheduler
from plimsoll_operator.cluster.client import connect
from scheduler.proof import Count, proof


@click.command()
@click.option("--seeds", default=20, show_default=True, help="Fleets.")
@click.option("--first", default=1, show_default=True, help="The first seed.")
@click.option("--asks", default=200, show_default=True, help="LLMDeployments for each fleet.")
def main(seeds: int, first: int, asks: int) -> None:
    """Hold what is said of free GPUs against what kube-scheduler does, fleet by fleet.

    Exit code 1 if any answer was wrong.
    """
    sys.exit(asyncio.run(_all(range(first, first + seeds), asks)))


async def _all(seeds: range, asks: int) -> int:
    total = Count()
    with ControlPlane() as plane, Scheduler(plane) as scheduler:
        async with connect(str(plane.kubeconfig)) as client:
            for seed in seeds:
                started = time.monotonic()
                count = await proof(client, scheduler, seed, asks)
                total += count
                click.echo(f"seed {seed}: {count} ({time.monotonic() - started:.0f} s)")
                for wrong in count.wrong:
                    click.echo(f"  WRONG {wrong}")
    click.echo(f"{len(seeds)} seeds: {total}")
    return int(bool(total.wrong))


if __name__ == "__main__":
    main()
