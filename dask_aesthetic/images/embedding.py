"""Pictures to embeddings: decoded and brought to size by threads, while the model works on the batch before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch

from dask_aesthetic.defaults import POOLING
from dask_aesthetic.embeddings import unit_vectors
from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.images.decode import pixels
from dask_aesthetic.images.encoder import Encoder, EncoderSpec, load_encoder
from dask_aesthetic.images.pool import decoding
from dask_aesthetic.images.sources import pictures_of, read_picture, rows_of
from dask_aesthetic.status import ImageStatus, Status
from dask_aesthetic.validation import check_integer

DTYPES = ("float32", "float16")
ON_INVALID = ("null", "raise")
# By `Status` of the vector.
_OF_VECTORS = torch.tensor([getattr(ImageStatus, status.name, ImageStatus.OK) for status in Status], dtype=torch.uint8)


@dataclass(frozen=True)
class EmbedSpec:
    """What is asked of an embedding, checked and complete; it holds no weights.

    Attributes
    ----------
    encoder : EncoderSpec
    output_column, status_column : str
    batch_size : int or None
        None for as many as do not run out of memory.
    dtype : {"float32", "float16"}
    pooling : {"first", "mean", "max"} or None
    exif_orientation : bool
    on_invalid : {"null", "raise"}
    options : mapping
        fsspec's storage options. They may hold secrets, so they are in no comparison, text or token.
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
    """Embed the pictures of rows.

    Parameters
    ----------
    images : pyarrow.Array or ChunkedArray, or iterable of bytes, dict, str, list or None
        What `embed` takes, one per row.
    spec : EmbedSpec

    Returns
    -------
    embeddings : torch.Tensor, shape (n, width), float32, on the encoder's device
        Of unit length; NaN where a row has none.
    status : torch.Tensor, shape (n,), uint8, on the CPU
        `ImageStatus` of every row.

    Raises
    ------
    EncoderError, ArgumentError, ColumnError, MissingDependencyError
        The run cannot go on, whatever the row.
    """
    counts: list[int] = []

    def pictures() -> Iterator[Any]:
        for row in rows_of(images):
            its = pictures_of(row, spec.pooling)
            counts.append(len(its))
            yield from its

    embeddings, status = _embed_pictures(pictures(), spec)
    if len(counts) == len(status):
        return embeddings, status
    return _merged(embeddings, status, np.array(counts), spec)


def _embed_pictures(pictures: Iterator[Any], spec: EmbedSpec) -> tuple[torch.Tensor, torch.Tensor]:
    first = next(pictures, pictures)
    if first is pictures:  # Nothing to load a model for.
        return torch.empty(0, spec.encoder.width), torch.empty(0, dtype=torch.uint8)
    encoder = load_encoder(spec.encoder)
    codes: list[int] = []
    encoded: list[tuple[torch.Tensor, list[int]]] = []
    ready: list[np.ndarray] = []
    rows: list[int] = []

    def encode() -> None:
        encoded.append((encoder.encode(torch.from_numpy(np.stack(ready))), rows.copy()))
        ready.clear()
        rows.clear()

    with closing(_decoded(chain([first], pictures), encoder, spec)) as decoded:
        for picture in decoded:
            if isinstance(picture, ImageStatus):
                codes.append(picture)
                continue
            ready.append(picture)
            rows.append(len(codes))
            codes.append(ImageStatus.OK)
            if len(ready) >= encoder.batch_size(spec.batch_size):
                encode()
    if ready:
        encode()
    status = torch.tensor(codes, dtype=torch.uint8)
    embeddings = torch.full((len(codes), spec.encoder.width), torch.nan, device=encoder.device)
    for vectors, at in encoded:
        embeddings[at], status[at] = _units(vectors)
    return embeddings, status


def _decoded(
    pictures: Iterable[Any], encoder: Encoder, spec: EmbedSpec
) -> Generator[np.ndarray | ImageStatus, None, None]:
    """Pictures in the size of the model, in order; two batches are under way while one is worked on."""
    pending: deque[Future[np.ndarray | ImageStatus]] = deque()
    with decoding() as threads:
        try:
            for picture in pictures:
                pending.append(threads.submit(_decode, picture, encoder, spec))
                if len(pending) > 2 * encoder.batch_size(spec.batch_size):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _decode(picture: Any, encoder: Encoder, spec: EmbedSpec) -> np.ndarray | ImageStatus:
    data = read_picture(picture, spec.options)
    if isinstance(data, ImageStatus):
        return data
    return pixels(data, encoder.transform, encoder.side, spec.exif_orientation)


def _merged(
    embeddings: torch.Tensor, status: torch.Tensor, counts: np.ndarray, spec: EmbedSpec
) -> tuple[torch.Tensor, torch.Tensor]:
    """One embedding per row from `counts` of them; a row fails if one of its pictures does."""
    starts = np.cumsum(counts) - counts
    each = embeddings.cpu().numpy().astype(np.float64)
    if spec.pooling == "max":
        merged = np.maximum.reduceat(each, starts)
    else:
        merged = np.add.reduceat(each, starts) / counts[:, None]
    failed = torch.from_numpy(np.maximum.reduceat(status.numpy(), starts))
    units, status = _units(torch.from_numpy(merged))
    return units.to(embeddings.device), torch.where(failed == ImageStatus.OK, status, failed)


def _units(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors in unit length, float32, NaN where they have none; and their status, on the CPU."""
    units, status = unit_vectors(vectors)
    units[status != Status.OK] = torch.nan
    return units.to(torch.float32), _OF_VECTORS[status.cpu().long()]
