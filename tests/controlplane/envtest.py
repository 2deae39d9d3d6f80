"""Download etcd, kube-apiserver and kubectl as Kubernetes publishes them for tests (envtest).

It must not keep what has another hash than envtest.json says, and must not wait for a server that
cannot be reached: where there is none, they are built.

    $PLIMSOLL_ENVTEST_URL   where the releases are, in the layout of controller-tools' releases on
                            GitHub (which is the default); "off": nowhere
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import tarfile
import threading
import urllib.request
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from controlplane.cache import cache_folder
from controlplane.taken import PROGRAMS, Taken, in_folder, machine

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).with_name("envtest.json")
"""Which release, and the SHA-512 of its archive for each machine."""
URL = "https://github.com/kubernetes-sigs/controller-tools/releases/download"
OFF = "off"
REACHED_WITHIN = 2.5
"""Seconds in which a server must begin to answer; it is tried once."""
STALLED_AFTER = 20.0
"""Seconds without a byte after which a download is given up."""
LARGEST = 512 << 20
"""Bytes; an archive has some 60 MB."""


class Unusable(Exception):
    """There is no such download, and why."""


def downloaded(say: Callable[[str], None]) -> Taken | None:
    """The release, from the cache or from its server; None where it cannot be had.

    say: told what is downloaded, or why it is not. Call it alone in the cache.
    """
    release: dict[str, Any] = json.loads(DATA.read_text())
    version, expected = release["version"], release["sha512"].get(machine())
    name = f"envtest-{version}-{machine()}"
    folder = cache_folder() / "programs" / name
    where = f"in {folder} (published by Kubernetes, downloaded)"
    if len(in_folder(folder)) == len(PROGRAMS):
        return Taken(in_folder(folder), version, where)
    base = os.environ.get("PLIMSOLL_ENVTEST_URL", URL).rstrip("/")
    if base == OFF or not base:
        return None
    if expected is None:
        say(f"not downloaded: Kubernetes publishes no envtest {version} for {machine()}")
        return None
    partial = folder.with_name(f"{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        address = f"{base}/envtest-{version}/{name}.tar.gz"
        _download(address, partial / "archive", expected, say)
        _unpack(partial / "archive", partial)
        (partial / "archive").unlink()
        partial.rename(folder)
    except (Unusable, OSError, http.client.HTTPException, tarfile.TarError) as error:
        say(f"not downloaded: {error}")
        return None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Taken(in_folder(folder), version, where)


def _download(address: str, to: Path, expected: str, say: Callable[[str], None]) -> None:
    digest, size = hashlib.sha512(), 0
    with _opened(address) as answer, to.open("wb") as file:
        say(f"downloading {address} ...")
        while chunk := answer.read(1 << 20):
            size += len(chunk)
            if size > LARGEST:
                raise Unusable(f"{address} has more than {LARGEST >> 20} MiB")
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != expected:
        raise Unusable(f"{address} has another SHA-512 than {DATA.name} says")


def _opened(address: str) -> http.client.HTTPResponse:
    """The answer of the server. Raises `Unusable` if it does not begin in time.

    On a thread of its own: looking a name up has no time limit of its own.
    """
    found: list[http.client.HTTPResponse] = []
    wrong: list[Exception] = []

    def ask() -> None:
        try:
            found.append(urllib.request.urlopen(address, timeout=STALLED_AFTER))
        except Exception as error:
            wrong.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(REACHED_WITHIN)
    if found:
        return found[0]
    why = wrong[0] if wrong else f"no answer within {REACHED_WITHIN:g} s"
    raise Unusable(f"{address}: {why}")


def _unpack(archive: Path, folder: Path) -> None:
    """The programs of an archive, and nothing else of it."""
    with tarfile.open(archive) as members:
        for member in members:
            name = PurePosixPath(member.name).name
            if name in PROGRAMS and member.isfile() and (source := members.extractfile(member)):
                with source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
                (folder / name).chmod(0o755)
    missing = [name for name in PROGRAMS if not (folder / name).exists()]
    if missing:
        raise Unusable(f"the archive holds no {' and no '.join(missing)}")
