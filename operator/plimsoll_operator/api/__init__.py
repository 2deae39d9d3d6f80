"""The Kubernetes API of Plimsoll: the status's types, and the YAML that is made from types.

Nothing here speaks to an API server, and nothing decides.
"""
