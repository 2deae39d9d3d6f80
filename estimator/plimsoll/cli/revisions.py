"""Manifests of a git revision, written into a folder as they were: git itself reads them.

Links and submodules are not followed. What is not committed belongs to no revision.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from plimsoll.cli.output import bad_input
from plimsoll.errors import Problem, shown
from plimsoll.workloads.files import MAX_FILE, MAX_FILES, SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

_REGULAR: Final = ("100644", "100755")
"""The modes of files in a tree that are no links and no submodules."""
MAX_LISTED: Final = 32 << 20
"""Bytes of a tree's listing that are read: a few objects may name each other a billion times."""
MAX_CONTENTS: Final = 256 << 20
"""Bytes of all manifests of a revision together."""
SECONDS: Final = 120
"""How long git may take for one answer."""


def write_out(revision: str, paths: Sequence[str], folder: Path, output: str) -> list[str]:
    """The manifests of a revision below some paths, under a folder by their own names.

    paths: relative to the folder that one is in. Returns those of them that the revision has;
    ends the program with code 2 if it has none, or if git does not know the revision.
    """
    commit = _git(["rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"], output)
    name = commit.decode().strip()
    listed = _git(["ls-tree", "-r", "-z", "-l", name, "--", *paths], output, most=MAX_LISTED)
    wanted = list(_entries(listed))
    total = sum(size for _, _, size in wanted)
    if len(wanted) > MAX_FILES or total > MAX_CONTENTS:
        many = f"{len(wanted)} manifests of {shown(revision)}, {total >> 20} MiB"
        most = f"at most {MAX_FILES}, {MAX_CONTENTS >> 20} MiB"
        bad_input(Problem("--git", many, most, "name a folder"), output)
    contents = _contents([digest for digest, _, _ in wanted], output)
    for (_, path, _), content in zip(wanted, contents, strict=True):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    there = [path for path in paths if (folder / path).exists()]
    if not there:
        given = f"{revision} has no manifest below {', '.join(map(shown, paths))}"
        bad_input(Problem("--git", given, "a revision that has manifests there"), output)
    return there


def _entries(listed: bytes) -> list[tuple[str, str, int]]:
    """Digest, path and bytes of every manifest of a tree that can be written out."""
    found = []
    for entry in listed.decode("utf-8", "surrogateescape").split("\0"):
        head, _, path = entry.partition("\t")
        mode, _, rest = head.partition(" ")
        kind, digest, size = [*rest.split(), "", "", ""][:3]
        pure = PurePosixPath(path)
        safe = path and not pure.is_absolute() and ".." not in pure.parts
        if mode not in _REGULAR or kind != "blob" or not safe or not path.endswith(SUFFIXES):
            continue
        if size.isdecimal() and int(size) <= MAX_FILE:
            found.append((digest, path, int(size)))
    return found


def _contents(digests: Sequence[str], output: str) -> list[bytes]:
    """The contents of blobs, in their order, by one run of git."""
    asked = "".join(f"{digest}\n" for digest in digests).encode()
    most = MAX_CONTENTS + 100 * len(digests)
    answer = _git(["cat-file", "--batch"], output, asked, most=most)
    contents, place = [], 0
    for _ in digests:
        end = answer.index(b"\n", place)
        size = int(answer[place:end].split()[2])
        contents.append(answer[end + 1 : end + 1 + size])
        place = end + 1 + size + 1
    return contents


def _git(
    arguments: Sequence[str], output: str, given: bytes = b"", *, most: int = 1 << 20
) -> bytes:
    """What git prints; ends the program with code 2 if it fails, or prints more than `most`."""
    command = ["git", "--literal-pathspecs", *arguments]
    try:
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as errors:
            asked.write(given)
            asked.seek(0)
            with subprocess.Popen(
                command, stdin=asked, stdout=subprocess.PIPE, stderr=errors
            ) as git:
                late = threading.Timer(SECONDS, git.kill)
                late.start()
                assert git.stdout is not None
                printed = git.stdout.read(most + 1)
                late.cancel()
                if len(printed) > most:
                    git.kill()
                code = git.wait()
            errors.seek(0)
            said = errors.read(4096).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        bad_input(Problem("--git", "git", "a program that can be run", "install git"), output)
    except OSError as error:
        bad_input(Problem("--git", "git", f"an answer ({error})"), output)
    if len(printed) > most or (code < 0 and not said):
        given_up = f"git {arguments[0]}"
        wanted = f"an answer within {SECONDS} s of at most {most >> 20} MiB"
        bad_input(Problem("--git", given_up, wanted, "name a folder"), output)
    if code:
        wanted = "a revision of the repository that one is in, such as main or HEAD~1"
        bad_input(Problem("--git", shown(said), wanted), output)
    return printed
