"""Score a folder of Parquet files into files of the same names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_aesthetic.errors import InputError
from dask_aesthetic.inputs import parquet
from dask_aesthetic.job.file import score_file
from dask_aesthetic.job.summary import Summary
from dask_aesthetic.predictors import DEFAULT
from dask_aesthetic.scoring import ScoreSpec
from dask_aesthetic.thresholds import Threshold


def score_dataset(
    source: str | os.PathLike[str], output: str | os.PathLike[str], *, executor: Executor | None = None, **options: Any
) -> Summary:
    """Score Parquet files into Parquet files of the same names.

    Parameters
    ----------
    source, output
        As in `plan_dataset`.
    executor : concurrent.futures.Executor, optional
        Where files are scored: one thread per CPU core if not given, ``client.get_executor()`` for a Dask cluster.
    **options
        As in `plan_dataset`.

    Returns
    -------
    Summary

    Raises
    ------
    InputError, ColumnError
        Nothing to read, or nowhere to write; found before anything is written.
    InvalidEmbeddingError
        Under ``on_invalid="raise"``.

    Notes
    -----
    The output holds the carried columns, the score (null where a row has no usable embedding), ``keep`` and
    ``status``; its schema's metadata says under the key ``dask_aesthetic`` which predictor, scale and threshold made
    it. A file appears under its name only when it is whole.
    """
    plan = plan_dataset(source, output, **options)
    if executor is not None:
        return plan.run(executor)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return plan.run(threads)


@dataclass(frozen=True)
class Plan:
    """A run that can start: every input has been found readable, and no output is in the way.

    Attributes
    ----------
    spec : ScoreSpec
    embedding_column : str
    columns : {"ids", "all"} or list of str
    files, targets : list of Path
    output : Path
    rows : int
        In all files, by their footers.
    """

    spec: ScoreSpec
    embedding_column: str
    columns: str | Sequence[str]
    files: list[Path]
    targets: list[Path]
    output: Path
    rows: int

    def run(self, executor: Executor, progress: Callable[[Summary], None] | None = None) -> Summary:
        """Score every file; the first failure cancels the files that have not begun, whole files stay."""
        self.output.mkdir(parents=True, exist_ok=True)
        futures = [
            executor.submit(score_file, file, target, self.embedding_column, self.spec, self.columns)
            for file, target in zip(self.files, self.targets, strict=True)
        ]
        total = Summary()
        try:
            for future in as_completed(futures):
                part = future.result()
                total += part
                if progress is not None:
                    progress(part)
        finally:
            for future in futures:
                future.cancel()
        return total


def plan_dataset(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    embedding_column: str = "image_embedding",
    predictor: Any = DEFAULT,
    threshold: float | str | Threshold = "standard",
    scale: str = "raw",
    columns: str | Sequence[str] = "ids",
    score_column: str = "aesthetic_score",
    keep_column: str = "keep",
    on_invalid: str = "null",
    batch_size: int | None = None,
    overwrite: bool = False,
) -> Plan:
    """Look at what is to be scored, and refuse what cannot be, before anything is written.

    Parameters
    ----------
    source : str or path
        A Parquet file, a folder of them (searched through) or a glob.
    output : str or path
        Folder for the scored files; made if it is not there.
    embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size
        As in ``.aesthetic.score``.
    columns : {"ids", "all"} or list of str
        What is carried over: the columns named key, uid, url, hash, id or image_path in any case; all but the
        embedding; or those named.
    overwrite : bool
        Write over files of an earlier run.

    Returns
    -------
    Plan

    Raises
    ------
    InputError, ColumnError, ArgumentError, ThresholdError, PredictorError
    """
    spec = ScoreSpec.of(
        embedding_column, predictor, threshold, scale, score_column, keep_column, on_invalid, batch_size
    )
    files = parquet.find_files(os.fspath(source))
    rows = 0
    for file in files:
        schema, file_rows = parquet.read_footer(file)
        parquet.check_embedding(schema, embedding_column)
        parquet.choose_columns(schema, columns, embedding_column)
        rows += file_rows
    targets = [_target(file, Path(output), overwrite) for file in files]
    return Plan(spec, embedding_column, columns, files, targets, Path(output), rows)


def _target(file: Path, folder: Path, overwrite: bool) -> Path:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder to write to, got the file {folder}")
    target = folder / f"{file.stem}.parquet"
    if target.exists() and target.samefile(file):
        raise InputError(f"expected another folder to write to than {folder}, which holds the input {file.name}")
    if target.exists() and not overwrite:
        raise InputError(f"expected no {target.name} in {folder}, got one: choose another folder or overwrite it")
    return target
