"""From a verdict to the objects that run it: a Deployment or a LeaderWorkerSet, and its Service.

It decides nothing: what is planned comes with the verdict, and what it makes reads back the same.
"""
