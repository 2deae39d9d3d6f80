"""How each family of models is built: from config fields to layers and tensors.

Nothing here reads files, and nothing knows an engine.
"""
