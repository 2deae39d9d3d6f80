"""One page of HTML that shows every object with its bar, the GPUs, and what changed.

It needs nothing but itself: no script to be read, no request to be whole.
"""
