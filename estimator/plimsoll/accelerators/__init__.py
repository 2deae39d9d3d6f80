"""What a GPU is: products with their real memory, MIG profiles, and the labels that name them.

Nothing here knows a model, an engine or a cluster.
"""
