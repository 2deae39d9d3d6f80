"""The image, built by buildah from bases made of Debian's packages: no registry, no engine.

It must not change the Dockerfile's meaning: the bases stand in through its own build arguments.
Needs root on Debian; what is missing of buildah and mmdebstrap is installed from Debian.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
SUITE: Final = "bookworm"
BASES: Final = {
    "base": ("extract", "python3-minimal,libpython3-stdlib,ca-certificates,tzdata"),
    "build": ("minbase", "python3-venv,ca-certificates"),
}
"""Build argument's stand-in: mmdebstrap's variant, and the packages beside it."""
_LISTED: Final = """set -e; mkdir -p "$1/var/lib/dpkg/status.d"
for deb in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb -f "$deb" > "$1/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)"
done"""
"""Lists the packages as distroless images do: extracting alone leaves no record of them."""
USER: Final = 65532
PROGRAMS: Final = ("buildah", "mmdebstrap", "unshare")


class ImageError(Exception):
    """The image cannot be built here; the message says what was run and what it printed."""


def why_not() -> str:
    """Why no image can be built on this machine; empty if one can."""
    if os.geteuid() != 0:
        return "building an image with chroot isolation needs root"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--mount", "true"], check=False).returncode:
        return "this machine lets no process have mounts of its own"
    if all(shutil.which(name) for name in PROGRAMS) or shutil.which("apt-get"):
        return ""
    return "buildah and mmdebstrap are not here, and there is no apt-get to install them"


@dataclass(frozen=True, slots=True)
class Image:
    """A built image, unpacked. folder: its root file system. size: bytes of its layers."""

    folder: Path
    size: int
    base_size: int
    environment: dict[str, str]
    entrypoint: tuple[str, ...]
    user: str
    config: str

    def command(self, *arguments: str, share: Path | None = None) -> list[str]:
        """A command line that runs the image's entry point as its user, with a read-only root.

        share: a folder to be seen as /mnt, with an empty /tmp in memory beside it: a kubeconfig's
        certificates are unpacked there, which a pod's service account does not need. The mounts
        live in a namespace of the process.
        """
        root = str(self.folder)
        script = ['mount --bind "$1" "$1"']
        if share is not None:
            script += ['mount --bind "$2" "$1/mnt"', 'mount -t tmpfs tmpfs "$1/tmp"']
        script += [
            'mount --bind -o remount,ro "$1"',
            'root=$1; shift 2; exec /usr/sbin/chroot --userspec=$0 "$root" "$@"',
        ]
        inner = [*self.entrypoint, *arguments]
        return [
            "unshare",
            "--mount",
            "--",
            "sh",
            "-ec",
            "\n".join(script),
            self.user,
            root,
            str(share or ""),
            *inner,
        ]


def build(folder: Path, cache: Path) -> Image:
    """Build it below a folder. cache: where the bases are kept from run to run."""
    _install()
    images = _Images(folder / "store", folder / "runroot")
    for name, (variant, packages) in BASES.items():
        archive = cache / f"{name}-{SUITE}.tar"
        if not archive.exists():
            cache.mkdir(parents=True, exist_ok=True)
            part = archive.with_suffix(f".{os.getpid()}.tar")
            _run(
                "mmdebstrap",
                "--quiet",
                f"--variant={variant}",
                f"--include={packages}",
                f"--extract-hook={_LISTED}",
                SUITE,
                str(part),
            )
            part.rename(archive)
        images.add(name, archive)
    bundle = Path("/etc/ssl/certs")
    images.run(
        "bud",
        "--quiet",
        f"--volume={bundle}:{bundle}:ro",
        *(
            f"--build-arg={k}={v}"
            for k, v in (("BASE", "localhost/base"), ("BUILD_BASE", "localhost/build"))
        ),
        "--build-arg=SOURCE_DATE_EPOCH=0",
        "--tag=localhost/plimsoll",
        str(ROOT),
    )
    container = images.run("from", "localhost/plimsoll").strip()
    unpacked = folder / "rootfs"
    mounted = images.run("mount", container).strip()
    shutil.copytree(mounted, unpacked, symlinks=True, ignore=_devices)
    images.run("umount", container)
    inspected = images.run("inspect", "--type=image", "localhost/plimsoll")
    made = _image(unpacked, inspected, images.size("plimsoll"), images.size("base"))
    shutil.rmtree(images.store)
    for name in ("mnt", "tmp"):
        (unpacked / name).mkdir(exist_ok=True)
    return made


def _devices(folder: str, names: list[str]) -> list[str]:
    """What is no file to copy: device nodes, pipes and sockets (/dev/full has no end)."""
    paths = ((name, Path(folder, name)) for name in names)
    return [n for n, p in paths if not (p.is_symlink() or p.is_file() or p.is_dir())]


def _image(unpacked: Path, inspected: str, size: int, base_size: int) -> Image:
    config = json.loads(inspected)["OCIv1"]["config"]
    pairs = (entry.partition("=") for entry in config["Env"])
    return Image(
        unpacked,
        size,
        base_size,
        {key: value for key, _, value in pairs},
        tuple(config["Entrypoint"]),
        config["User"],
        inspected,
    )


@dataclass(frozen=True, slots=True)
class _Images:
    """A store of images of our own."""

    store: Path
    runroot: Path

    def run(self, *arguments: str) -> str:
        """buildah with that store."""
        own = ("--root", str(self.store), "--runroot", str(self.runroot), "--storage-driver", "vfs")
        return _run("buildah", *own, *arguments)

    def add(self, name: str, archive: Path) -> None:
        """An image of one layer from the files of an archive."""
        container = self.run("from", "scratch").strip()
        self.run("add", "--quiet", container, str(archive), "/")
        self.run("commit", "--quiet", container, f"localhost/{name}")
        self.run("rm", container)

    def size(self, name: str) -> int:
        """Bytes of an image's layers, unpacked."""
        text = self.run("images", "--json", f"localhost/{name}")
        words = str(json.loads(text)[0]["size"]).split()
        return round(float(words[0]) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[words[1].upper()])


def _install() -> None:
    if all(shutil.which(name) for name in PROGRAMS):
        return
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "buildah", "mmdebstrap")


def _run(*command: str) -> str:
    """Standard output of a program. Raises `ImageError` if it fails."""
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise ImageError(f"{' '.join(_short(command))} ended with {done.returncode}:\n{said}")
    return done.stdout


def _short(command: Sequence[str]) -> list[str]:
    return [word if len(word) < 60 else f"...{word[-50:]}" for word in command]
