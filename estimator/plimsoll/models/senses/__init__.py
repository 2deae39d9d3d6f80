"""Towers for images, video and audio: their tensors, and what their largest input comes to.

Nothing here knows an engine, and nothing reads files.
"""
