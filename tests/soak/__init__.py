"""Runs that are too long for the tests: scale, churn for minutes, kills by the thousand."""
