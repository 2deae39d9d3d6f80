"""Estimates beside measured start-ups, and the start-up logs that measured rows are read from.

    rows -> inputs -> predict -> score      what `plimsoll accuracy` computes
    logs -> log_row -> rows                 what `plimsoll read-log` adds in front

This package never decides how a model spends memory: it asks the engines.
"""
