"""Export of selected rows as one file: URLs for img2dataset, or DataComp's subset file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from dask_aesthetic.defaults import KEEP_COLUMN
from dask_aesthetic.errors import ArgumentError, ColumnError, InputError, did_you_mean
from dask_aesthetic.export.uids import parse_uids, write_subset
from dask_aesthetic.id_columns import find_id_column
from dask_aesthetic.io import parquet
from dask_aesthetic.io.empty_table import empty_table
from dask_aesthetic.io.formats import inspect_all
from dask_aesthetic.io.listing import File, Source, find_files
from dask_aesthetic.jobs.store import Store, refuse_overlap
from dask_aesthetic.score_files import ScoreFiles, find_scores
from dask_aesthetic.tables import Facts, Shown

FORMATS = (".parquet", ".csv", ".txt", ".npy")
URL, CAPTION = "url", "caption"
CAPTIONS = ("caption", "text", "alt_text", "title")  # Names that data sets give to captions, in any case.
Read = Callable[[Sequence[str]], Iterator[pa.Table]]  # Columns of the selected rows.
_BREAKS = r"[\r\n]+"


@dataclass(frozen=True, repr=False)
class ExportSummary(Shown):
    """Counts of an export.

    Attributes
    ----------
    output : str
    rows : int
        Rows that were written; of a subset file distinct uids.
    left_out : dict of str to int
        Selected rows that were not written: ``no_url``, ``no_uid``, and ``no_metadata``.
    """

    output: str
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def facts(self) -> Facts:
        """Rows of the printed table, by name."""
        return {
            "output": self.output,
            "rows": f"{self.rows:,}",
            "left out": ", ".join(f"{rows:,} {reason}" for reason, rows in self.left_out.items()),
        }

    def _table(self) -> tuple[str, Facts]:
        return "Summary of an export", self.facts


def export_dataset(
    scores: Source,
    output: str | os.PathLike[str],
    *,
    all_rows: bool = False,
    metadata: Source | None = None,
    url_column: str | None = None,
    caption_column: str | None = None,
    id_column: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExportSummary:
    """Write the rows that scores keep as a list for another program: one file, whole or absent.

    Parameters
    ----------
    scores : str, path, or list of them
        Output folder of a scoring or select job, a file of it or a glob; a local path or an fsspec URL.
    output : str or path
        The file to write, whose suffix is the format:

        - ``.parquet`` and ``.csv``: input for img2dataset with the columns ``url``, ``caption`` if there is one, the id
          and the score.
        - ``.txt``: a URL per line, as img2dataset reads it.
        - ``.npy``: DataComp's subset file for its resharder, sorted pairs of the halves of each uid.
    all_rows : bool
        Write every row, not only those whose ``keep`` is True.
    metadata : str, path, or list of them, optional
        Parquet files with URLs and captions where the scores have none, joined by id; their order is that of the rows.
    url_column, caption_column : str, optional
        If not given, ``url``, and the first that exists of caption, text, alt_text and title, in any case.
    id_column : str, optional
        If not given, the first that exists of key, uid, url, hash, id and image_path, in any case; ``uid`` for .npy.
    allow_unfinished : bool
        Take the files that are there of a job that is not finished, with a warning; otherwise it is an error.
    overwrite : bool
        Replace a file that is there, once the new one is whole; otherwise it is an error.
    storage_options, output_options : mapping, optional
        fsspec options of `scores` and `metadata`, and of `output`; the second defaults to the first.
    progress : callable, optional
        Called with the number of rows that were just read and the number of all rows of the scores; first with 0.

    Returns
    -------
    ExportSummary

    Raises
    ------
    InputError
        There are no scores, the job that writes them is not finished, the file to write is there, uids are something
        else, or ids that are joined repeat.
    ColumnError, ArgumentError
        A column does not exist, or the suffix is unknown.

    Notes
    -----
    img2dataset reads .csv and .txt by Arrow, with a record per line: URLs with line breaks are left out, line breaks in
    captions become spaces, and URLs with commas or quotes are quoted. It takes ids of digits for numbers there;
    .parquet keeps them as they are.

    Examples
    --------
    >>> export_dataset("best/", "urls.parquet")  # doctest: +SKIP
    Summary of an export
      output  /data/urls.parquet
        rows  1,000,000
    """
    folder, name = os.path.split(os.fspath(output)) if isinstance(output, str | os.PathLike) else ("", "")
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        raise ArgumentError(f"expected an output file with a suffix of {', '.join(FORMATS)}, got {output!r}")
    found = find_scores(scores, storage_options, allow_unfinished=allow_unfinished)
    options = storage_options if output_options is None else output_options
    store = Store.of(folder or ".", options)
    refuse_overlap(scores, [one.file for one in found.files], Store(f"{store.url}/{name}", store.options))
    store.refuse_replacing(name, overwrite)
    keep = None if all_rows else found.provenance.columns.get("keep_column", KEEP_COLUMN)
    if keep is not None and keep not in found.schema.names:
        raise ColumnError(
            f"expected column {keep!r} beside the scores, got {', '.join(found.schema.names)}: all_rows=True (--all) "
            "takes every row"
        )
    left_out: Counter[str] = Counter()
    read = partial(_selected, found, keep, progress)
    with store.temporary(name) as path:
        if suffix == ".npy":
            rows = write_subset(path, _uids(found, read, id_column or "uid", left_out))
        else:
            tables = _tables(found, read, metadata, url_column, caption_column, id_column, storage_options, left_out)
            rows = _write(path, suffix, tables, left_out)
        store.place(path, name)
    store.sync([name])
    return ExportSummary(f"{store.url}/{name}", rows, dict(+left_out))


def _uids(found: ScoreFiles, read: Read, column: str, left_out: Counter[str]) -> Iterator[np.ndarray]:
    _check_columns(found.schema.names, {"id_column": column}, "the files of scores")
    for table in read([column]):
        left_out["no_uid"] += table.column(column).null_count
        yield parse_uids(table.column(column))


def _selected(
    found: ScoreFiles, keep: str | None, progress: Callable[[int, int], None] | None, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Columns of the selected rows, batch by batch; the first table has no rows, and their types."""
    rows = sum(one.rows for one in found.files)
    if progress is not None:
        progress(0, rows)
    names = list(dict.fromkeys([*columns, *([] if keep is None else [keep])]))
    schema = found.columns(names)
    yield empty_table(schema).select(list(columns))
    for table in _batches([one.file for one in found.files], schema):
        if progress is not None:
            progress(len(table), rows)
        yield (table if keep is None else table.filter(table.column(keep))).select(list(columns))


def _batches(files: Iterable[File], schema: pa.Schema) -> Iterator[pa.Table]:
    """Columns of files, with the types of a schema."""
    for file in files:
        for batch in parquet.batches(file, schema.names, batch_rows=parquet.TABLE_BATCH_ROWS):
            yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)


def _tables(
    found: ScoreFiles,
    read: Read,
    metadata: Source | None,
    url_column: str | None,
    caption_column: str | None,
    id_column: str | None,
    options: Mapping[str, Any] | None,
    left_out: Counter[str],
) -> Iterator[pa.Table]:
    """Tables of url, caption, id and score of the selected rows."""
    names = found.schema.names
    id_column = find_id_column(names) if id_column is None else id_column
    if metadata is None:
        url, caption = _text_columns(names, url_column, caption_column, "the files of scores")
        renamed = {url: URL, **({caption: CAPTION} if caption is not None else {})}
        more = [] if id_column is None else [id_column]
        chosen = list(dict.fromkeys([*renamed, *more, found.score_column]))
        _check_columns(names, {"id_column": id_column}, "the files of scores")
        for table in read(chosen):
            yield table.rename_columns([renamed.get(name, name) for name in chosen])
        return
    if id_column is None:
        raise ColumnError(f"expected a column of ids to join by, got {', '.join(names)}: name it (--id-column)")
    _check_columns(names, {"id_column": id_column}, "the files of scores")
    selected = read([id_column, found.score_column])
    yield from _joined(selected, metadata, url_column, caption_column, options, left_out)


def _joined(
    selected: Iterable[pa.Table],
    metadata: Source,
    url_column: str | None,
    caption_column: str | None,
    options: Mapping[str, Any] | None,
    left_out: Counter[str],
) -> Iterator[pa.Table]:
    """Rows of the metadata that are selected, with their scores; the ids of selected rows are held in memory."""
    files = [file for file, _ in find_files(metadata, ".parquet", options)]
    schemas = [footer.schema for footer in inspect_all(files, parquet.read_footer)]
    chosen = pa.concat_tables(selected)
    id_column, score_column = chosen.column_names
    url, caption = _text_columns(schemas[0].names, url_column, caption_column, "the metadata")
    _check_columns(schemas[0].names, {"id_column": id_column}, "the metadata")
    ids = pd.Index(_texts(chosen.column(id_column)), dtype=object)
    repeated = ids[ids.duplicated() & ids.notna()]
    if len(repeated):
        raise InputError(
            f"expected ids of one row each to join metadata by, got several rows of {repeated[0]!r}: name another "
            "column (--id-column)"
        )
    renamed = {url: URL, **({caption: CAPTION} if caption is not None else {})}
    names = list(dict.fromkeys([*renamed, id_column]))
    schema = parquet.common_schema(zip(files, schemas, strict=True), names)
    seen = np.zeros(len(ids), bool)
    for table in chain([empty_table(schema)], _batches(files, schema)):
        texts = _texts(table.column(id_column))
        at = ids.get_indexer(pd.Index(texts, dtype=object))
        at = np.where(pd.isna(texts), -1, at)
        joined = at[at >= 0]
        again = joined[seen[joined] | pd.Index(joined).duplicated()]
        if len(again):
            raise InputError(
                f"expected one row of metadata for each id, got several of {ids[again[0]]!r}: drop repeated rows, or "
                "name another column (--id-column)"
            )
        seen[joined] = True
        table = table.filter(pa.array(at >= 0)).rename_columns([renamed.get(name, name) for name in names])
        yield table.append_column(score_column, chosen.column(score_column).take(pa.array(at[at >= 0])))
    left_out["no_metadata"] += int((~seen).sum())


def _texts(column: Any) -> np.ndarray:
    texts: np.ndarray = column.cast(pa.string()).to_numpy(zero_copy_only=False)
    return texts


def _text_columns(
    names: Sequence[str], url_column: str | None, caption_column: str | None, where: str
) -> tuple[str, str | None]:
    """Names of the columns of URLs and of captions."""
    _check_columns(names, {"url_column": url_column, "caption_column": caption_column}, where)
    url = url_column or find_id_column(names, (URL,))
    if url is None:
        raise ColumnError(
            f"expected a column of URLs in {where}, got {', '.join(names)}: name it (--url-column), or files that have "
            "it (--metadata)"
        )
    return url, caption_column or find_id_column(names, CAPTIONS)


def _check_columns(names: Sequence[str], columns: Mapping[str, str | None], where: str) -> None:
    for role, name in columns.items():
        if name is not None and name not in names:
            raise ColumnError(f"expected {role} {name!r} in {where}, got {', '.join(names)}{did_you_mean(name, names)}")


def _write(path: Path, suffix: str, tables: Iterable[pa.Table], left_out: Counter[str]) -> int:
    rows = 0
    with _opened(path, suffix) as write:
        for table in tables:
            urls = table.column(URL).cast(pa.string())
            usable = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(urls), ""), False)
            if suffix != ".parquet":
                usable = pc.and_(usable, pc.invert(pc.fill_null(pc.match_substring_regex(urls, _BREAKS), False)))
            chosen = table.filter(usable)
            left_out["no_url"] += len(table) - len(chosen)
            rows += len(chosen)
            write(chosen)
    return rows


@contextmanager
def _opened(path: Path, suffix: str) -> Iterator[Callable[[pa.Table], None]]:
    """What appends a table to the file; the first one gives the columns."""
    writer: Any = None

    def write(table: pa.Table) -> None:
        nonlocal writer
        if suffix != ".parquet":
            table = _lines(table, suffix)
        if writer is None and suffix == ".parquet":
            writer = pq.ParquetWriter(path, table.schema)
        elif writer is None:
            options = pyarrow.csv.WriteOptions(include_header=suffix == ".csv", quoting_style="needed")
            writer = pyarrow.csv.CSVWriter(path, table.schema, write_options=options)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _lines(table: pa.Table, suffix: str) -> pa.Table:
    """Table as a record per line: URLs alone for .txt, and captions without line breaks."""
    if suffix == ".txt":
        return table.select([URL])
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    columns = {name: table.column(name) for name in table.column_names}
    columns |= {name: pc.replace_substring_regex(columns[name], _BREAKS, " ") for name in texts}
    return pa.table(columns)
