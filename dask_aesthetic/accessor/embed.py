"""Methods that embed images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal

from dask_aesthetic.choices import Dtype, Frame, OnInvalid, Pooling, Precision, Scale
from dask_aesthetic.defaults import (
    EMBEDDING_COLUMN,
    IMAGE_COLUMN,
    IMAGE_STATUS_COLUMN,
    KEEP_COLUMN,
    MODEL,
    PREDICTOR,
    PRETRAINED,
    THRESHOLD,
)
from dask_aesthetic.errors import ColumnError
from dask_aesthetic.proxies import through_proxies

if TYPE_CHECKING:
    from dask_aesthetic.keep_rule import Keep
    from dask_aesthetic.predictors import Predictors
    from dask_aesthetic.thresholds import Threshold


class EmbedMethods(Generic[Frame]):
    """Methods that compute embeddings, and scores, of images: lazy on Dask frames."""

    _frame: Any

    def embed(
        self,
        image_column: str = IMAGE_COLUMN,
        *,
        model: str = MODEL,
        pretrained: str | os.PathLike[str] = PRETRAINED,
        batch_size: int | Literal["auto"] = "auto",
        precision: Precision = "auto",
        output_column: str = EMBEDDING_COLUMN,
        status_column: str = IMAGE_STATUS_COLUMN,
        dtype: Dtype = "float32",
        pooling: Pooling | None = None,
        exif_orientation: bool = False,
        on_invalid: OnInvalid = "null",
        storage_options: Mapping[str, Any] | None = None,
        replace_columns: bool = False,
    ) -> Frame:
        """Add columns with the CLIP embedding and the status of each row's image, by open_clip.

        Parameters
        ----------
        image_column : str
            Column with an image per row: encoded bytes; a struct of ``bytes`` and ``path``, as Hugging Face writes it
            (the path is used where bytes are null); a path or fsspec URL, which the workers open; or a list of these.
            Lists of uint8 count as bytes.
        model : str
            Name of the encoder in open_clip.
        pretrained : str or path
            A tag of open_clip, which downloads its weights; the path of a checkpoint, the same on every worker; or a
            Hugging Face id ``owner/name@revision`` with 40 hex digits. Only the latter two are certain to be the same
            in the next run.
        batch_size : int or "auto"
            Most images encoded together: "auto" is 256 on GPUs and 8 elsewhere, and no number is more. It is halved
            while the device runs out of memory.
        precision : {"auto", "float32", "bfloat16", "float16"}
            Precision in which the model computes; "auto" is bfloat16 on GPUs and float32 elsewhere. On Dask frames each
            worker decides for its own partitions: name a precision where some have a GPU and others have none.
        output_column, status_column : str
            Names of the added columns.
        dtype : {"float32", "float16"}
            Type of the stored embeddings; cuDF has float32 alone.
        pooling : {"first", "mean", "max"}, optional
            Embedding of a row that has a list of images: the first image's, or the mean or maximum of all in each
            dimension, normalized to unit length again. Lists are refused unless it is given.
        exif_orientation : bool
            Rotate images by their EXIF orientation. CLIP's own preprocessing ignores it, and so does every published
            score.
        on_invalid : {"null", "raise"}
            A row without a usable image gets a missing embedding, or raises.
        storage_options : mapping, optional
            Options of fsspec's file system.
        replace_columns : bool
            Let the added columns replace those of the frame that have their names, which is refused otherwise.

        Returns
        -------
        DataFrame
            The same frame, rows, order and index, with ``image_embedding`` (list of as many floats as the model gives,
            of unit length; null where the status is not ``ok``; a fixed-size list from pyarrow 26 on, as earlier ones
            cannot keep nulls of those in Parquet files, and a list in cuDF) and ``image_status`` (category):
            ``missing``: null, an empty list or path; ``unreadable``: a path or URL that cannot be read, or no image
            at all; ``too_large``: more than 89,478,485 pixels, before or after its shorter side is resized to the
            model's; ``undecodable``: empty, truncated, or of a format that Pillow does not read; ``not_finite`` and
            ``zero``: the model's output.

        Raises
        ------
        ColumnError
            The image column does not exist or holds no images, or an added column exists already.
        EncoderError, ArgumentError
            The model, weights or another argument is not usable.
        InvalidImageError
            Under ``on_invalid="raise"``, with partition, row and reason; lazily on Dask frames.
        MissingDependencyError
            ``pip install 'dask-aesthetic[embed]'`` installs the dependencies.

        Notes
        -----
        Pillow decodes images (JPEG, PNG, WebP, GIF, BMP, TIFF, MPO, AVIF, JPEG 2000, PPM, QOI, PSD; HEIF once
        pillow-heif is registered on every worker), in as many threads per worker as it has CPU cores. open_clip's own
        preprocessing of the model follows: images are resized in their own mode, bicubic in Pillow, then converted to
        RGB. So CMYK is converted without its color profile; a palette is resized to the nearest pixel; transparency
        is dropped, and shows the color under it; gray is repeated. The first frame of an animation counts. One thing
        differs: gray with 16 bits, which Pillow would turn white, keeps its upper 8, as colors with 16 bits do in
        Pillow. Wider numbers are ``undecodable``. A list fails where one of its images does.

        The model is loaded once per worker process, and is in no graph. The last batch is padded, so on one kind of
        machine an embedding is the same bytes in any partition. Smaller batch sizes, another number of threads, and
        other machines change it by less than 1e-6 in float32, which is full float32 (no TF32) on GPUs too; bfloat16 and
        float16 change by their rounding.

        Examples
        --------
        >>> import dask_aesthetic
        >>> embedded = frame.aesthetic.embed("image")  # doctest: +SKIP
        >>> embedded["image_status"].value_counts()  # doctest: +SKIP
        >>> embedded.aesthetic.score()  # doctest: +SKIP
        """
        from dask_aesthetic import frame as frames
        from dask_aesthetic.images import EmbedSpec

        spec = EmbedSpec.of(
            image_column,
            model=model,
            pretrained=pretrained,
            batch_size=batch_size,
            precision=precision,
            output_column=output_column,
            status_column=status_column,
            dtype=dtype,
            pooling=pooling,
            exif_orientation=exif_orientation,
            on_invalid=on_invalid,
            storage_options=storage_options,
        )
        return through_proxies(frames.embed, self._frame, image_column, spec, replace_columns)

    def embed_and_score(
        self,
        image_column: str = IMAGE_COLUMN,
        *,
        model: str = MODEL,
        pretrained: str | os.PathLike[str] = PRETRAINED,
        predictor: Predictors = PREDICTOR,
        threshold: float | str | Threshold | None = THRESHOLD,
        keep: Keep | None = None,
        override_column: str | None = None,
        scale: Scale = "raw",
        score_column: str | None = None,
        keep_column: str = KEEP_COLUMN,
        status_column: str = IMAGE_STATUS_COLUMN,
        keep_embedding: bool = False,
        output_column: str = EMBEDDING_COLUMN,
        dtype: Dtype = "float32",
        batch_size: int | Literal["auto"] = "auto",
        precision: Precision = "auto",
        pooling: Pooling | None = None,
        exif_orientation: bool = False,
        on_invalid: OnInvalid = "null",
        storage_options: Mapping[str, Any] | None = None,
        replace_columns: bool = False,
    ) -> Frame:
        """Add columns with score, keep and status of each row's image in one pass, and its embedding if requested.

        Parameters
        ----------
        image_column, model, pretrained, status_column, batch_size, precision, pooling, exif_orientation, \
on_invalid, storage_options, replace_columns
            As in `embed`.
        predictor, threshold, keep, override_column, scale, score_column, keep_column
            As in `score`.
        keep_embedding : bool
            Add the embeddings as well.
        output_column, dtype
            As in `embed`, with ``keep_embedding=True``.

        Returns
        -------
        DataFrame
            The same frame, rows, order and index, with ``aesthetic_score`` (float32, NaN where the status is not
            ``ok``) or a column per predictor, ``keep`` (bool, False there) if there is a threshold or
            rule, and ``image_status`` as in `embed`. The scores are those of `embed` followed by `score`, with float32
            embeddings.

        Raises
        ------
        EncoderError
            The predictor takes another encoder's embeddings; the message names both.
        ColumnError, ArgumentError, ThresholdError, PredictorError, InvalidImageError, MissingDependencyError
            As in `embed` and `score`.

        Examples
        --------
        >>> import dask_aesthetic
        >>> scored = frame.aesthetic.embed_and_score("image", threshold=5.5)  # doctest: +SKIP
        >>> scored[scored["keep"]]  # doctest: +SKIP
        """
        from dask_aesthetic import frame as frames
        from dask_aesthetic.images import EmbedSpec
        from dask_aesthetic.score_spec import ScoreSpec

        spec = EmbedSpec.of(
            image_column,
            model=model,
            pretrained=pretrained,
            batch_size=batch_size,
            precision=precision,
            output_column=output_column,
            status_column=status_column,
            dtype=dtype,
            pooling=pooling,
            exif_orientation=exif_orientation,
            on_invalid=on_invalid,
            storage_options=storage_options,
        )
        score_spec = ScoreSpec.of(
            output_column,
            predictor,
            threshold,
            scale,
            score_column,
            keep_column,
            on_invalid,
            None,
            keep,
            override_column,
        )
        for role, column in score_spec.added.items():
            for name, other in (("the image column", image_column), ("status_column", status_column)):
                if column == other:
                    raise ColumnError.clash(role, column, name)
        for one in score_spec.predictors:
            spec.encoder.check_fit(one.info)
        return through_proxies(
            frames.embed_and_score, self._frame, image_column, spec, score_spec, keep_embedding, replace_columns
        )
