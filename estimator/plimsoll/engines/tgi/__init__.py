"""TGI's memory model: it fills a batch at start-up, runs it, and gives out what is left.

The project is in maintenance mode since December 2025; 3.3.7 is its last release.
"""
