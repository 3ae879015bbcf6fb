"""Files of scores that a job has written: their rows, common columns and provenance."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dask_aesthetic.defaults import SCORE_COLUMN
from dask_aesthetic.errors import AestheticWarning, InputError
from dask_aesthetic.io import parquet
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.job_folders import SUCCESS, JobFolders
from dask_aesthetic.io.listing import Source, find_files, source_paths
from dask_aesthetic.io.storage import File, is_url
from dask_aesthetic.provenance import Provenance, has_one_rule


@dataclass(frozen=True)
class ScoreFile:
    """A Parquet file of scores.

    Attributes
    ----------
    file : File
    name : str
        Relative to the source, without suffix.
    rows : int
    """

    file: File
    name: str
    rows: int

    @property
    def versions(self) -> list[list[Any]]:
        """Size and version of the file, in a list."""
        return [[self.file.size, self.file.version]]

    def read(self, schema: pa.Schema) -> pa.Table:
        """All rows, with the columns and types of a schema.

        Raises
        ------
        InputError
            The file is damaged, or has changed since it was found.
        """
        if not schema.names:
            return pa.table({"": pa.nulls(self.rows)}).select([])
        return parquet.read_rows(self.file, schema, 0, self.rows)


@dataclass(frozen=True)
class ScoreFiles:
    """Files of scores, sorted by name, with columns in common.

    Attributes
    ----------
    files : list of ScoreFile
    schema : pyarrow.Schema
        Columns of the first file, with the types that all files have.
    provenance : Provenance
    """

    files: Sequence[ScoreFile]
    schema: pa.Schema
    provenance: Provenance

    @property
    def score_column(self) -> str:
        """Name of the scores."""
        return self.provenance.columns.get("score_column", SCORE_COLUMN)

    def columns(self, names: Sequence[str]) -> pa.Schema:
        """Schema of some columns."""
        return pa.schema([self.schema.field(name) for name in names])


def find_scores(
    source: Source,
    options: Mapping[str, Any] | None = None,
    choose: Callable[[list[str], Provenance], list[str]] = lambda names, _: names,
    allow_unfinished: bool = False,
) -> ScoreFiles:
    """Find the files of scores in a folder, file, glob or URL.

    Parameters
    ----------
    source, options
        As of `find_files`.
    choose : callable, optional
        Columns to read, from those of the first file and what the files say of their scores.
    allow_unfinished : bool
        Take the files that are there where a job has not written all of them.

    Raises
    ------
    InputError
        There are none, they are of several predictors or scales, or the job that writes them is not finished.
    ColumnError
        A column is missing from a file.
    """
    found = find_files(source, ".parquet", options)
    files = [file for file, _ in found]
    unfinished = _find_unfinished(source, files, options)
    if unfinished and not allow_unfinished:
        raise InputError(
            f"{unfinished}. The command that wrote them, given again without --part, completes them; or "
            "allow_unfinished=True (--allow-unfinished) takes the files that are there"
        )
    footers = inspect_all(files, parquet.read_footer)
    schemas = [footer.schema for footer in footers]
    named = list(zip([file.path for file in files], schemas, strict=True))
    if unfinished:
        several = "" if has_one_rule(named) else ", and what they keep is by several rules: keep by score instead"
        warnings.warn(f"{unfinished}: only the rows that are there count{several}", AestheticWarning, stacklevel=3)
    provenance = Provenance.of_files(named)
    schema = parquet.common_schema(zip(files, schemas, strict=True), choose(schemas[0].names, provenance))
    rows = [footer.metadata.num_rows for footer in footers]
    return ScoreFiles(
        [ScoreFile(file, name, count) for (file, name), count in zip(found, rows, strict=True)], schema, provenance
    )


def _find_unfinished(source: Source, files: Sequence[File], options: Mapping[str, Any] | None) -> str:
    """What is missing from the outputs of jobs that the files belong to; empty if nothing is."""
    folders = JobFolders(options or {})
    whole = {path.rstrip("/") if is_url(path) else os.path.abspath(path) for path in source_paths(source)}
    for folder, theirs in folders.of(files).items():
        listed = folders.manifest(folder)
        if listed is None:
            return (
                f"expected the output of a finished job in {folder}, got {len(theirs):,} files of one that has not "
                f"written {SUCCESS}, its last file"
            )
        there = {file.path for file in theirs}
        lost = [name for name in listed if f"{folder}/{name}" not in there] if folder in whole else []
        if lost:
            more = f" and {len(lost) - 1:,} more" if len(lost) > 1 else ""
            return f"expected the {len(listed):,} files that {folder}/{SUCCESS} lists, got none for {lost[0]}{more}"
    return ""
