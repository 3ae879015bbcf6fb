"""Check that the output and the input of a job do not overlap."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dask_aesthetic.errors import InputError
from dask_aesthetic.io.listing import File, Source, source_paths
from dask_aesthetic.job.store import Store


def refuse_overlap(source: Source, files: Iterable[File], store: Store) -> None:
    """Refuse an output folder inside the input, and one that holds the input."""
    for path in source_paths(source):
        if _inside(store.url, path):
            raise InputError(f"expected an output folder outside of the input, got {store.url} in {path}")
    for file in files:
        if _inside(file.path, store.url):
            raise InputError(f"expected an output folder apart from the input, got {store.url}, with {file.path} in it")


def _inside(path: str, folder: str) -> bool:
    if "://" in folder or "://" in path:
        inner, outer, separator = path.rstrip("/"), folder.rstrip("/"), "/"
    else:
        inner, outer, separator = os.path.realpath(path), os.path.realpath(folder), os.sep
    return inner == outer or inner.startswith(outer + separator)
