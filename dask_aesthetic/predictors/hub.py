"""Files from the Hugging Face hub, at a full revision and checked before use."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors.catalog import REVISIONS
from dask_aesthetic.predictors.checkpoint import read_tensors, sha256_of

FILE = "model.safetensors"
_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


CONNECT = 5.0  # Seconds in which the hub must answer; its own client tries for minutes.


def why_offline() -> str:
    """Reason why the hub, or the proxy to it, cannot be reached within seconds; empty if it can, or is not to be."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:  # The client says so itself, at once.
        return ""
    hub = urlsplit(constants.ENDPOINT)
    proxies = {} if proxy_bypass(hub.hostname or "") else getproxies()
    address = urlsplit(proxies.get(hub.scheme, constants.ENDPOINT))
    port = address.port or {"http": 80}.get(address.scheme, 443)
    try:
        with socket.create_connection((address.hostname, port), CONNECT):
            return ""
    except OSError as error:
        return f"no connection to {address.hostname} ({error})"


@contextmanager
def cache_alone() -> Iterator[None]:
    """Context in which the hub's client takes files from its cache and asks nobody."""
    from huggingface_hub import constants, utils

    # Versions before 1.0 keep a session per thread, which stays online or offline as it was made.
    forget_sessions = getattr(utils, "reset_sessions", lambda: None)
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    forget_sessions()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        forget_sessions()


def is_hub_id(name: str) -> bool:
    """Whether a string has the form ``owner/name`` or ``owner/name@revision``."""
    return _ID.fullmatch(name) is not None


def parse_id(name: str) -> tuple[str, str]:
    """Repository and revision of ``owner/name@revision``.

    Raises
    ------
    PredictorError
        The id has no full revision, and the catalog has no default for its repository.
    """
    match = _ID.fullmatch(name)
    if match is None:
        raise PredictorError(f"expected a Hugging Face id owner/name@revision, got {name!r}")
    repo = match["repo"]
    revision = match["revision"] or REVISIONS.get(repo, "")
    if not _REVISION.fullmatch(revision):
        raise PredictorError(
            f"expected a full revision, {repo}@<40 hex digits>, got {revision or 'none'}: "
            "a branch or tag may change under a run; the repository's commit page shows the digits"
        )
    return repo, revision


def fetch(name: str, file: str = FILE, check: Callable[[Path], object] = read_tensors) -> tuple[Path, str, str]:
    """Path of a repository's file in the Hugging Face cache, downloaded if need be.

    ``HF_HOME``, ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` are honored. The file's sha256 is compared with the
    hub's, so a truncated or altered download or cache is refused; a cache without symbolic links (Windows without
    developer mode) has no sha256 to compare. A download that fails `check` is deleted.

    Parameters
    ----------
    name : str
        ``owner/name@revision``, the revision as 40 hex digits; optional for repositories of the catalog.
    file : str
        Name of the file in the repository.
    check : callable
        Raises a PredictorError for a file of another kind.

    Returns
    -------
    tuple of (path, repository, revision)

    Raises
    ------
    PredictorError
        No full revision, no such file, no connection, or another content than the hub's.
    """
    # The import takes a tenth of a second, and most runs never need it.
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, revision = parse_id(name)
    # The bases are errors of the HTTP library: requests, httpx or httpx2, by version.
    failures: tuple[type[Any], ...] = (OSError, HFValidationError, *HfHubHTTPError.__bases__)
    try:
        fresh = not isinstance(try_to_load_from_cache(repo, file, revision=revision), str)
        offline = why_offline() if fresh else ""
        if offline:
            raise ConnectionError(offline)
        path = Path(hf_hub_download(repo, file, revision=revision))
    except failures as error:
        local = isinstance(error, LocalEntryNotFoundError)
        if isinstance(error, HfHubHTTPError | HFValidationError) and not local:
            raise PredictorError(f"expected {file} in {repo} at {revision}, got: {_one_line(error)}") from error
        # A LocalEntryNotFoundError says that the cache has no such file; its cause says why the hub gave none.
        reason = _one_line(error.__cause__ or error if local else error)
        raise PredictorError(
            f"expected to fetch {file} of {repo} at {revision} from the hub or its cache, got: {reason}. "
            "Without a network, set HF_HOME to a cache that holds it or give the path of a local file"
        ) from error
    if path.parent.name != revision:  # Snapshots are named after the revision that the hub sent.
        raise PredictorError(f"expected {repo} at {revision}, got {path.parent.name} from the hub")
    try:
        _verify(path, repo, file, "try again" if fresh else "delete it and try again")
        check(path)
    except PredictorError:
        if fresh:
            _forget(path)
        raise
    return path, repo, revision


def _verify(path: Path, repo: str, file: str, advice: str) -> None:
    stored_as = _blob(path).name  # The cache names a large file's blob by its sha256.
    if _SHA256.fullmatch(stored_as) and sha256_of(path) != stored_as:
        raise PredictorError(
            f"expected {file} of {repo} with sha256 {stored_as}, got another content in {path.resolve()}: {advice}"
        )


def _blob(path: Path) -> Path:
    # One link is followed: the blob may itself be a link to Xet's store, which has other names.
    return path.parent / path.readlink() if path.is_symlink() else path


def _forget(path: Path) -> None:
    with suppress(OSError):
        for file in (_blob(path), path):
            file.unlink(missing_ok=True)


def _one_line(error: BaseException) -> str:
    # The line that names the missing thing comes after "404 Client Error. (Request ID: ...)".
    text = re.sub(r"^\d{3} Client Error\.[^\n]*\n+", "", str(error).strip())
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
