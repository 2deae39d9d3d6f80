"""The controller: watch, queue, snapshot, decide, plan, write.

kopf watches and calls `handlers`; nothing below them knows kopf. It decides nothing itself
(`plimsoll.decision.decide.decide` does) and writes nothing but status and Events.
"""
