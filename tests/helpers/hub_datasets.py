"""A server on 127.0.0.1 that answers for data sets as huggingface.co does to its file system for fsspec."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class DatasetHub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name, self.files, self.requests = name, files, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def entries(self) -> list[dict]:
        found = {}
        for path, content in self.files.items():
            folders = path.split("/")[:-1]
            for depth in range(1, len(folders) + 1):
                folder = "/".join(folders[:depth])
                found[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            found[path] = {"type": "file", "path": path, "oid": oid, "size": len(content)}
        return list(found.values())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DatasetHub

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(is_get=False)

    def do_GET(self) -> None:
        self.answer(is_get=True)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
        self.server.requests.append(f"POST {self.path}")
        self.send(200, json.dumps([one for one in self.server.entries() if one["path"] in paths]).encode())

    def answer(self, is_get: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        path = unquote(urlsplit(self.path).path)
        name = re.escape(self.server.name)
        if tree := re.fullmatch(rf"/api/datasets/{name}/tree/(main|{COMMIT})/?(.*)", path):
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            inside = f"{tree[2]}/" if tree[2] else ""
            entries = [
                one
                for one in self.server.entries()
                if one["path"].startswith(inside) and (recursive or "/" not in one["path"][len(inside) :])
            ]
            return self.send(200 if entries else 404, json.dumps(entries).encode(), is_get)
        if re.fullmatch(rf"/api/datasets/{name}(/revision/(main|{COMMIT}))?", path):
            return self.send(200, json.dumps({"id": self.server.name, "sha": COMMIT, "siblings": []}).encode(), is_get)
        if file := re.fullmatch(rf"/datasets/{name}/resolve/(main|{COMMIT})/(.+)", path):
            content = self.server.files.get(file[2])
            if content is not None:
                return self.send(200, content, is_get, self.headers.get("Range"))
        return self.send(404, b'{"error": "Repository not found"}', is_get)

    def send(self, status: int, content: bytes, is_get: bool = True, part: str | None = None) -> None:
        whole = len(content)
        if status == 200 and part and (wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", part)):
            begin, end = int(wanted[1]), min(int(wanted[2] or whole - 1), whole - 1)
            status, content = 206, content[begin : end + 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"')
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{whole}")
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if is_get:
            self.wfile.write(content)


@contextmanager
def serving(name: str, files: dict[str, bytes]) -> Iterator[DatasetHub]:
    server = DatasetHub(name, files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
