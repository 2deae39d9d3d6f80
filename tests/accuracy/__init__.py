"""Estimates beside measured start-ups; run by `make accuracy`."""
