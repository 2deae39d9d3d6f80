"""Build the image without a registry, and run it without an engine."""
