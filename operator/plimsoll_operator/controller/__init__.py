"""The controller: watch, queue, snapshot, decide, plan, write.

kopf watches LLMDeployments; nothing but `watches` knows it. What else there is to know comes from
`plimsoll_operator.cluster`. It decides nothing itself (`plimsoll.decision.decide.decide` does) and
writes nothing but status and Events.
"""
