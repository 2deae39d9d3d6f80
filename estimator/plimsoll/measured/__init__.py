"""Estimates beside measured start-ups: what ``plimsoll accuracy`` computes.

It must not decide how a model spends memory; the engines do, and this package asks them.
"""
