"""Jobs over images: options of the encoder, and the scoring of a shard's images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from dask_aesthetic.defaults import IMAGE_COLUMN, IMAGE_EXTENSIONS, MODEL, PRETRAINED, SHARDS_PER_GPU
from dask_aesthetic.errors import ArgumentError, ColumnError, InvalidImageError, JobError
from dask_aesthetic.images import (
    EmbedSpec,
    embed_images,
    embedding_lists,
    prepare_pillow,
    rows_of,
    score_images,
)
from dask_aesthetic.images.encoder import EncoderSpec, device_kind
from dask_aesthetic.io.samples import Fault
from dask_aesthetic.io.shards import Batches, Shard
from dask_aesthetic.io.storage import Digests
from dask_aesthetic.jobs.score_shard import Watch
from dask_aesthetic.jobs.settings import STATUS_COLUMN, ScoreSettings
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.shard_scores import Scored
from dask_aesthetic.status import IMAGE_STATUSES, SAMPLE_FAULTS, ImageStatus

if TYPE_CHECKING:
    from distributed import Client

TOGETHER = 128  # Batches embedded in one call: between calls the encoder waits for the first images of the next.


@dataclass(frozen=True)
class ImageOptions:
    """Options of the encoder as the user gives them; None for the default of ``.aesthetic.embed_and_score``."""

    image_column: str | None = None
    model: str | None = None
    pretrained: str | os.PathLike[str] | None = None
    precision: str | None = None
    pooling: str | None = None
    exif_orientation: bool = False
    image_extensions: tuple[str, ...] | None = None

    @property
    def column(self) -> str:
        """Name of the image column."""
        return self.image_column or IMAGE_COLUMN

    @property
    def extensions(self) -> tuple[str, ...]:
        """Extensions of images in tars."""
        return self.image_extensions or IMAGE_EXTENSIONS

    def refuse(self) -> None:
        """Refuse image options of a job that embeds no images."""
        said = [f"{name}={value!r}" for name, value in asdict(self).items() if value]
        if said:
            raise ArgumentError(f"expected embed=True (--embed) with {', '.join(said)}, got embed=False")

    def spec(
        self,
        score_spec: ScoreSpec,
        embedding_column: str,
        batch_size: Any,
        options: Mapping[str, Any] | None,
        client: Client | None,
        worker_timeout: float,
    ) -> EmbedSpec:
        """Checked options, with the precision that the executor's processes compute in; nothing is downloaded.

        Raises
        ------
        EncoderError, ArgumentError, ColumnError, MissingDependencyError
        """
        prepare_pillow()
        for role, column in score_spec.added.items():
            if column == self.column:
                raise ColumnError.clash(role, column, "the image column")
        spec = EmbedSpec.of(
            self.column,
            model=self.model or MODEL,
            pretrained=self.pretrained or PRETRAINED,
            batch_size="auto" if batch_size is None else batch_size,
            precision=self.precision or "auto",
            output_column=embedding_column,
            status_column=STATUS_COLUMN,
            dtype="float32",
            pooling=self.pooling,
            exif_orientation=self.exif_orientation,
            on_invalid=score_spec.on_invalid,
            storage_options=options,
        )
        for predictor in score_spec.predictors:
            spec.encoder.check_fit(predictor.info)
        return replace(spec, encoder=_planned(spec.encoder, client, worker_timeout))


@dataclass(frozen=True)
class ImageSettings(ScoreSettings):
    """Settings that shape the output of every shard of images.

    Attributes
    ----------
    image_column : str
    embed : EmbedSpec
    weights : str
        Identity of the encoder's weights.
    """

    image_column: str
    embed: EmbedSpec
    weights: str

    statuses: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys((*IMAGE_STATUSES, *SAMPLE_FAULTS)))
    # All downloads of a tar may have failed.
    benign_statuses: ClassVar[frozenset[str]] = frozenset(SAMPLE_FAULTS)
    task_name: ClassVar[str] = "embed-and-score-shard"
    first_timeout: ClassVar[float] = 6 * 3600.0  # A CPU may embed one image per second.

    @property
    def threads(self) -> int:
        return SHARDS_PER_GPU if device_kind() == "cuda" else 1  # Decoder and encoder take all cores as it is.

    @property
    def column(self) -> str:
        return self.image_column

    @property
    def provenance(self) -> dict[str, Any]:
        return {**super().provenance, "encoder": self._encoder()}

    def as_config(self) -> dict[str, Any]:
        return {**super().as_config(), "image_column": self.image_column, **self._encoder()}

    def _encoder(self) -> dict[str, Any]:
        """Encoder settings as JSON values."""
        return {
            "model": self.embed.encoder.model,
            "pretrained": self.weights,
            "architecture": hashlib.sha256(self.embed.encoder.architecture.encode()).hexdigest()[:16],
            "precision": self.embed.encoder.precision,
            "pillow": self.embed.encoder.pillow,
            **({"device": self.embed.encoder.device} if self.embed.encoder.device else {}),
            "pooling": self.embed.pooling,
            "exif_orientation": self.embed.exif_orientation,
        }


def image_batches(shard: Shard, settings: ImageSettings, watch: Watch, digests: Digests) -> Iterator[Scored]:
    """Rows of a shard of images, scored, which are read one batch after another as they are decoded; for `score_shard`.

    Raises
    ------
    InvalidImageError
        Under ``on_invalid="raise"``.
    EncoderError
        The model's weights cannot be had, or are not the ones that were asked for.
    """
    read = 0
    batches = watch(shard.batches(settings.read, digests=digests))
    for first in batches:
        taken: list[tuple[pa.RecordBatch, int]] = []
        faults: dict[int, str] = {}
        decoded_images = _images_of(chain([first], islice(batches, TOGETHER - 1)), taken, faults)
        embeddings, status = embed_images(decoded_images, settings.embed)
        codes = status.numpy().copy()
        for at, reason in faults.items():
            codes[at] = settings.statuses.index(reason)
        _refuse(codes, settings, shard.name, read)
        lists = embedding_lists(embeddings, status, settings.embed.dtype, fixed_size=False)
        scores = score_images(embeddings, status, settings.spec)
        read += len(codes)
        at = 0
        for passthrough, rows in taken:
            here = slice(at, at + rows)
            yield Scored(settings.with_embedding(passthrough, lists[here], codes[here]), scores[:, here], codes[here])
            at += rows


def _refuse(codes: np.ndarray, settings: ImageSettings, shard: str, start: int) -> None:
    failed = np.flatnonzero(codes != ImageStatus.OK)
    if settings.spec.on_invalid == "raise" and len(failed):
        reason = settings.statuses[codes[failed[0]]]
        raise InvalidImageError(settings.image_column, f"shard {shard}", start + int(failed[0]), None, reason)


def _planned(encoder: EncoderSpec, client: Client | None, worker_timeout: float) -> EncoderSpec:
    """Encoder whose precision and device all shards share, whoever scores them and whenever the job is resumed.

    Raises
    ------
    JobError
        There is no worker for `worker_timeout` seconds.
    """
    if encoder.precision == "float32":
        return encoder
    if client is None:
        return encoder.on([device_kind()])
    # An adaptive cluster has no workers before there is a task.
    kinds = list(client.run(device_kind, on_error="ignore").values())
    if not kinds:
        task = client.submit(device_kind, pure=False)
        try:
            kinds = [task.result(timeout=worker_timeout)]
        except TimeoutError as error:
            task.cancel()
            what = f"expected a worker within {worker_timeout:.0f} s, got none: start some and try again"
            raise JobError(what) from error
    return encoder.on(kinds)


def _images_of(batches: Batches, taken: list[tuple[pa.RecordBatch, int]], faults: dict[int, str]) -> Iterator[Any]:
    """Images of batches, None where there is a fault; appends the passthrough columns and faults of the rows."""
    start = 0
    for passthrough, values in batches:
        taken.append((passthrough, len(values)))
        for at, row in enumerate(rows_of(values), start):
            if isinstance(row, Fault):
                faults[at] = row.status
            yield None if isinstance(row, Fault) else row
        start += len(values)
