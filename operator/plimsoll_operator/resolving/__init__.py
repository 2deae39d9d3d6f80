"""Models that the catalogue lacks: read once from their hub, kept as ConfigMaps.

Off unless it is asked for. Admission never asks a hub: it knows what lies in the cluster.
"""
