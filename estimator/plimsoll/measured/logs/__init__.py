"""Start-up logs of vLLM and SGLang: what they say of memory, as a measured row.

It must not estimate, and it must not fill in what a log does not say.
"""
