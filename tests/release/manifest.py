"""The file that installs everything, as a release has it: our image by its digest."""

from __future__ import annotations

import re
from typing import Final

from release.check import IMAGE

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_OURS: Final = re.compile(rf"(?P<image>image: {re.escape(IMAGE)}:[\w.-]+)$", re.MULTILINE)
_ANY: Final = re.compile(r"image: \"?(?P<image>[^\s\"]+)")


def pinned(manifest: str, digest: str) -> str:
    """A manifest whose images have the digest behind their tag: the tag is for people to read.

    digest: of the image for all platforms, ``sha256:...``. Raises ValueError if it is none, if the
    manifest has no image of ours, or if an image is left without a digest.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"digest: {digest!r}: wanted sha256: and 64 hexadecimal digits")
    made, count = _OURS.subn(rf"\g<image>@{digest}", manifest)
    if not count:
        raise ValueError(f"the manifest has no line `image: {IMAGE}:VERSION`")
    loose = [image for image in _ANY.findall(made) if not image.endswith(f"@{digest}")]
    if loose:
        raise ValueError(f"images without the digest: {', '.join(loose)}")
    return made
