"""Admission's certificates, where nobody else issues them: made, published, renewed, mended.

Nothing here is used where cert-manager or the user brings the certificate.
"""
