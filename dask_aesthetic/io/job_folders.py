"""Output folders of durable jobs, recognized by the settings that a job keeps in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fsspec

from dask_aesthetic.errors import InputError
from dask_aesthetic.in_threads import map_in_threads
from dask_aesthetic.io.storage import File, is_url

JOB_FOLDER = "_dask_aesthetic"  # Markers and settings. Readers of Parquet folders skip such names.
SETTINGS, SUCCESS = f"{JOB_FOLDER}/settings.json", "_SUCCESS"


@dataclass
class JobFolders:
    """Folders at and above files, and which of them a job writes to.

    Attributes
    ----------
    options : mapping
        fsspec's options of folders behind URLs.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    _known: dict[str, bool] = field(default_factory=dict)

    def enclosing(self, folder: str) -> str | None:
        """The nearest folder, from this one upwards, that a job writes to; None if there is none."""
        return next((one for one in _upwards(folder) if self._is_job(one)), None)

    def of(self, files: Iterable[File]) -> dict[str, list[File]]:
        """Files by the folder of the job that wrote them; others are left out."""
        by_parent: dict[str, list[File]] = {}
        for file in files:
            by_parent.setdefault(parent_folder(file.path), []).append(file)
        found = map_in_threads(self.enclosing, by_parent)
        by_job: dict[str, list[File]] = {}
        for job, theirs in zip(found, by_parent.values(), strict=True):
            if job is not None:
                by_job.setdefault(job, []).extend(theirs)
        return by_job

    def manifest(self, folder: str) -> list[str] | None:
        """File names that the manifest of a job lists, where these are files of scores; None if it is unfinished.

        Raises
        ------
        InputError
            The manifest is damaged.
        """
        content = self._read(f"{folder}/{SUCCESS}")
        if content is None:
            return None
        try:
            return [str(shard["name"]) for shard in json.loads(content)["shards"] if "bytes" in shard]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"expected a manifest in {folder}/{SUCCESS}, got a damaged file: run the job again"
            ) from error

    def _is_job(self, folder: str) -> bool:
        if folder not in self._known:
            self._known[folder] = self._read(f"{folder}/{SETTINGS}") is not None
        return self._known[folder]

    def _read(self, path: str) -> bytes | None:
        """Content of a file; None where there is none, and where a store does not say."""
        if not is_url(path):
            try:
                with open(path, "rb") as stream:
                    return stream.read()
            except OSError:
                return None
        try:
            system, root = fsspec.core.url_to_fs(path, **self.options)
            content: bytes = system.cat_file(root)
        except Exception:  # Stores raise whatever their libraries raise, for files that do not exist, too.
            return None
        return content


def parent_folder(path: str) -> str:
    """Folder of a file, or of a folder."""
    return path.rpartition("/")[0] if is_url(path) else os.path.dirname(os.path.abspath(path))


def _upwards(folder: str) -> Sequence[str]:
    """A folder and its parents; of URLs without the store's name, and none in archives."""
    if not is_url(folder):
        found = [os.path.abspath(folder)]
        while (parent := os.path.dirname(found[-1])) != found[-1]:
            found.append(parent)
        return found
    protocol, _, inner = folder.rstrip("/").partition("://")
    if "::" in folder:
        return []
    parts = inner.split("/")
    return [f"{protocol}://{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]
