"""What families are made of: layers, mixers, towers, and how a config's fields are read.

Nothing here knows a model type.
"""
