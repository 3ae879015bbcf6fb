"""An S3 server in memory that answers each request after some seconds: `python slow_s3.py SECONDS` prints its port."""

from __future__ import annotations

import sys
import time

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def main() -> None:
    answer, seconds = DomainDispatcherApplication(create_backend_app), float(sys.argv[1])

    def slow(environ, start_response):
        time.sleep(seconds)
        return answer(environ, start_response)

    server = make_server("127.0.0.1", 0, slow, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
