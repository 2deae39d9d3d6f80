"""docs/cli.md: every command, argument and option, read off the command lines themselves."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

import click

from handbook.markdown import HEAD, plain, table
from plimsoll.cli import cli
from plimsoll_operator.__main__ import main as operator

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENING: Final = """# The command line

`plimsoll` needs no cluster; `plimsoll-operator` is what runs in one, and what it can be told.
`--help` prints what stands here. Where `kubectl-plimsoll` is on the PATH, `kubectl plimsoll` is the
first one too.
"""


def page() -> str:
    """The page. Each command is imported."""
    parts = [HEAD.format(source="the command lines"), OPENING]
    for root, name in ((cli, "plimsoll"), (operator, "plimsoll-operator")):
        for context in _walk(root, click.Context(root, info_name=name)):
            parts.append("\n" + _section(context))
    return "".join(parts)


def _walk(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from _walk(inner, click.Context(inner, info_name=name, parent=context))


def _section(context: click.Context) -> str:
    command = context.command
    level = "##" if context.parent is None or context.parent.parent is None else "###"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"{level} {context.command_path}\n\n```text\n{usage}\n```\n\n", _help(command)]
    if isinstance(command, click.Group):
        names = [(n, command.get_command(context, n)) for n in command.list_commands(context)]
        rows = [(f"`{n}`", plain(_first(c))) for n, c in names if c is not None]
        parts += ["\n", table(("command", "what it does"), rows)]
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    rows = [_option(o, context) for o in options if not (o.hidden or {"--help", "-V"} & {*o.opts})]
    if rows:
        parts += ["\n", table(("option", "what it does"), rows)]
    return "".join(parts)


def _first(command: click.Command) -> str:
    """The line that a list of commands shows of one, whole."""
    return inspect.cleandoc(command.help or "").partition("\n\n")[0]


def _help(command: click.Command) -> str:
    """What --help says of a command; blocks marked to keep their lines keep them."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    shown = []
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            shown.append(f"```text\n{paragraph.lstrip(chr(8)).strip(chr(10))}\n```\n")
        else:
            shown.append(plain(paragraph) + "\n")
    if command.epilog:
        shown.append(plain(command.epilog.replace("\b", "")) + "\n")
    return "\n".join(shown)


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    names = ", ".join([*option.opts, *option.secondary_opts])
    told = plain(option.help or "")
    choice = option.type
    if isinstance(choice, click.Choice):
        told += " One of " + ", ".join(f"`{one}`" for one in choice.choices) + "."
    elif not option.is_flag:
        names += f" {option.make_metavar(context)}"
    extra = option.get_help_extra(context)
    if "default" in extra:
        told += f" Default: `{extra['default']}`."
    if "envvars" in extra:
        told += " Variable: " + ", ".join(f"`{one}`" for one in extra["envvars"]) + "."
    if option.multiple:
        told += " May be repeated."
    if option.required:
        told += " Required."
    return f"`{names}`".replace("|", "\\|"), told.strip()
