"""What a checkpoint's own headers say of its tensors: safetensors and GGUF, on disk or on the hub.

Nothing here reads a tensor's values, and the network is used only if a source on it is named.
"""
