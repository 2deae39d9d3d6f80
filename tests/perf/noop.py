"""The least that a webhook can do over TLS: the baseline for admission. Run as a program.

It must not read what it is sent beyond the uid.
"""

from __future__ import annotations

import json
import ssl
import sys

from aiohttp import web


async def _allow(request: web.Request) -> web.Response:
    review = json.loads(await request.read())
    response = {"uid": review["request"]["uid"], "allowed": True}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return web.Response(body=json.dumps(body).encode(), content_type="application/json")


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def main() -> None:
    """noop.py CERTIFICATE KEY PORT"""
    certificate, key, port = sys.argv[1:4]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    app = web.Application(client_max_size=9 << 20)
    app.router.add_post("/fit", _allow)
    app.router.add_get("/readyz", _ready)
    web.run_app(
        app, host="127.0.0.1", port=int(port), ssl_context=context, print=None, access_log=None
    )


if __name__ == "__main__":
    main()
