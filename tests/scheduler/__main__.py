"""`python -m scheduler --seeds 20`: draws fleets and LLMDeployments, and has pods of them bound."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import click

from controlplane import ControlPlane
from controlplane.scheduler import Scheduler
from plimsoll_operator.cluster.client import connect
from scheduler.claims import claims_proof
from scheduler.proof import Count, proof


@click.command()
@click.option("--seeds", default=20, show_default=True, help="Fleets.")
@click.option("--first", default=1, show_default=True, help="The first seed.")
@click.option("--asks", default=200, show_default=True, help="LLMDeployments for each fleet.")
@click.option("--claims", default=5, show_default=True, help="Fleets whose GPUs are claimed (DRA).")
def main(seeds: int, first: int, asks: int, claims: int) -> None:
    """Hold what is said of free GPUs against what kube-scheduler does, fleet by fleet.

    Exit code 1 if any answer was wrong.
    """
    by_claims = range(first, first + claims)
    sys.exit(asyncio.run(_all(range(first, first + seeds), by_claims, asks)))


async def _all(seeds: range, by_claims: range, asks: int) -> int:
    total, claimed = Count(), Count()
    with ControlPlane() as plane, Scheduler(plane) as scheduler:
        async with connect(str(plane.kubeconfig)) as client:
            for seed in seeds:
                started = time.monotonic()
                count = await proof(client, scheduler, seed, asks)
                total += count
                click.echo(f"seed {seed}: {count} ({time.monotonic() - started:.0f} s)")
                for wrong in count.wrong:
                    click.echo(f"  WRONG {wrong}")
            for seed in by_claims:
                started = time.monotonic()
                count = await claims_proof(client, random.Random(seed), asks)
                claimed += count
                click.echo(f"claims, seed {seed}: {count} ({time.monotonic() - started:.0f} s)")
                for wrong in count.wrong:
                    click.echo(f"  WRONG {wrong}")
    click.echo(f"{len(seeds)} seeds: {total}")
    click.echo(f"{len(by_claims)} seeds of claims: {claimed}")
    return int(bool(total.wrong + claimed.wrong))


if __name__ == "__main__":
    main()
