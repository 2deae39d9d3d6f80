"""TensorRT-LLM's memory model: the cache gets a share of what weights and a forward pass leave.

It must not import anything at import time: `plimsoll.engines.registry` asks for the engine.
"""
