"""What every test starts from: no deadline for a single example, as machines are shared.

In CI the same examples come every time, so that it fails for what changed and nothing else;
elsewhere each run looks further. It must not hold fixtures of one tier.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile(
    "plimsoll", deadline=None, print_blob=True, derandomize="CI" in os.environ
)
settings.load_profile("plimsoll")
