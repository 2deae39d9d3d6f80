"""`python -m soak scale | churn | kills`: the long runs, each with its numbers as options."""

from __future__ import annotations

import click

from soak import scale


@click.group()
def main() -> None:
    """Runs that are too long for the tests."""


@main.command("scale")
@click.option("--nodes", default=5000, show_default=True)
@click.option("--objects", default=10_000, show_default=True, help="At the last step.")
def _scale(nodes: int, objects: int) -> None:
    """What 1,000, 3,000 and 10,000 LLMDeployments cost the controller."""
    scale.main(nodes, objects)


if __name__ == "__main__":
    main()
