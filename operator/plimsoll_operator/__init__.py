"""The two processes around the verdict: the controller and the admission server.

Nothing in this package decides; every decision is `plimsoll.decision.decide.decide`.
"""
