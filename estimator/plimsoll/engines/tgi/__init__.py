"""Text Generation Inference's memory model: warm-up, wiggle room, command line.

It must not know placement, policy or a cluster. The project is in maintenance mode since December
2025; 3.3.7 is its last release.
"""
