"""How an engine spends GPU memory: one package or module per engine, each with its own constants.

Nothing here knows pools, placements or policy.
"""
