"""Releasing: one version in every place, whether a tag may be released, the image by digest.

It must not build, push or write anything; the Makefile and the release workflow do that.
"""

from release.check import notes, problems, stated

__all__ = ["notes", "problems", "stated"]
