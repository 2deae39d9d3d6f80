"""The command line as tests run it, in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from plimsoll.cli import cli


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """What `plimsoll` prints and ends with; an exception of its own is one of the test's."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(cli, words, input=stdin, prog_name="plimsoll")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*arguments: object, stdin: str | None = None) -> Any:
    """What it prints with ``-o json``."""
    return json.loads(run(*arguments, "-o", "json", stdin=stdin).stdout)
