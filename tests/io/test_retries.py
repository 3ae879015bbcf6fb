"""Which failures of a store pass, and how often and after how long a request is tried again."""

from __future__ import annotations

import errno
import ssl
import time
import urllib.error
from email.utils import formatdate
from http.client import IncompleteRead
from threading import Event, Timer
from types import SimpleNamespace

import aiohttp
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from pyarrow.parquet import write_table
from s3fs.errors import translate_boto_error

from dask_aesthetic import InputError
from dask_aesthetic.io import listing, parquet
from dask_aesthetic.io.retries import Backoff, is_passing
from helpers import range_server

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


def test_a_server_says_how_long_to_wait(monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(Event, "wait", lambda _, seconds: waited.append(seconds))
    headers = {"Retry-After": "7"}
    client = aiohttp.ClientResponseError(SimpleNamespace(real_url="http://a"), (), status=429, headers=headers)
    metadata = {"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "9"}}
    store = ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": metadata}, "GetObject")
    date = urllib.error.HTTPError("http://a", 503, "no", {"Retry-After": formatdate(time.time() + 30)}, None)
    endless = urllib.error.HTTPError("http://a", 503, "no", {"Retry-After": "86400"}, None)
    wrong = urllib.error.HTTPError("http://a", 503, "no", {"Retry-After": "soon"}, None)
    Backoff(6, 0.001, 0.002).call(Requests(client, store, date, endless, wrong))
    assert waited[:2] == [7, 9]
    assert 25 < waited[2] <= 30
    assert waited[3] == 120
    assert waited[4] < 1


@pytest.mark.parametrize("status", [429, 503])
def test_listings_are_tried_again_where_a_store_throttles(tmp_path, monkeypatch, status):
    monkeypatch.setattr(listing, "BACKOFF", FAST)
    (tmp_path / "a.parquet").write_bytes(b"content")
    with range_server.serving(tmp_path) as server:
        # fsspec asks twice, by HEAD and by GET.
        server.listings.extend([status] * 2)
        server.failures.extend([status] * 2)
        (found,) = listing.list_files(f"{server.url}/a.parquet")
        assert found.file.size == 7
        server.listings.extend([status] * 20)
        server.always = status
        with pytest.raises(InputError, match=str(status)) as caught:
            listing.list_files(f"{server.url}/a.parquet")
        assert "does not exist" not in str(caught.value)
        server.listings.clear()
        server.always = None
        with pytest.raises(InputError, match="does not exist"):
            listing.list_files(f"{server.url}/b.parquet")


def test_a_remote_file_that_grew_is_said(tmp_path):
    write_table(pa.table({"image_embedding": pa.nulls(3)}), tmp_path / "a.parquet")
    with range_server.serving(tmp_path) as server:
        (found,) = listing.list_files(f"{server.url}/a.parquet")
        size = found.file.size
        write_table(pa.table({"text": [str(at) for at in range(999)]}), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=f"expected {size:,} bytes in .* as when found, got .* it has changed"):
            parquet.read_rows(found.file, pa.schema({"image_embedding": pa.null()}), 0, 3)
