"""A server on 127.0.0.1 that gives parts of the files in a folder, slowly, and fails as stores do.

    python -m helpers.range_server FOLDER SECONDS

It prints its port. GetObject of S3 is the same request, so it serves s3fs as well.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RESET = -1  # In place of a status: the connection is reset half way.
ERROR = b"<Error><Code>%s</Code><Message>not now</Message></Error>"
CODES = {403: b"AccessDenied", 404: b"NoSuchKey", 429: b"TooManyRequests", 500: b"InternalError"}


class RangeServer(ThreadingHTTPServer):
    """The server, what it was asked for, and how it will fail.

    Attributes
    ----------
    requests : list of (path, begin, length)
        Every GET, failed ones too.
    failures : deque of int
        Status of each of the next GETs.
    always : int or None
        Status of all GETs after them; None for success.
    retry_after : str or None
        Header of failed GETs.
    listings : deque of int
        Status of each of the next HEADs.
    together : threading.Barrier or None
        Where GETs, apart from those of a file's end, wait for each other.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.seconds = folder, seconds
        self.requests: list[tuple[str, int, int]] = []
        self.failures: deque[int] = deque()
        self.always: int | None = None
        self.retry_after: str | None = None
        self.listings: deque[int] = deque()
        self.together: threading.Barrier | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Clients that leave are no errors."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_HEAD(self) -> None:
        file = self.server.folder / self.path.lstrip("/")
        if self.server.listings:
            self.answer(self.server.listings.popleft(), 0)
            return
        self.answer(200 if file.is_file() else 404, file.stat().st_size if file.is_file() else 0)

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0].lstrip("/")
        file = server.folder / path
        size = file.stat().st_size if file.is_file() else 0
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or size - 1) + 1, size)
        server.requests.append((path, begin, end - begin))
        time.sleep(server.seconds)
        if server.together is not None and end != size:
            server.together.wait(20)
        status = server.failures.popleft() if server.failures else server.always
        if status is None and not file.is_file():
            status = 404
        if status is None or status == RESET:
            self.answer(206, end - begin, {"Content-Range": f"bytes {begin}-{end - 1}/{size}"})
            with file.open("rb") as stream:
                self.connection.sendfile(stream, begin, end - begin if status is None else (end - begin) // 2)
            if status == RESET:
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            return
        body = ERROR % CODES.get(status, b"ServiceUnavailable")
        asked = self.server.retry_after
        self.answer(status, len(body), {"Retry-After": asked} if asked else None)
        self.wfile.write(body)

    def answer(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", "Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args) -> None:
        pass


@contextmanager
def serving(folder: Path, seconds: float = 0.0) -> Iterator[RangeServer]:
    server = RangeServer(folder, seconds)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    with RangeServer(Path(sys.argv[1]), float(sys.argv[2])) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
