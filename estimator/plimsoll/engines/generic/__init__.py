"""An engine that is not known here: weights from the model, everything else assumed.

It must not refuse what only its assumptions rule out.
"""
