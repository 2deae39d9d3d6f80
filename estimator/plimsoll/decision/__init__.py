"""The decision: from a request, an inventory and a policy to a verdict, in `decide.decide`.

Nothing here reads a manifest, knows a cluster's API or words a sentence for people.
"""
