"""llama.cpp's memory model: GGUF tensors on devices, cells of cache, compute buffers.

It must not import anything at import time: `plimsoll.engines.registry` asks for the engine.
"""
