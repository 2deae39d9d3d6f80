"""The admission process: AdmissionReview in, `decide`, AdmissionReview out.

It imports no kopf, and it never reads the network while a review waits, except for the API server's
own watches and its answer to a SubjectAccessReview.
"""
