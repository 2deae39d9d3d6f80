"""Benchmarks that print figures, each beside a baseline measured in the same run.

It must not assert in `make test`: machines are noisy; `make bench` says what met its aim.
"""
