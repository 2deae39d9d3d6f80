"""The demo: Plimsoll's main job on a control plane of its own, told step by step.

It must not do anything that a user could not do with the same commands.
"""
