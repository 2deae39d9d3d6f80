"""`plimsoll-operator controller | admission | dev`: flags and variables in, one process out.

It must not hold logic of a process, and it imports a process only when that one is asked for: the
admission process never sees kopf.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

import plimsoll
from plimsoll.errors import PlimsollError
from plimsoll_operator.settings import ADMISSION, BOTH, CONTROLLER, Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_TYPES: Final[dict[str, Any]] = {"str": str, "int": int, "float": float, "bool": bool}
_CHOICES: Final = {
    "log_level": click.Choice(["debug", "info", "warning"], case_sensitive=False),
    "log_format": click.Choice(["text", "json"]),
}


def _options(*used_by: str) -> Callable[[Any], Any]:
    """The options of a command: one per field of `Settings` that one of these uses."""

    def add(command: Any) -> Any:
        for field in reversed(dataclasses.fields(Settings)):
            if field.metadata["used_by"] not in (BOTH, *used_by):
                continue
            flag = field.name.replace("_", "-")
            command = click.option(
                f"--{flag}/--no-{flag}" if field.type == "bool" else f"--{flag}",
                field.name,
                type=_CHOICES.get(field.name) or _TYPES[str(field.type)],
                default=field.default,
                show_default=field.default != "",
                envvar=f"PLIMSOLL_{field.name.upper()}",
                show_envvar=True,
                help=field.metadata["effect"],
            )(command)
        return command

    return add


class _JsonLines(logging.Formatter):
    """One JSON object per line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _log(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
        )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


def _run(settings: Settings, process: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Run a process until it ends or a signal says stop; exit code 1 and a sentence on errors."""
    _log(settings)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await process(settings, stop)

    try:
        asyncio.run(main())
    except (PlimsollError, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(plimsoll.__version__, prog_name="plimsoll-operator")
def main() -> None:
    """Plimsoll's two processes on a cluster, and both at once for development."""


@main.command()
@_options(CONTROLLER)
def controller(**given: Any) -> None:
    """Watch LLMDeployments and nodes, decide, and write status."""
    from plimsoll_operator.controller.app import run_controller

    _run(Settings(**given), run_controller)


@main.command()
@_options(ADMISSION)
def admission(**given: Any) -> None:
    """Answer the API server's admission reviews of LLMDeployments over TLS."""
    from plimsoll_operator.admission.app import run_admission

    _run(Settings(**given), run_admission)


@main.command()
@click.option(
    "--install",
    is_flag=True,
    envvar="PLIMSOLL_DEV_INSTALL",
    show_envvar=True,
    help="Apply the CRD and the floor policy first.",
)
@_options(CONTROLLER, ADMISSION)
def dev(install: bool, **given: Any) -> None:
    """Controller and admission together, for development on a cluster you may change.

    Makes a certificate of its own, registers the webhook for as long as it runs, and takes it away
    again at the end. The API server must be able to reach this machine at --admission-host.
    """
    from plimsoll_operator.dev import run_both

    _run(Settings(**given), lambda settings, stop: run_both(settings, stop, install=install))


if __name__ == "__main__":
    main()
