"""Folders as ``Dataset.save_to_disk`` of Hugging Face's datasets leaves them: the data files that state.json names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dask_aesthetic.errors import InputError
from dask_aesthetic.io.listing import ListedFile, Source, format_source, refuse_undecodable, source_paths
from dask_aesthetic.io.storage import File

STATE, SPLITS = "state.json", "dataset_dict.json"
SUFFIX = ".arrow"
_MOST_STATE = 1 << 26  # Bytes; a data file's entry has some 60.
_INDICES = ("_indices_data_files", "_indices_files")  # Of earlier versions, which saved rows that were not selected.
_SHOWN = 10


def find_saved(found: Sequence[ListedFile], source: Source) -> list[tuple[File, str]]:
    """Data files of a saved data set, in its order, each with its name without suffix.

    Raises
    ------
    InputError
        The source is no such folder, holds several data sets or splits, or the data set has indices, by which its rows
        are other ones than those in the files.
    """
    listed = {one.name: one for one in found}
    splits = sorted(name.rpartition("/")[0] for name in listed if name.endswith(f"/{STATE}"))
    paths = source_paths(source)
    if STATE not in listed or len(paths) != 1 or listed[STATE].explicit:
        if not splits or len(paths) != 1:
            raise InputError(
                f"expected a folder as Dataset.save_to_disk leaves it, with {STATE}, in {format_source(source)}, got "
                "none: name the folder itself, or write the data set by to_parquet"
            )
        kind = "splits" if SPLITS in listed else "data sets"
        shown = ", ".join(splits[:_SHOWN]) + (f" and {len(splits) - _SHOWN:,} more" if len(splits) > _SHOWN else "")
        raise InputError(
            f"expected one data set, got a folder with the {kind} {shown}: name one, "
            f"as {paths[0].rstrip('/')}/{splits[0]}"
        )
    names = _data_files(listed[STATE].file)
    missing = [name for name in names if name not in listed]
    if missing:
        raise InputError(
            f"expected the data files that {listed[STATE].file.path} names, got none of the name {missing[0]!r}: the "
            "folder is not complete"
        )
    files = [(listed[name].file, name.removesuffix(SUFFIX)) for name in names]
    refuse_undecodable(file for file, _ in files)
    return files


def _data_files(file: File) -> list[str]:
    if file.size > _MOST_STATE:
        raise InputError(f"expected a state of a data set, got {file.path} of {file.size:,} bytes")
    try:
        state: Any = json.loads(file.read(0, file.size))
        indices = [key for key in _INDICES if state.get(key)]
        names = [entry["filename"] for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"expected the state of a saved data set in {file.path}, got something else: {error!r}"
        ) from error
    if indices:
        raise InputError(
            f"expected a data set whose rows are those of its files, got {file.path} with {indices[0]}, which select "
            "and order them: load it with an earlier version of datasets, flatten_indices(), and save it again"
        )
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"expected data files of different names in {file.path}, got {names[:_SHOWN]!r}")
    return names
