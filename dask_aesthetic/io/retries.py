"""Requests to stores, tried again where a store throttles or fails in passing: exponential back-off with jitter."""

from __future__ import annotations

import errno
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any, TypeVar

from dask_aesthetic.errors import first_line

log = logging.getLogger(__name__)
Result = TypeVar("Result")

_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504, 509))
# s3fs raises these in place of 503 and 500; the others are the operating system's.
_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("EBUSY", "EREMOTEIO", "EAGAIN", "EPIPE", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT", "EHOSTUNREACH")
    if hasattr(errno, name)
)
# Connections that break, in aiohttp, botocore, urllib3, requests, http.client and azure.core, which need not be
# installed.
_BROKEN = frozenset(
    (
        *("ClientConnectionError", "ClientPayloadError", "HTTPClientError", "ConnectionError", "Timeout"),
        *("ChunkedEncodingError", "IncompleteRead", "ProtocolError", "ServiceRequestError", "ServiceResponseError"),
    )
)
MOST_WAIT = 120.0  # Seconds that a server may ask to wait.
_LASTING = (FileNotFoundError, PermissionError, ssl.SSLCertVerificationError)


@dataclass(frozen=True)
class Backoff:
    """How often a request is tried, and how long to wait in between.

    Attributes
    ----------
    tries : int
        With the first one.
    first, longest : float
        Seconds to wait before the second try, doubled before each further one up to the longest. A random part of up to
        a half is left out, so that workers that failed together do not come back together.
    patience : float
        Seconds since the first try after which there is at most a second one: file systems that retry by themselves,
        as those of S3, Google and Azure do, have then made many requests in each try.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 20.0
    patience: float = 60.0

    def call(
        self,
        request: Callable[[], Result],
        closing: Event | None = None,
        passing: Callable[[BaseException], bool] | None = None,
    ) -> Result:
        """Result of a request, or its last error; there is no further try once `closing` is set.

        `passing` says which errors are worth another try, `is_passing` if not given. A server's ``Retry-After`` is
        waited for, up to `MOST_WAIT` seconds.
        """
        closing = closing or Event()
        begin = time.monotonic()
        for number in range(1, self.tries + 1):
            try:
                return request()
            except Exception as error:
                is_last = number == self.tries or (number > 1 and time.monotonic() - begin > self.patience)
                if is_last or not (passing or is_passing)(error):
                    raise
                delay = min(self.first * 2 ** (number - 1), self.longest) * random.uniform(0.5, 1)  # noqa: S311
                delay = max(delay, min(_retry_after(error), MOST_WAIT))
                log.info("try %d of %d after %.1f s: %s", number + 1, self.tries, delay, first_line(error))
                if closing.wait(delay):
                    raise
        raise ValueError(f"expected a try or more, got {self.tries}")


def is_passing(error: BaseException | None) -> bool:
    """Whether the same request may succeed later: throttling, faults of a server, broken connections, time-outs."""
    while error is not None:
        status = _status(error)
        if status is not None:
            return status in _STATUSES
        if isinstance(error, _LASTING):
            return False
        if (
            isinstance(error, ConnectionError | TimeoutError)
            or getattr(error, "errno", None) in _ERRNOS
            or not _BROKEN.isdisjoint(kind.__name__ for kind in type(error).__mro__)
        ):
            return True
        error = error.__cause__
    return False


def is_throttled(error: BaseException | None) -> bool:
    """Whether a server answered that it cannot serve now; it was reached, unlike after most errors of connections."""
    while error is not None:
        if _status(error) in _STATUSES or getattr(error, "errno", None) in (errno.EBUSY, errno.EAGAIN):
            return True
        error = error.__cause__
    return False


def is_absent(error: BaseException) -> bool:
    """Whether the cause of a FileNotFoundError says that there is no such file, rather than that it was not reached."""
    status = _status(error)
    return status in (404, 410) if status is not None else not is_passing(error)


def _retry_after(error: BaseException | None) -> float:
    """Seconds that a server's ``Retry-After`` asks to wait, 0 without one."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, Mapping):
            headers: Any = (response.get("ResponseMetadata") or {}).get("HTTPHeaders")
        else:
            headers = getattr(error, "headers", None) or getattr(response, "headers", None)
        found = next((value for name, value in dict(headers or {}).items() if name.lower() == "retry-after"), None)
        if found is not None:
            return _seconds_until(str(found))
        error = error.__cause__
    return 0.0


def _seconds_until(text: str) -> float:
    """Seconds of a number, or until an HTTP date."""
    try:
        return (
            max(float(text), 0.0)
            if text.strip().isdecimal()
            else max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
        )
    except (TypeError, ValueError):
        return 0.0


def _status(error: BaseException) -> int | None:
    """HTTP status of an error of aiohttp, gcsfs, azure.core, urllib, requests or botocore, None if it has none."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping):
        metadata = response.get("ResponseMetadata")
        return metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
    for owner in (error, response):
        for name in ("status", "status_code", "code"):
            value = getattr(owner, name, None)
            if str(value).isdecimal() and 400 <= int(str(value)) < 600:
                return int(str(value))
    return None


BACKOFF = Backoff()
