"""What a model is: from a config.json to layers, tensors and an exact parameter count.

Nothing here knows an engine, a GPU or a cluster.
"""
