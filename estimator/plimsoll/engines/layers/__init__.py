"""What vLLM's layers do with tensors: SGLang and TGI have the same ones, others much the same.

Nothing here knows an engine: versions, flags and caches are theirs.
"""
