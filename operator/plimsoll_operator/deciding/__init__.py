"""Deciding apart: processes that read and decide, so that no object ever holds the event loop.

`pool` is the side of whoever asks, `process` is what runs apart; it imports no loop and no client.
"""
