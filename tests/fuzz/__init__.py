"""Fuzz targets: drawn inputs, many of them hostile, each held against what must always be true."""
