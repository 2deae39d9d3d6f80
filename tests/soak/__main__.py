"""`python -m soak scale | memory | kills`: the long runs, each with its numbers as options."""

from __future__ import annotations

import asyncio
import sys

import click

from soak import kills, memory, scale


@click.group()
def main() -> None:
    """Runs that are too long for the tests."""


@main.command("scale")
@click.option("--nodes", default=5000, show_default=True)
@click.option("--objects", default=10_000, show_default=True, help="At the last step.")
def _scale(nodes: int, objects: int) -> None:
    """What 1,000, 3,000 and 10,000 LLMDeployments cost the controller."""
    scale.main(nodes, objects)


@main.command("memory")
@click.option("--seconds", default=1800.0, show_default=True)
@click.option("--objects", default=1000, show_default=True, help="That stay as they are.")
@click.option("--nodes", default=1000, show_default=True)
@click.option("--seed", default=11, show_default=True)
def _memory(seconds: float, objects: int, nodes: int, seed: int) -> None:
    """Churn for so long: memory stays flat, and nothing is lost."""
    sys.exit(memory.main(seconds, objects, nodes, seed))


@main.command("kills")
@click.option("--kills", "count", default=1000, show_default=True)
@click.option("--seed", default=11, show_default=True)
def _kills(count: int, seed: int) -> None:
    """kill -9 at random points under churn: nothing is lost."""
    outcome = asyncio.run(kills.run(count, seed))
    print(outcome)
    sys.exit(0 if outcome.clean else 1)


if __name__ == "__main__":
    main()
