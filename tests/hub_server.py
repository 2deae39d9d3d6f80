"""A Hugging Face hub on loopback: models, revisions, files by range; gated, private, missing ones.

It must not be more than a hub is: plain HTTP with the headers that ``huggingface_hub`` reads.
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is on the hub, and what was asked of it.

    repositories: id -> file -> content. gated: ids that want a token. broken: answer 503.
    silent: ids of which nothing is answered until the hub ends. asked: method, path and range of
    every request.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    broken: bool = False
    silent: set[str] = field(default_factory=set)
    ended: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    sent: int = 0
    url: str = ""


def ask_it(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``huggingface_hub`` in this process ask that hub, with its cache in a folder."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _cache_assets

    for name, value in (
        ("ENDPOINT", hub.url),
        ("HF_HUB_CACHE", str(folder / "hub")),
        ("HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"),
        ("HF_HUB_OFFLINE", False),
    ):
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(folder / "assets"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub on a port of its own for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("range") or ""))
            if any(f"/{name}" in path for name in hub.silent):
                hub.ended.wait(60)
                return
            if hub.broken:
                self._send(503, b"{}", {}, body=body)
                return
            for name, files in hub.repositories.items():
                if path.startswith((f"/api/models/{name}", f"/{name}/resolve/")):
                    self._repository(name, files, path, body=body)
                    return
            self._send(
                401,
                b'{"error": "Repository not found"}',
                {"X-Error-Code": "RepoNotFound"},
                body=body,
            )

        def _repository(self, name: str, files: dict[str, bytes], path: str, *, body: bool) -> None:
            token = self.headers.get("authorization") == "Bearer hf_good"
            if path.startswith("/api/"):
                if path.partition("/revision/")[2] not in ("", "main", COMMIT):
                    self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
                    return
                said = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
                self._send(200, json.dumps(said).encode(), {}, body=body)
                return
            if name in hub.gated and not token:
                self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body=body)
                return
            _, _, file = path.removeprefix(f"/{name}/resolve/").partition("/")
            if file not in files:
                self._send(
                    404,
                    b"{}",
                    {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT},
                    body=body,
                )
                return
            content = files[file]
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            wanted = self.headers.get("range")
            if wanted is None:
                self._send(200, content, headers, body=body)
                return
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            piece = content[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(piece) - 1}/{len(content)}"
            self._send(206, piece, headers, body=body)

        def _send(self, code: int, data: bytes, headers: dict[str, str], *, body: bool) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)
                hub.sent += len(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
