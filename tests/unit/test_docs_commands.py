"""Claims about the commands in documents: each is one that there is, and those that can are run.

What needs a cluster, a hub or an engine is held to the command line's own parser; the rest is run,
in the order of its document, in a folder with the files that documents name.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from checkpoint_files import Maker, base, dense, write
from commands import run
from page_tree import deployment, nodes
from plimsoll.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/*/*.md")])
ENDS_WITH_1 = {
    "docs/check-outputs.md": {
        "check deploy/samples -o sarif",
        "check deploy/samples -o junit",
        "check deploy/samples -o github",
        "check deploy/samples -o markdown",
        "check deploy/samples --select PL0,PL1",
        "check deploy/samples --fail-on warn",
        "check deploy/samples/refused.yaml",
    },
    "docs/check.md": {"check deploy/"},
    "docs/sizing-policies.md": {"check manifests/ --policy small-teams.yaml"},
    "docs/tutorial.md": {"check chat.yaml"},
}
"""Commands that find something refused, in their document, where it is run the first time."""
OF_OTHER_OBJECTS = ("docs/audit.md", "docs/diff.md")
"""Documents that show what a cluster or a repository would get which is not here."""


@cache
def lines(path: Path) -> tuple[str, ...]:
    """The lines of a document's shell blocks: after ``$``, or all where a block has no answers."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for language, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL):
        if language == "console":
            found += re.findall(r"^\$ (.*)$", block, re.MULTILINE)
        elif language in ("sh", "bash", "shell"):
            found += block.splitlines()
    return tuple(found)


def shown(path: Path) -> dict[str, list[str]]:
    """What a document shows below each command, without blanks; an ellipsis stands for anything."""
    found: dict[str, list[str]] = {}
    for block in re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            line, *below = part.splitlines()
            found.setdefault(line, []).extend(filter(None, map(squeezed, below)))
    return found


def squeezed(line: str) -> str:
    """A line with one blank where there are several."""
    return " ".join(line.split())


def asked(line: str) -> Iterator[list[str]]:
    """The arguments of every plimsoll in a line of shell."""
    for part in re.split(r"\s(?:\||&&|;)\s", line):
        words = shlex.split(re.split(r" >>? ", part)[0], comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:2] == ["kubectl", "plimsoll"]:
            words = words[1:]
        if words[:1] == ["plimsoll"]:
            yield words[1:]


def understood(words: list[str]) -> dict[str, object]:
    """What the command line makes of arguments. Raises `click.UsageError` on one it has not."""
    command: click.Command = cli
    context = click.Context(cli, info_name="plimsoll")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.parse_args(context, list(words))
    return context.params


def examples() -> Iterator[tuple[str, str]]:
    """The command and each line of the examples in every help text."""

    def walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
        for block in inspect.cleandoc(command.help or "").split("\n\n"):
            if block.startswith("\b"):
                joined = block.replace("\\\n", " ")
                for line in joined.splitlines()[1:]:
                    yield context.command_path, re.split(r"\s{3,}", line.strip())[0]
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, click.Context(inner, info_name=name, parent=context))

    return walk(cli, click.Context(cli, info_name="plimsoll"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_plimsoll_in_a_shell_block_is_one_that_the_command_line_takes(path: Path) -> None:
    for line in lines(path):
        for words in asked(line):
            try:
                understood(words)
            except click.UsageError as error:
                pytest.fail(f"{line}: {error.format_message()}")


def test_every_example_in_a_help_text_is_one_that_the_command_line_takes() -> None:
    found = [(where, words) for where, line in examples() for words in asked(line)]
    assert len(found) > 25
    for where, words in found:
        try:
            understood(words)
        except click.UsageError as error:
            pytest.fail(f"{where}: plimsoll {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_option_in_running_text_is_one_of_its_command(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    wrong = []
    for code in re.findall(r"`plimsoll ([a-z][^`]*)`", text):
        words = code.partition(" | ")[0].split()
        command: click.Command | None = cli
        while words and isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        if command is None or (isinstance(command, click.Group) and words):
            wrong.append(code)
            continue
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        options = [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]
        wrong += [code for option in options if option not in {*known, "--help"}]
    assert wrong == []


def elsewhere(words: list[str]) -> str:
    """What a command needs that is not here; empty if it can be run."""
    told = understood(words)
    if told.get("from_hub") or words[:2] == ["models", "resolve"]:
        return "a hub"
    if told.get("cluster") or (words[0] in ("audit", "inventory") and "--from" not in words):
        return "a cluster"
    return "an engine" if words[0] == "dry-start" else ""


RUN = [path for path in DOCUMENTS if any(not elsewhere(w) for x in lines(path) for w in asked(x))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the documents name, under git, with a revision before."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": [deployment(0), *nodes()]})
    for name in ("listing.json", "serving.yaml"):
        (tmp_path / name).write_text(listing)
    seen = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes()})
    saved = run("inventory", "--from", "-", "-o", "json", stdin=seen)
    (tmp_path / "nodes.json").write_text(saved.stdout)
    shutil.copy(ROOT / "deploy/samples/llama-70b.yaml", tmp_path)
    for page, name in (("tutorial", "chat.yaml"), ("sizing-policies", "small-teams.yaml")):
        text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
        (shown,) = re.findall(rf"```yaml\n(# {name}\n.*?)```", text, re.DOTALL)
        (tmp_path / name).write_text(shown)
    for name in ("manifests", "before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "all.yaml").write_text(listing)
    (tmp_path / "rendered").mkdir()
    config = base("qwen3")
    write(tmp_path / "my-checkpoint", config, dense(config, Maker()))
    monkeypatch.chdir(tmp_path)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    return tmp_path


@pytest.mark.parametrize("path", RUN, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_a_document_has_the_reader_type_ends_as_the_document_says(
    path: Path, folder: Path
) -> None:
    name = path.relative_to(ROOT).as_posix()
    refused = set(ENDS_WITH_1.get(name, ()))
    ended, stale = {}, list[str]()
    for line in lines(path):
        for words in asked(line):
            if elsewhere(words):
                continue
            stdin = (folder / "listing.json").read_text() if "-" in words else None
            result = run(*words, stdin=stdin)
            code = 1 if shlex.join(words) in refused else 0
            refused.discard(shlex.join(words))
            if result.exit_code != code:
                ended[line] = (result.exit_code, result.output[-500:])
            elif ">" in line:
                (folder / line.partition(" > ")[2].strip()).write_text(result.stdout)
            said = squeezed(result.output)
            for told in shown(path).get(line, ()) if name not in OF_OTHER_OBJECTS else ():
                stale += [told for part in re.split(r"\.\.\.|…", told) if part.strip() not in said]
    assert ended == {}
    assert refused == set()
    assert stale == []


def test_the_refusal_that_readme_begins_with_is_the_one_that_is_given() -> None:
    ((_, *below),) = [
        lines
        for line, lines in shown(ROOT / "README.md").items()
        if line == "kubectl apply -f deploy/samples/refused.yaml"
    ]
    said = squeezed(run("check", ROOT / "deploy/samples/refused.yaml").stdout)
    assert len(below) > 10
    assert [line for line in below if line not in said] == []
