"""What condition Verified says: an engine's own start-up, run without a GPU, beside a verdict.

Words that the engine printed are cleaned where they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.decision.verified import differences
from plimsoll.errors import clean
from plimsoll.report.wording import sentence

if TYPE_CHECKING:
    from plimsoll.decision.verdict import Verdict
    from plimsoll.decision.verified import Said

UNSEEN: Final = "not seen: CUDA's own memory, CUDA graphs, compiled code"
LONGEST: Final = 1000


def started(verdict: Verdict, said: Said) -> str:
    """It came to its end, and in what it contradicts the estimate."""
    differ = [sentence(one, verdict.places) for one in differences(verdict, said)]
    beside = "; ".join(differ) or "nothing contradicts the estimate"
    begins = f"{said.version} starts, as far as can be seen without a GPU"
    return clean(f"{begins}; {beside}; {UNSEEN}", LONGEST)


def refused(said: Said) -> str:
    """The engine itself said no."""
    return clean(f"{said.version} refuses: {said.words}", LONGEST)
