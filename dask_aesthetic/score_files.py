"""Files of scores that a job has written: their rows, common columns and provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dask_aesthetic.defaults import SCORE_COLUMN
from dask_aesthetic.io import parquet
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.listing import Source, find_files
from dask_aesthetic.io.storage import File
from dask_aesthetic.provenance import Provenance


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
    choose: Callable[[list[str]], list[str]] = list,
) -> ScoreFiles:
    """Find the files of scores in a folder, file, glob or URL.

    Parameters
    ----------
    source, options
        As of `find_files`.
    choose : callable, optional
        Columns to read, from those of the first file.

    Raises
    ------
    InputError
        There are none, or they are of several predictors or scales.
    ColumnError
        A column is missing from a file.
    """
    found = find_files(source, ".parquet", options)
    files = [file for file, _ in found]
    footers = inspect_all(files, parquet.read_footer)
    schemas = [footer.schema for footer in footers]
    provenance = Provenance.of_files(zip([file.path for file in files], schemas, strict=True))
    schema = parquet.common_schema(zip(files, schemas, strict=True), choose(schemas[0].names))
    rows = [footer.metadata.num_rows for footer in footers]
    return ScoreFiles(
        [ScoreFile(file, name, count) for (file, name), count in zip(found, rows, strict=True)], schema, provenance
    )
