"""What every test starts from: no deadline for a single example, as machines are shared.

It must not hold fixtures of one tier.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("plimsoll", deadline=None, print_blob=True)
settings.load_profile("plimsoll")
