"""Releasing: which version each place states, and whether a tag may be released at all.

It must not build, push or write anything; the Makefile and the release workflow do that.
"""

from release.check import notes, problems, stated

__all__ = ["notes", "problems", "stated"]
