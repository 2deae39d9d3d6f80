"""SGLang's memory model: static share, token pool, what lies in the rest, command line.

It must not know placement or requests' origin; use `plimsoll.engines.registry.engine`.
"""
