"""kubectl, run for a command: it has the credentials and the context, and speaks to the cluster."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from plimsoll.cli.output import bad_input
from plimsoll.errors import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECONDS: Final = 300
"""How long kubectl may take for one answer."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Which kubectl, and on which cluster. output: how what is wrong is printed."""

    program: str
    context: str | None
    kubeconfig: str | None
    output: str

    def ask(
        self,
        arguments: Sequence[str],
        wanted: str,
        fix: str,
        partly: list[Problem] | None = None,
    ) -> str:
        """What it prints; ends the program with code 2 if it fails.

        wanted: what was to be had of it, fix: what to look at. partly: where what it says is added
        if it fails and has printed something all the same.
        """
        done = self.run(arguments)
        if done.returncode:
            said = shown(done.stderr.strip())
            problem = Problem(f"kubectl {' '.join(arguments[:2])}", said, wanted, fix)
            if partly is None or not done.stdout.strip():
                bad_input(problem, self.output)
            partly.append(problem)
        return done.stdout

    def run(self, arguments: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        """Run it, whatever its exit code is; ends the program with code 2 if it cannot be run.

        given: on its standard input.
        """
        command = [self.program, *arguments, "--request-timeout=60s"]
        command += [f"--context={self.context}"] if self.context else []
        command += [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        try:
            return subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError:
            install = "install kubectl, or give what it printed with --from FILE"
            bad_input(
                Problem("--kubectl", shown(self.program), "a program that can be run", install),
                self.output,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            in_time = f"an answer within {SECONDS} s ({error})"
            bad_input(Problem("--kubectl", shown(self.program), in_time), self.output)


def kubectl_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which kubectl and which cluster."""
    for option in (
        click.option("--kubectl", default="kubectl", show_default=True, help="The kubectl to run."),
        click.option("--kubeconfig", type=click.Path(), help="kubectl's configuration file."),
        click.option("--context", help="kubectl's context."),
    ):
        command = option(command)
    return command
