"""The documents as a site: pages of reference that are made from code, and what mkdocs needs."""
