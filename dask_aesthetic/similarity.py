"""Similarity of image and text embeddings, row by row: runs of two columns or arrays, in step. It knows no Dask.

A row has a similarity if both of its embeddings are usable, by the statuses that scoring gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dask_aesthetic import embeddings
from dask_aesthetic.defaults import SIMILARITY_WIDTH
from dask_aesthetic.embeddings import Run
from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidEmbeddingError
from dask_aesthetic.kernels import Vectors
from dask_aesthetic.kernels.pairs import cosines
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo
from dask_aesthetic.score_spec import ON_INVALID, ScoreSpec
from dask_aesthetic.scoring import first_invalid, run_status
from dask_aesthetic.status import STATUSES, Status
from dask_aesthetic.validation import check_column_name, check_integer, check_new_name

Seen = Callable[[torch.Tensor], None]


@dataclass(frozen=True)
class SimilaritySpec:
    """Checked arguments of ``.aesthetic.similarity``.

    Attributes
    ----------
    embedding_column, text_column : str
        Columns of embeddings.
    similarity_column : str
    width : int or None
        Floats per embedding; None before the columns' types are known.
    on_invalid : {"null", "raise"}
    embedding_dtype : str or None
        Of the columns that hold bytes.
    """

    embedding_column: str
    text_column: str
    similarity_column: str
    width: int | None = None
    on_invalid: str = "null"
    embedding_dtype: str | None = None

    def __post_init__(self) -> None:
        check_column_name("embedding_column", self.embedding_column)
        check_column_name("text_column", self.text_column)
        check_new_name("similarity_column", self.similarity_column)
        if self.text_column == self.embedding_column:
            raise ColumnError.clash("text_column", self.text_column, "embedding_column")
        for name, column in (("embedding_column", self.embedding_column), ("text_column", self.text_column)):
            if self.similarity_column == column:
                raise ColumnError.clash("similarity_column", column, name)
        if self.on_invalid not in ON_INVALID:
            raise ArgumentError.choice("on_invalid", self.on_invalid, ON_INVALID)
        if self.width is not None:
            width = check_integer("width", self.width, minimum=1, unit="floats", default="None")
            object.__setattr__(self, "width", width)

    @property
    def columns(self) -> tuple[str, str]:
        """Names of the two columns of embeddings."""
        return self.embedding_column, self.text_column

    def dtype_of(self, column: Any) -> str | None:
        """Dtype by which a column is unpacked; None for lists."""
        return self.embedding_dtype if embeddings.holds_bytes(column) else None

    def find_width(self, of_images: int | None, of_texts: int | None) -> int:
        """Width of the embeddings: as requested, by the widths of the columns' types, or else the default.

        Raises
        ------
        ColumnError
            A column's type has another width.
        """
        widths = dict(zip(self.columns, (of_images, of_texts), strict=True))
        known = {name: width for name, width in widths.items() if width is not None}
        expected = self.width or next(iter(known.values()), SIMILARITY_WIDTH)
        for name, width in known.items():
            if width != expected:
                others = ", ".join(f"{held} in {other!r}" for other, held in known.items() if other != name)
                raise ColumnError(
                    f"expected embeddings of {expected} floats in {name!r}, got {width}"
                    + (f" beside {others}: similarity compares embeddings of one encoder" if others else "")
                )
        return expected

    def score_spec(self, width: int) -> ScoreSpec:
        """What stands for a predictor of these embeddings in messages."""
        info = PredictorInfo(name=f"similarity(width={width})", width=width)
        return ScoreSpec((AffinePredictor(np.zeros(width), 0.0, info),), (self.similarity_column,))


def similarity_column(
    images: Any, texts: Any, spec: SimilaritySpec, width: int, partition: int | None = None, seen: tuple[Seen, ...] = ()
) -> Any:
    """Similarity of two columns of embeddings of one frame.

    Parameters
    ----------
    images, texts : pandas.Series or cudf.Series
        A list of `width` floats per row, or null.
    spec : SimilaritySpec
    width : int
    partition : int, optional
        Number of the partition, for errors.
    seen : tuple of callable, optional
        One for each column, called with the `Status` codes of its rows.

    Returns
    -------
    pandas.Series or cudf.Series of float32, with the columns' index
        NaN where an embedding is not usable.

    Raises
    ------
    InvalidEmbeddingError
        An embedding is not usable and ``spec.on_invalid`` is "raise".
    """

    def build(values: torch.Tensor) -> Any:
        return embeddings.to_series(values, images, spec.similarity_column)

    return _compute(images, texts, spec, width, partition, seen, build)


def similarity_frame(frame: Any, spec: SimilaritySpec, width: int, seen: tuple[Seen, ...]) -> Any:
    """Frame in memory with the similarity of its columns added; arguments and errors as of `similarity_column`."""
    images, texts = (frame[name] for name in spec.columns)

    def build(values: torch.Tensor) -> Any:
        return embeddings.add_columns(frame, images, {spec.similarity_column: values})

    return _compute(images, texts, spec, width, None, seen, build)


def _compute(
    images: Any,
    texts: Any,
    spec: SimilaritySpec,
    width: int,
    partition: int | None,
    seen: tuple[Seen, ...],
    build: Callable[[torch.Tensor], Any],
) -> Any:
    images, texts = (embeddings.unpack(column, spec.dtype_of(column)) for column in (images, texts))
    with embeddings.stream(images):
        values, *statuses = _of_runs(embeddings.runs(images, width), embeddings.runs(texts, width))
        for column, status in zip((images, texts), statuses, strict=True):
            row = first_invalid(status) if spec.on_invalid == "raise" else None
            if row is not None:
                reason = STATUSES[int(status[row])]
                kind = embeddings.describe(column.iloc[row]) if status[row] == Status.WRONG_TYPE else ""
                raise InvalidEmbeddingError(column.name, partition, row, column.index[row], reason, width, kind)
        for call, status in zip(seen, statuses, strict=False):
            call(status)
        return build(values)


def similarity_arrays(
    images: Any, texts: Any, spec: SimilaritySpec, width: int, place: str, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of consecutive rows of a file, and the statuses of their texts.

    Parameters
    ----------
    images, texts : pyarrow.Array
        A list of `width` floats per row, or null.
    spec : SimilaritySpec
    width : int
    place : str
        Name of the file or shard, for errors.
    start : int
        Position of the first row there, for errors.

    Returns
    -------
    similarities : numpy.ndarray, shape (n,), float32
        NaN where one of the two embeddings is not usable.
    status : numpy.ndarray, shape (n,), uint8
        `Status` codes of the texts.

    Raises
    ------
    InvalidEmbeddingError
        A text embedding is not usable and ``spec.on_invalid`` is "raise".
    """
    values, _, status = _of_runs(array_runs(images, width), array_runs(texts, width))
    row = first_invalid(status) if spec.on_invalid == "raise" else None
    if row is not None:
        raise InvalidEmbeddingError(spec.text_column, place, start + row, None, STATUSES[int(status[row])], width)
    return values.numpy(), status.numpy()


def _of_runs(images: Iterator[Run], texts: Iterator[Run]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Similarities, shape (n,), float32, and the `Status` codes of both sides, (n,), uint8."""
    found = [_similarity(*pair) for pair in _pairs(images, texts)]
    if not found:
        nothing = torch.from_numpy(np.empty(0, np.float32)), torch.from_numpy(np.empty(0, np.uint8))
        return *nothing, nothing[1]
    values, first, second = (torch.cat(parts) for parts in zip(*found, strict=True))
    return values, first, second


def _pairs(first: Iterator[Run], second: Iterator[Run]) -> Iterator[tuple[Run, Run]]:
    """Runs of the same rows of two columns; a run's memory is there until the next one of its column is asked for."""
    a = b = None
    at = to = 0
    while True:
        if a is None or at == len(a.status):
            a, at = next(first, None), 0
        if b is None or to == len(b.status):
            b, to = next(second, None), 0
        if a is None or b is None:
            return
        rows = min(len(a.status) - at, len(b.status) - to)
        yield _rows(a, at, at + rows), _rows(b, to, to + rows)
        at, to = at + rows, to + rows


def _rows(run: Run, start: int, end: int) -> Run:
    if start == 0 and end == len(run.status):
        return run
    status = run.status[start:end]
    if run.present is None:
        return Run(status, run.vectors[start:end])
    before = int(run.present[:start].sum())
    present = run.present[start:end]
    return Run(status, run.vectors[before : before + int(present.sum())], present)


def _similarity(first: Run, second: Run) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Similarity of each row, NaN where a status is not OK, and the statuses of both."""
    a, b, both = first.vectors, second.vectors, None
    if first.present is not None or second.present is not None:
        both = _present(first) & _present(second)
        a, b = _chosen(first, both), _chosen(second, both)
    values, *lengths = cosines(a, b)
    statuses = [first.status, second.status]
    rows = torch.cat([embeddings.suspicious(length) for length in lengths]).unique()
    if len(rows):
        scaled = [embeddings.scale_rows(vectors[rows])[0] for vectors in (a, b)]
        values[rows] = cosines(scaled[0], scaled[1], np.float64)[0]
    if len(rows) or both is not None:  # A row without one of the two may have another that is not usable, too.
        statuses = [run_status(first), run_status(second)]
    if both is not None:
        spread = torch.full((len(both),), torch.nan, dtype=torch.float32, device=values.device)
        spread[both] = values
        values = spread
    usable = (statuses[0] == Status.OK) & (statuses[1] == Status.OK)
    return torch.where(usable, values, torch.nan), statuses[0], statuses[1]


def _present(run: Run) -> torch.Tensor:
    return torch.ones_like(run.status, dtype=torch.bool) if run.present is None else run.present


def _chosen(run: Run, rows: torch.Tensor) -> Vectors:
    """Vectors of rows that all have one; those of the run itself where it has no others."""
    chosen = rows if run.present is None else rows[run.present]
    return run.vectors if bool(chosen.all()) else run.vectors[chosen]
