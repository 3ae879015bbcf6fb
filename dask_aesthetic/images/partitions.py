"""A partition's image column to columns of embeddings, scores and statuses. It knows no Dask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from dask_aesthetic.embeddings import Run
from dask_aesthetic.errors import InvalidImageError
from dask_aesthetic.images.embedding import EmbedSpec, embed_images
from dask_aesthetic.images.sources import check_images, get_backend
from dask_aesthetic.scoring import ScoreSpec, score_runs
from dask_aesthetic.status import IMAGE_STATUS_DTYPE, IMAGE_STATUSES, ImageStatus, Status


def embed_column(
    column: Any,
    spec: EmbedSpec,
    score_spec: ScoreSpec | None = None,
    keep_embedding: bool = True,
    partition: int | None = None,
) -> Any:
    """Embed a column of pictures, and score the embeddings where they are.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
    spec : EmbedSpec
    score_spec : ScoreSpec, optional
        Adds a column of scores.
    keep_embedding : bool
        Whether the embedding becomes a column.
    partition : int, optional
        Its number, for errors.

    Returns
    -------
    pandas.DataFrame or cudf.DataFrame, with the column's index
        Embeddings (lists of float32 or float16, of fixed size where the frame's library can hold and keep those),
        null where a row has none; scores (float32), NaN there; statuses (category).

    Raises
    ------
    InvalidImageError
        A row has no usable picture and ``spec.on_invalid`` is "raise".
    """
    if column.dtype != object:  # Rows that are no pictures must not stop a run because they are all of a partition.
        check_images(column, spec.pooling)
    room = get_backend(column)
    embeddings, status = embed_images(room.images(column), spec)
    _refuse(column, status, spec, partition)
    columns: dict[str, Any] = {}
    if keep_embedding:
        columns[spec.output_column] = embedding_lists(embeddings, status, spec.dtype, room.FIXED_SIZE)
    if score_spec is not None:
        columns[score_spec.score_column] = score_embeddings(embeddings, status, score_spec)
    columns[spec.status_column] = pd.Categorical.from_codes(status.numpy().astype(np.int8), dtype=IMAGE_STATUS_DTYPE)
    return room.framed(columns, column.index)


def _refuse(column: Any, status: torch.Tensor, spec: EmbedSpec, partition: int | None) -> None:
    failed = torch.nonzero(status != ImageStatus.OK)
    if spec.on_invalid == "raise" and len(failed):
        row = int(failed[0, 0])
        raise InvalidImageError(column.name, partition, row, column.index[row], IMAGE_STATUSES[int(status[row])])


def score_embeddings(embeddings: torch.Tensor, status: torch.Tensor, spec: ScoreSpec) -> np.ndarray:
    """Scores of what `embed_images` gives, float32, NaN where the status is not OK."""
    # Whatever the reason, to a predictor the embedding is missing.
    known = torch.where(status == ImageStatus.OK, Status.OK, Status.MISSING).to(embeddings.device, torch.uint8)
    return score_runs([Run(known, embeddings)], spec)[0].cpu().numpy()


def embedding_lists(embeddings: torch.Tensor, status: torch.Tensor, dtype: str, fixed_size: bool) -> pa.Array:
    """What `embed_images` gives as lists, null where the status is not OK."""
    ok = (status == ImageStatus.OK).numpy()
    rows, width = embeddings.cpu().numpy().astype(dtype), embeddings.shape[1]
    if fixed_size:
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), width, mask=pa.array(~ok))
    # Parquet takes no null list that has elements.
    ends = pa.array(np.concatenate([[0], np.cumsum(ok * width)]), pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(rows[ok].reshape(-1)), mask=pa.array(~ok))
