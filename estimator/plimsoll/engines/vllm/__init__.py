"""vLLM's memory model: what one rank of one replica needs, from constants keyed by version.

It must not know placement, policy or a cluster: it is asked for one split on one kind of GPU.
"""
