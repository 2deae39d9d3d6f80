"""`plimsoll completion`: print the script that completes commands, model ids and GPUs.

It must not write to anybody's shell configuration.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  eval "$(plimsoll completion bash)"
    zsh:   eval "$(plimsoll completion zsh)"
    fish:  plimsoll completion fish | source
    """
    from plimsoll.cli import cli

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(cli, {}, "plimsoll", "_PLIMSOLL_COMPLETE").source())


def complete_model(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Catalogue ids that begin with `text`, in any case."""
    from plimsoll.models.catalogue import load

    return [CompletionItem(e.id) for e in load() if e.id.lower().startswith(text.lower())]


def complete_gpu(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Accelerator names that begin with `text`."""
    from plimsoll.accelerators.catalogue import everything

    return [CompletionItem(a.name) for a in everything() if a.name.startswith(text.lower())]
