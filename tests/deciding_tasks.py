"""A task for tests of the pool: does what its job says, endless and deadly things included.

It must not be imported by what is shipped.
"""

from __future__ import annotations

import os
import re
import signal
import time


def work(shared: object, job: tuple[str, object]) -> object:
    """The task. A job is what to do, and with what."""
    what, given = job
    if what == "never end":
        return re.match("(a+)+$", "a" * 64 + "!")  # holds the interpreter too
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise KeyError(given)
    if what == "take memory":
        return len(bytearray(int(str(given))))
    if what == "grow":
        globals()["kept"] = b"x" * int(str(given))
    if what == "sleep":
        time.sleep(float(str(given)))
    return {"shared": shared, "given": given, "process": os.getpid()}
