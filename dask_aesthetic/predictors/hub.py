"""Predictors from the Hugging Face hub: one file, at a full revision, checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors.catalog import REVISIONS
from dask_aesthetic.predictors.checkpoint import read_tensors, sha256_of

FILE = "model.safetensors"
_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_hub_id(name: str) -> bool:
    """Whether a string has the form ``owner/name`` or ``owner/name@revision``."""
    return _ID.fullmatch(name) is not None


def parse_id(name: str) -> tuple[str, str]:
    """Repository and revision of ``owner/name@revision``.

    Raises
    ------
    PredictorError
        It has no full revision, and is none of the repositories that need not say it.
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
    """Download a file of a repository, or take it from the Hugging Face cache.

    ``HF_HOME``, ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` are honoured. The file's sha256 is compared with the one
    under which the hub stores it, so a download or a cache that is cut off or altered is refused; a cache without
    symbolic links (Windows without developer mode) does not tell it. A download that is no checkpoint is not kept.

    Parameters
    ----------
    name : str
        ``owner/name@revision``, the revision as 40 hex digits; it may be left out for repositories of the catalog.
    file : str
        Its name in the repository.
    check : callable
        Raises a PredictorError where a file is not what it should be.

    Returns
    -------
    tuple of (path, repository, revision)

    Raises
    ------
    PredictorError
        No full revision, no such file, no connection, or another content than the hub's.
    """
    # Takes a tenth of a second, and most runs never need it.
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, revision = parse_id(name)
    # The bases are the errors of the HTTP library, whichever it is: requests, httpx or httpx2, by version.
    failures: tuple[type[Any], ...] = (OSError, HFValidationError, *HfHubHTTPError.__bases__)
    try:
        fresh = not isinstance(try_to_load_from_cache(repo, file, revision=revision), str)
        path = Path(hf_hub_download(repo, file, revision=revision))
    except failures as error:
        local = isinstance(error, LocalEntryNotFoundError)
        if isinstance(error, HfHubHTTPError | HFValidationError) and not local:
            raise PredictorError(f"expected {file} in {repo} at {revision}, got: {_in_one_line(error)}") from error
        # A LocalEntryNotFoundError says that the cache has no such file; what it comes from says why the hub gave none.
        reason = _in_one_line(error.__cause__ or error if local else error)
        raise PredictorError(
            f"expected to fetch {file} of {repo} at {revision} from the hub or its cache, got: {reason}. "
            "Without a network, set HF_HOME to a cache that holds it or give the path of a local file"
        ) from error
    if path.parent.name != revision:  # The cache names a snapshot by the revision that the hub says it sent.
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
    # One link on and no more: the blob may itself be a link to a store of another naming, that of Xet.
    return path.parent / path.readlink() if path.is_symlink() else path


def _forget(path: Path) -> None:
    with suppress(OSError):
        for file in (_blob(path), path):
            file.unlink(missing_ok=True)


def _in_one_line(error: BaseException) -> str:
    # "404 Client Error. (Request ID: ...)" stands above the line that says what was not found.
    text = re.sub(r"^\d{3} Client Error\.[^\n]*\n+", "", str(error).strip())
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
