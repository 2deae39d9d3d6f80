"""`plimsoll fix`: a way out that `check` lists, written into the file where it stands.

Comments, order and style stay. The file is only replaced if the object passes afterwards.
"""

from __future__ import annotations

import difflib
import os
import shutil
import sys
import tempfile
from codecs import BOM_UTF8
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plimsoll.cli.check import judged
from plimsoll.cli.given import (
    Policies,
    bytes_of,
    given_inventory,
    given_policies,
    inventory_option,
    policy_option,
)
from plimsoll.cli.output import bad_input
from plimsoll.decision.policy import outcome
from plimsoll.decision.verdict import Decision
from plimsoll.errors import Problem, shown_path
from plimsoll.report.arithmetic import fix as in_words
from plimsoll.report.wording import problems_of
from plimsoll.workloads.edits import edit_of
from plimsoll.workloads.files import MAX_FILE, load
from plimsoll.workloads.positions import Text

if TYPE_CHECKING:
    from plimsoll.cli.check import Checked
    from plimsoll.decision.verdict import Alternative, Verdict
    from plimsoll.inventory.pools import Inventory
    from plimsoll.workloads.files import Manifest, Manifests


@click.command("fix")
@click.argument("sources", metavar="FILE|DIR", nargs=-1, required=True)
@click.option(
    "--choose",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Which of the ways out that `plimsoll check` lists, from 1.",
)
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@inventory_option
@policy_option
def command(
    sources: tuple[str, ...],
    choose: int,
    dry_run: bool,
    inventory_file: str | None,
    policy: tuple[str, ...],
) -> None:
    """Write a way out into the manifests of what does not fit.

    An object whose fields are wrong is left as it is: only you know what was meant. So is a file
    that cannot be read to its end.

    \b
    Exit code: 0 everything passes now, 1 something is still refused, 2 the input cannot be read.
    """
    if "-" in sources:
        raise click.UsageError("fix writes into files: standard input cannot be written to")
    inventory = given_inventory(inventory_file, "table")
    policies = given_policies(policy, "table")
    manifests = load(sources)
    by_file: dict[str, list[Manifest]] = {}
    for manifest in manifests.deployments:
        by_file.setdefault(manifest.file, []).append(manifest)
    broken = {problem.path.rpartition(":")[0] for problem in manifests.problems} & by_file.keys()
    left = dict.fromkeys(broken, "it cannot be read to its end")
    named = {str(Path(source)) for source in sources}
    for file in by_file.keys() - named:
        if not os.path.exists(file):
            left[file] = "its name cannot be printed"
        elif os.path.islink(file):
            left[file] = "it is a link, and what it leads to may lie elsewhere; name that file"
    for file, why in sorted(left.items()):
        del by_file[file]
        click.echo(f"{file}: left as it is: {why}", err=True)
    passed = not left.keys() - broken
    for file, objects in by_file.items():
        fixer = _Fixer(file, manifests, inventory, policies, choose)
        for manifest in objects:
            passed = fixer.mend(manifest) and passed
        fixer.finish(dry_run=dry_run)
    for problem in manifests.problems:
        click.echo(f"plimsoll: {problem}", err=True)
    sys.exit(2 if manifests.problems else 0 if passed else 1)


class _Fixer:
    """The text of one file under way."""

    def __init__(
        self,
        file: str,
        manifests: Manifests,
        inventory: Inventory,
        policies: Policies,
        choose: int,
    ) -> None:
        self._file = file
        self._path = Path(file).resolve()
        self._manifests = manifests
        self._inventory = inventory
        self._policies = policies
        self._choose = choose
        try:
            raw = bytes_of(self._path, MAX_FILE)
            self._before = raw.decode("utf-8-sig")
        except (OSError, ValueError) as error:
            bad_input(Problem(file, "", f"a file that can be read ({error})"))
        self._mark = BOM_UTF8 if raw.startswith(BOM_UTF8) else b""
        self._text = self._before

    def mend(self, manifest: Manifest) -> bool:
        """Change the text so that every engine of the object passes; whether all do now."""
        engines = judged(manifest, self._manifests, self._inventory, self._policies)
        passed = True
        for index, engine in enumerate(engines):
            passed = self._mend(engine, index) and passed
        return passed

    def _mend(self, checked: Checked, index: int) -> bool:
        """Change the text so that one engine passes; whether it does now. index: of the engine."""
        manifest, served, verdict = checked
        asked = served.request
        if not verdict.denied:
            return True
        passes = outcome(verdict).let_in
        where = f"{asked.name} ({manifest.file}:{manifest.line})"
        if verdict.problems:
            more = f" and {len(verdict.problems) - 1} more" if len(verdict.problems) > 1 else ""
            click.echo(f"{where}: left as it is: {problems_of(verdict)[0]}{more}", err=True)
            return passes
        if len(verdict.alternatives) < self._choose:
            click.echo(
                f"{where}: there are {len(verdict.alternatives)} ways out, none is number "
                f"{self._choose}",
                err=True,
            )
            return passes
        way_out = verdict.alternatives[self._choose - 1]
        words = in_words(way_out, verdict.places)
        text = self._edited(manifest, verdict, way_out)
        if text is None or not self._passes(text, manifest, index):
            click.echo(f"{where}: cannot be written by itself, do it by hand: {words}", err=True)
            return passes
        self._text = text
        click.echo(f"{where}: {words}", err=True)
        return True

    def _edited(self, manifest: Manifest, verdict: Verdict, way_out: Alternative) -> str | None:
        """The text with all changes of a way out; None if one of them cannot be written."""
        text = self._text
        for change in way_out.changes:
            parsed = Text(text)
            root = parsed.root(manifest)
            if root is None or parsed.source(root):
                return None
            made = edit_of(parsed, root, change, verdict.places)
            if made is None:
                return None
            text = made.apply(text)
        return text

    def _passes(self, text: str, manifest: Manifest, index: int) -> bool:
        """Whether the engine fits in the changed text, and every other object is still there."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, self._path.name)
            copy.write_bytes(text.encode("utf-8"))
            changed = load((str(copy),))
        there = [one for one in self._manifests.deployments if one.file == manifest.file]
        if len(changed.deployments) != len(there):
            return False
        place = there.index(manifest)
        others = zip(there, changed.deployments, strict=True)
        if not all(_named(before) == _named(after) for before, after in others):
            return False
        after = replace(changed.deployments[place], served=())
        engines = judged(after, self._manifests, self._inventory, self._policies)
        if len(engines) <= index:
            return False
        _, _, verdict = engines[index]
        return verdict.decision is Decision.ALLOW

    def finish(self, *, dry_run: bool) -> None:
        """Print what would change, or replace the file in one step, with its rights."""
        if self._text == self._before:
            return
        if dry_run:
            lines = difflib.unified_diff(
                self._before.splitlines(keepends=True),
                self._text.splitlines(keepends=True),
                f"a/{self._file.lstrip('/')}",
                f"b/{self._file.lstrip('/')}",
            )
            for line in lines:
                end = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
                click.echo(line + end, nl=False)
            return
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".plimsoll-")
            try:
                with os.fdopen(handle, "wb") as new:
                    new.write(self._mark + self._text.encode("utf-8"))
                shutil.copymode(self._path, name)
                os.replace(name, self._path)
            except OSError:
                os.unlink(name)
                raise
        except OSError as error:
            wanted = f"a file that can be written ({error.strerror})"
            bad_input(Problem("FILE", shown_path(self._file), wanted))


def _named(manifest: Manifest) -> object:
    return manifest.obj.get("kind"), manifest.obj.get("metadata")
