"""From manifests to requests: what a file or an API object says, read and checked.

Nothing here decides whether something fits.
"""
