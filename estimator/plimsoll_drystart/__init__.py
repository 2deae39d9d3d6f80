"""Dry start: an engine's own start-up code, run without a GPU, says what it would do on one.

It runs inside the environment of an engine (its released wheel or image) and needs the standard
library and the engine, nothing else. It must not import `plimsoll` or `plimsoll_operator`: the
facts that it writes are what those are held to.

    case    engine arguments, a model's config, a GPU (name, capability, memory), a rank
    facts   what the engine resolved, holds, refuses and lays out; and what could not be seen

A failure of the harness is "unknown", never a refusal.
"""

REVISION = "1"
"""Of the harness; every fact carries it. Raised when the same case may give another fact."""
