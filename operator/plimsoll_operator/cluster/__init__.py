"""The cluster as the operator sees it: requests, watches, and what is known of its objects.

No other package speaks to the API server.
"""
