"""What a cluster has: pools of nodes that are alike, read from Node objects or from a saved file.

Nothing here talks to a cluster.
"""
