"""Admission's certificates, if nobody else issues them: made, published, renewed, mended.

Nothing here is used if cert-manager or the user brings the certificate.
"""
