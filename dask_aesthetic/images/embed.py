"""Images to embeddings, statuses and scores.

Threads decode and resize images while the model encodes the batches before. Nothing here knows Dask.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dask_aesthetic.defaults import POOLING
from dask_aesthetic.embeddings import Run, unit_vectors
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidImageError
from dask_aesthetic.images import arrow
from dask_aesthetic.images.decoder import Decoder
from dask_aesthetic.images.encoder import EncoderSpec, load_encoder
from dask_aesthetic.images.feed import decode_ahead
from dask_aesthetic.images.sources import check_images, get_backend, images_of, rows_of
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_runs
from dask_aesthetic.status import IMAGE_STATUSES, ImageStatus, Status
from dask_aesthetic.validation import check_integer

DTYPES = ("float32", "float16")
ON_INVALID = ("null", "raise")
# Image status of each vector status.
_CODES = torch.from_numpy(np.array([getattr(ImageStatus, status.name, ImageStatus.OK) for status in Status], np.uint8))


@dataclass(frozen=True)
class EmbedSpec:
    """Checked arguments of an embedding run; it holds no weights.

    Attributes
    ----------
    encoder : EncoderSpec
    output_column, status_column : str
    batch_size : int or None
        Images per batch; None for the default of the device.
    dtype : {"float32", "float16"}
    pooling : {"first", "mean", "max"} or None
    exif_orientation : bool
    on_invalid : {"null", "raise"}
    options : mapping
        fsspec's storage options. They may hold secrets, so comparison, repr and token leave them out.
    """

    encoder: EncoderSpec
    output_column: str
    status_column: str
    batch_size: int | None = None
    dtype: str = "float32"
    pooling: str | None = None
    exif_orientation: bool = False
    on_invalid: str = "null"
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        image_column: str,
        *,
        model: str,
        pretrained: str | os.PathLike[str],
        batch_size: int | str,
        precision: str,
        output_column: str,
        status_column: str,
        dtype: str,
        pooling: str | None,
        exif_orientation: bool,
        on_invalid: str,
        storage_options: Mapping[str, Any] | None,
    ) -> EmbedSpec:
        """Check the arguments of ``.aesthetic.embed``."""
        for role, column, other, name in (
            ("output_column", output_column, image_column, "the image column"),
            ("status_column", status_column, image_column, "the image column"),
            ("status_column", status_column, output_column, "output_column"),
        ):
            if column == other:
                raise ColumnError.clash(role, column, name)
        for name, value, choices in (("dtype", dtype, DTYPES), ("on_invalid", on_invalid, ON_INVALID)):
            if value not in choices:
                raise ArgumentError.choice(name, value, choices)
        if pooling is not None and pooling not in POOLING:
            raise ArgumentError.choice("pooling", pooling, POOLING)
        batch_size = "auto" if batch_size == -1 and not isinstance(batch_size, bool) else batch_size  # NeMo Curator's.
        if batch_size != "auto":
            check_integer("batch_size", batch_size, minimum=1, unit="images", default="'auto'")
        return cls(
            EncoderSpec.of(model, pretrained, precision),
            output_column,
            status_column,
            None if batch_size == "auto" else int(batch_size),
            dtype,
            pooling,
            bool(exif_orientation),
            on_invalid,
            dict(storage_options or {}),
        )

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "dask_aesthetic.EmbedSpec", repr(self)


def embed_images(images: Any, spec: EmbedSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and statuses of the images in each row.

    Parameters
    ----------
    images : pyarrow.Array or ChunkedArray, or iterable of bytes, dict, str, list or None
        One value per row, of any kind that `embed` takes.
    spec : EmbedSpec

    Returns
    -------
    embeddings : torch.Tensor, shape (n, width), float32, on the encoder's device
        Unit vectors; NaN where the status is not OK.
    status : torch.Tensor, shape (n,), uint8, on the CPU
        `ImageStatus` of every row.

    Raises
    ------
    EncoderError, ArgumentError, ColumnError, MissingDependencyError
        The model, the arguments or the column are at fault, not a row.
    """
    counts: list[int] = []

    def flat() -> Iterator[Any]:
        for row in rows_of(images):
            sources = images_of(row, spec.pooling)
            counts.append(len(sources))
            yield from sources

    embeddings, status = _embed_flat(flat(), spec)
    if len(counts) == len(status):
        return embeddings, status
    return _pool(embeddings, status, np.array(counts), spec)


def embed_column(
    column: Any,
    spec: EmbedSpec,
    score_spec: ScoreSpec | None = None,
    keep_embedding: bool = True,
    partition: int | None = None,
) -> Any:
    """Embed an image column of one partition and, if asked, score the embeddings on the same device.

    Parameters
    ----------
    column : pandas.Series or cudf.Series
    spec : EmbedSpec
    score_spec : ScoreSpec, optional
        Adds a column of each predictor's scores.
    keep_embedding : bool
        Whether the result has a column of embeddings.
    partition : int, optional
        Number of the partition, for errors.

    Returns
    -------
    pandas.DataFrame or cudf.DataFrame, with the column's index
        Embeddings (lists of float32 or float16, of fixed size where the frame's library can hold and keep those),
        null where a row has none; scores (float32), NaN there; statuses (category).

    Raises
    ------
    InvalidImageError
        A row has no usable image and ``spec.on_invalid`` is "raise".
    """
    # Invalid values in an object column become statuses, even where they fill a whole partition.
    if column.dtype != object:
        check_images(column, spec.pooling)
    backend = get_backend(column)
    embeddings, status = embed_images(backend.images(column), spec)
    _raise_on_invalid(column, status, spec, partition)
    columns: dict[str, Any] = {}
    if keep_embedding:
        columns[spec.output_column] = backend.lists(embeddings, status == ImageStatus.OK, spec.dtype)
    if score_spec is not None:
        columns.update(zip(score_spec.score_columns, score_images(embeddings, status, score_spec), strict=True))
    columns[spec.status_column] = backend.categories(status, IMAGE_STATUSES)
    return backend.to_frame(columns, column.index)


def score_images(embeddings: torch.Tensor, status: torch.Tensor, spec: ScoreSpec) -> np.ndarray:
    """Scores, shape (k, n), of the embeddings that `embed_images` returns, float32, NaN where the status is not OK."""
    # Predictors know no image statuses: any failed image is a missing embedding.
    known = torch.where(status == ImageStatus.OK, Status.OK, Status.MISSING).to(embeddings.device, torch.uint8)
    return score_runs([Run(known, embeddings)], spec)[0].cpu().numpy()


def embedding_lists(embeddings: torch.Tensor, status: torch.Tensor, dtype: str, fixed_size: bool) -> pa.Array:
    """Arrow lists of the embeddings that `embed_images` returns, null where the status is not OK."""
    return arrow.lists(embeddings, status == ImageStatus.OK, dtype, fixed_size)


def _raise_on_invalid(column: Any, status: torch.Tensor, spec: EmbedSpec, partition: int | None) -> None:
    failed = torch.nonzero(status != ImageStatus.OK)
    if spec.on_invalid == "raise" and len(failed):
        row = int(failed[0, 0])
        raise InvalidImageError(column.name, partition, row, column.index[row], IMAGE_STATUSES[int(status[row])])


def _embed_flat(images: Iterator[Any], spec: EmbedSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and statuses, one per image."""
    first = next(images, images)
    if first is images:  # No image needs the model.
        return torch.from_numpy(np.empty((0, spec.encoder.width), np.float32)), torch.from_numpy(np.empty(0, np.uint8))
    encoder = load_encoder(spec.encoder)

    decode = Decoder(encoder.resizer, spec.exif_orientation, spec.options)
    codes: list[int] = []
    encoded: list[torch.Tensor] = []
    decoded_rows: list[int] = []
    size = encoder.batch_size(spec.batch_size)
    shape = size, encoder.resizer.height, encoder.resizer.width, 3
    with closing(decode_ahead(chain([first], images), decode, shape, encoder.device, codes)) as batches:
        for pixels, rows in batches:
            encoded.append(encoder.encode(pixels, size))
            decoded_rows += rows
    status = torch.tensor(codes, dtype=torch.uint8, device="cpu")
    embeddings = torch.full((len(codes), spec.encoder.width), torch.nan, dtype=torch.float32, device=encoder.device)
    if encoded:
        embeddings[decoded_rows], status[decoded_rows] = _units(torch.cat(encoded))
    return embeddings, status


def _pool(
    embeddings: torch.Tensor, status: torch.Tensor, counts: np.ndarray, spec: EmbedSpec
) -> tuple[torch.Tensor, torch.Tensor]:
    """One embedding per row from `counts` embeddings each; a row fails if one of its images does."""
    starts = np.cumsum(counts) - counts
    each = embeddings.cpu().numpy().astype(np.float64)
    if spec.pooling == "max":
        pooled = np.maximum.reduceat(each, starts)
    else:
        pooled = np.add.reduceat(each, starts) / counts[:, None]
    failed = torch.from_numpy(np.maximum.reduceat(status.numpy(), starts))
    units, status = _units(torch.from_numpy(pooled))
    return units.to(embeddings.device), torch.where(failed == ImageStatus.OK, status, failed)


def _units(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors, float32, NaN where a vector has no direction; and image statuses, on the CPU."""
    units, status = unit_vectors(vectors)
    units[status != Status.OK] = torch.nan
    return units.to(torch.float32), _CODES[status.cpu().long()]
