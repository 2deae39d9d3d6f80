"""vLLM's memory model: what one rank of one replica needs, from constants keyed by version."""
