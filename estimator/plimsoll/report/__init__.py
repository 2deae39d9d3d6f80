"""What is said of a verdict: sentences, arithmetic that adds up, and data.

Nothing here decides, and nothing here parses what another module has worded.
"""
