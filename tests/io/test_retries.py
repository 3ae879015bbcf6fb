"""Which failures of a store pass, and how often and after how long a request is tried again."""

from __future__ import annotations

import errno
import ssl
import urllib.error
from http.client import IncompleteRead
from threading import Event, Timer
from types import SimpleNamespace

import aiohttp
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from s3fs.errors import translate_boto_error

from dask_aesthetic import InputError
from dask_aesthetic.io.retries import Backoff, is_passing

FAST = Backoff(4, 0.001, 0.002)


def boto(code: str, status: int) -> Exception:
    response = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(ClientError(response, "GetObject"))


def http(status: int) -> Exception:
    return aiohttp.ClientResponseError(SimpleNamespace(real_url="http://a"), (), status=status)


class CodeError(Exception):
    """As gcsfs, which gives numbers or texts, and azure.core name it."""

    def __init__(self, **attributes) -> None:
        self.__dict__.update(attributes)


PASSING = [
    *(http(status) for status in (408, 429, 500, 502, 503, 504)),
    *(boto(code, 503) for code in ("SlowDown", "ServiceUnavailable", "503")),
    boto("InternalError", 500),
    boto("502", 502),
    boto("TooManyRequests", 429),
    boto("RequestTimeout", 400),
    CodeError(code=429),
    CodeError(code="503"),
    CodeError(status_code=503),
    CodeError(response=CodeError(status_code=502)),
    urllib.error.HTTPError("http://a", 503, "no", None, None),
    ReadTimeoutError(endpoint_url="http://a"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError(),
    IncompleteRead(b""),
    ConnectionResetError(),
    TimeoutError(),
    OSError(errno.ETIMEDOUT, "no"),
]
LASTING = [
    *(http(status) for status in (400, 401, 403, 404, 416, 501)),
    boto("AccessDenied", 403),
    boto("NoSuchKey", 404),
    boto("InvalidRange", 416),
    CodeError(code=404),
    CodeError(status_code=403),
    FileNotFoundError(),
    PermissionError(),
    ssl.SSLCertVerificationError(),
    OSError(errno.EINVAL, "no"),
    ValueError("429"),
    InputError("no"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_failures_that_pass(error):
    assert is_passing(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_failures_that_do_not(error):
    assert not is_passing(error)


class Requests:
    """A request that fails in turn with each of some errors, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.count = list(errors), 0

    def __call__(self) -> int:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.count


def test_a_request_is_tried_until_it_succeeds():
    assert FAST.call(Requests()) == 1
    assert FAST.call(Requests(http(503), TimeoutError(), http(429))) == 4


def test_the_last_failure_is_raised():
    for errors, count in (([http(503)] * 9, 4), ([http(404)], 1), ([http(503), http(403), http(503)], 2)):
        requests, last = Requests(*errors), errors[count - 1]
        with pytest.raises(aiohttp.ClientResponseError) as raised:
            FAST.call(requests)
        assert raised.value is last
        assert requests.count == count


def test_a_store_that_tries_by_itself_for_long_is_asked_twice():
    requests = Requests(*[http(503)] * 9)
    with pytest.raises(aiohttp.ClientResponseError):
        Backoff(9, 0.001, 0.002, patience=0).call(requests)
    assert requests.count == 2


def test_waiting_ends_when_the_reader_closes():
    requests, closing = Requests(http(503)), Event()
    timer = Timer(0.05, closing.set)
    timer.start()
    with pytest.raises(aiohttp.ClientResponseError):
        Backoff(3, 1_000.0, 1_000.0).call(requests, closing)
    timer.join()
    assert requests.count == 1


def test_waits_double_up_to_the_longest_and_vary(monkeypatch):
    waits = []
    monkeypatch.setattr(Event, "wait", lambda _, seconds: waits.append(seconds))
    for _ in range(20):
        with pytest.raises(TimeoutError):
            Backoff(6, 1.0, 6.0).call(Requests(*[TimeoutError()] * 6))
    for number, most in enumerate((1, 2, 4, 6, 6)):
        found = waits[number::5]
        assert most / 2 <= min(found) < max(found) <= most
