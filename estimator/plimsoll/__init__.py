"""Plimsoll: what a model needs per GPU, where it fits, and what would make it fit.

A library; pure: it opens no socket and knows no Kubernetes client.
"""

__version__ = "0.1.0"
