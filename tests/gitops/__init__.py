"""Statuses of every state, and the files for Argo CD that are made of them."""
