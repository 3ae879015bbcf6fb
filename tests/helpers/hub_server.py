"""A server on 127.0.0.1 that answers as huggingface.co does, or fails as networks do."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Answer:
    """Answer of the server for a repository, or for a file of it other than ``model.safetensors``.

    `body` is the file that the headers describe, `sent` the bytes that are sent instead, `cut` how the connection ends
    half way; `commit` is the revision in the headers, where it is not the requested one; `large` is a file that the hub
    keeps by its sha256, as it does with all safetensors files.
    """

    body: bytes = b""
    commit: str = ""
    sent: bytes | None = None
    status: int = 200
    get_status: int = 200
    code: str = ""
    cut: str = ""
    large: bool = True
    is_hub: bool = True


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self):
        self.reply(is_get=False)

    def do_GET(self):
        self.reply(is_get=True)

    def log_message(self, *args):
        pass

    def reply(self, is_get: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        match = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([0-9a-f]{40})/([\w.]+)", self.path)
        name = match and (match[1] if match[3] == "model.safetensors" else f"{match[1]}/{match[3]}")
        answer = self.server.answers.get(name)
        if answer is None:
            answer = Answer(status=401, code="RepoNotFound")
        status = answer.get_status if is_get and answer.status == 200 else answer.status
        content = answer.body if status == 200 else b'{"error": "it did not work"}'
        content = answer.sent if is_get and status == 200 and answer.sent is not None else content
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if is_get and status == 200 else 0
        self.send_response(206 if start else status)
        if answer.code:
            self.send_header("X-Error-Code", answer.code)
            self.send_header("X-Error-Message", "it did not work")
        if answer.is_hub and match:
            sha256, sha1 = (hashlib.new(kind, answer.body).hexdigest() for kind in ("sha256", "sha1"))
            self.send_header("X-Repo-Commit", answer.commit or match[2])
            self.send_header("ETag", f'"{sha256 if answer.large else sha1}"')
            if answer.large and status == 200:
                self.send_header("X-Linked-Etag", f'"{sha256}"')
                self.send_header("X-Linked-Size", str(len(answer.body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if is_get and answer.cut and status == 200:
            self.wfile.write(content[start : len(content) // 2])
            self.close_connection = True
            if answer.cut == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
        elif is_get:
            self.wfile.write(content[start:])


@contextmanager
def serving():
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
