"""The `plimsoll` command: the same verdict as admission, before anything reaches a cluster.

It must not decide anything itself, and it must not import a command before that command is asked
for: `plimsoll --help` is run in pipelines too.

Exit codes: 0 it fits (or was only asked), 1 refused, 2 bad input.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from typing import Any, Final

import click

from plimsoll import __version__

COMMANDS: Final = {
    "estimate": ("plimsoll.cli.estimate", "What a model needs per GPU, term by term."),
    "check": ("plimsoll.cli.check", "Give the verdict of admission on manifests."),
    "diff": ("plimsoll.cli.diff", "What an upgrade or a change does to what starts."),
    "audit": ("plimsoll.cli.audit", "What runs: misfits, idle GPUs, GPUs that could come back."),
    "fix": ("plimsoll.cli.fix", "Write a way out into manifests that do not fit."),
    "render": ("plimsoll.cli.render", "Print the objects that run a placement."),
    "report": ("plimsoll.cli.report", "One page of HTML: objects, ways out, GPUs, changes."),
    "explain": ("plimsoll.cli.explain", "What a rule of `check` means, and what to do."),
    "inventory": ("plimsoll.cli.inventory", "The GPU pools of a cluster, from its nodes."),
    "models": ("plimsoll.cli.models", "The catalogue of models; profiles for ConfigMaps."),
    "accelerators": ("plimsoll.cli.accelerators", "The GPUs that are known, with real memory."),
    "accuracy": ("plimsoll.cli.accuracy", "Compare estimates with measured start-ups."),
    "read-log": ("plimsoll.cli.read_log", "An engine's start-up log, beside its prediction."),
    "calibrate": ("plimsoll.cli.calibrate", "Keep measured start-ups, to narrow ranges by."),
    "dry-start": ("plimsoll.cli.dry_start", "Let the engine itself say it, without a GPU."),
    "completion": ("plimsoll.cli.completion", "Print the shell completion script."),
}
"""Command: the module that holds it (its attribute `command`), and its line in --help."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which a reader meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of `cmd_name` and return its command."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="plimsoll")
def cli() -> None:
    """Plimsoll draws the load line for GPUs: what a model needs, where it fits, what would help."""


def plugin(**kwargs: Any) -> None:
    """The entry point of `kubectl-plimsoll`, which kubectl finds on the PATH and runs."""
    main(prog_name="kubectl plimsoll", **kwargs)


def main(prog_name: str = "plimsoll", **kwargs: Any) -> None:
    """The entry point of the console script.

    pydantic looks for plugins in every installed distribution, which takes a tenth of a start; a
    command line of our own wants none. Nor is there much to collect while modules are imported, and
    nothing at the end: the interpreter's last look at every object took an eighth of a check.
    """
    gc.set_threshold(100_000, 50, 50)
    atexit.register(gc.freeze)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    cli(prog_name=prog_name, **kwargs)
