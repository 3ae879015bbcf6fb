"""Predictors from the Hugging Face hub: one file, at a full revision, checked before it is used."""

from __future__ import annotations

import re
from pathlib import Path

from dask_aesthetic.errors import PredictorError
from dask_aesthetic.predictors.catalogue import REVISIONS
from dask_aesthetic.predictors.checkpoint import sha256_of

FILE = "model.safetensors"
_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_hub_id(name: str) -> bool:
    """Whether a string has the form ``owner/name`` or ``owner/name@revision``."""
    return _ID.fullmatch(name) is not None


def fetch(name: str) -> tuple[Path, str, str]:
    """Download ``model.safetensors`` of a repository, or take it from the Hugging Face cache.

    ``HF_HOME``, ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` are honoured. The file's sha256 is compared with the one
    under which the hub stores it, so a download or a cache that is cut off is refused.

    Parameters
    ----------
    name : str
        ``owner/name@revision``, the revision as 40 hex digits; it may be left out for repositories of the catalogue.

    Returns
    -------
    tuple of (path, repository, revision)

    Raises
    ------
    PredictorError
        No full revision, no such file, no connection, or another content than the hub's.
    """
    # Takes a tenth of a second, and most runs never need it.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

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
    try:
        path = Path(hf_hub_download(repo, FILE, revision=revision))
    except (LocalEntryNotFoundError, ConnectionError, OSError) as error:
        if isinstance(error, EntryNotFoundError | RepositoryNotFoundError) and not isinstance(
            error, LocalEntryNotFoundError
        ):
            raise PredictorError(f"expected {FILE} in {repo} at {revision}, got: {_first_line(error)}") from error
        raise PredictorError(
            f"expected to fetch {FILE} of {repo} at {revision} from the hub or its cache, got: {_first_line(error)}. "
            "Without a network, set HF_HOME to a cache that holds it or give the path of a local file"
        ) from error
    _verify(path, repo)
    return path, repo, revision


def _verify(path: Path, repo: str) -> None:
    stored_as = path.resolve().name  # The cache names a large file's blob by its sha256.
    if _SHA256.fullmatch(stored_as) and sha256_of(path) != stored_as:
        raise PredictorError(
            f"expected {FILE} of {repo} with sha256 {stored_as}, got another content in {path}: delete it and try again"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
