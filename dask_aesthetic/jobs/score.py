"""Scoring of files into Parquet files of the same names, durably."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dask_aesthetic.choices import EmbeddingDtype, Format, OnInvalid, Pooling, Precision, Scale, Style
from dask_aesthetic.defaults import (
    IMAGES_PER_SHARD,
    MATRIX_KEY,
    PREDICTOR,
    ROWS_PER_SHARD,
    SIMILARITY_COLUMN,
    STYLE_NAMES,
    STYLES,
    TEXT_KEY,
    THRESHOLD,
    WORKER_TIMEOUT,
)
from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.io.formats import describe_left_out
from dask_aesthetic.io.image_shards import find_image_shards
from dask_aesthetic.io.listing import list_files
from dask_aesthetic.io.shards import MatrixShard, find_shards
from dask_aesthetic.jobs.columns import computed_columns, other_columns, passthrough_schema
from dask_aesthetic.jobs.first_rows import check_first_rows, check_first_texts, refuse_other_widths
from dask_aesthetic.jobs.image_scoring import ImageOptions, ImageSettings, image_batches
from dask_aesthetic.jobs.markers import ShardMarker
from dask_aesthetic.jobs.on_workers import map_on
from dask_aesthetic.jobs.pool import Pool, check_client
from dask_aesthetic.jobs.runner import Timing, failures_allowed, run_plan
from dask_aesthetic.jobs.score_plan import ScorePlan, plan_run
from dask_aesthetic.jobs.score_shard import embedding_batches
from dask_aesthetic.jobs.settings import STATUS_COLUMN, ScoreSettings
from dask_aesthetic.jobs.store import Store, refuse_overlap
from dask_aesthetic.jobs.summary import JobSummary
from dask_aesthetic.keep_rule import Keep
from dask_aesthetic.predictors import Predictors
from dask_aesthetic.score_spec import ScoreSpec, refuse_same_names
from dask_aesthetic.shard_texts import TextSide
from dask_aesthetic.similarity import SimilaritySpec
from dask_aesthetic.thresholds import Threshold
from dask_aesthetic.validation import check_integer, is_integer, is_number

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


def score_dataset(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    client: Client | None = None,
    threads: int | None = None,
    max_failed: float | None = None,
    progress: Callable[[ShardMarker], None] | None = None,
    format: Format = "auto",  # noqa: A002
    embedding_column: str = "image_embedding",
    matrix_key: str | None = None,
    text_column: str | None = None,
    text_key: str = TEXT_KEY,
    similarity_column: str = SIMILARITY_COLUMN,
    predictor: Predictors = PREDICTOR,
    threshold: float | str | Threshold | None = THRESHOLD,
    keep: Keep | None = None,
    override_column: str | None = None,
    scale: Scale = "raw",
    columns: str | Sequence[str] = "ids",
    style: Style = "default",
    score_column: str | None = None,
    keep_column: str = "keep",
    keep_only: bool = False,
    embedding_hash: bool = False,
    on_invalid: OnInvalid = "null",
    batch_size: int | None = None,
    rows_per_shard: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    verify: bool = False,
    allow_unusable: bool = False,
    embed: bool = False,
    image_column: str | None = None,
    model: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    precision: Precision | None = None,
    pooling: Pooling | None = None,
    exif_orientation: bool = False,
    image_extensions: str | Sequence[str] | None = None,
    worker_timeout: float = WORKER_TIMEOUT,
    replace_columns: bool = False,
    part: tuple[int, int] | None = None,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
) -> JobSummary:
    """Score a data set on disk into Parquet files, durably; the same call resumes a run that was stopped.

    Parameters
    ----------
    source : str, path or list of them
        A file, a folder (searched through), a glob, or a name with braces such as ``{00000..00099}.tar``; a local path
        or any URL that fsspec knows.
    output : str or path
        Folder for the scored files, or an fsspec URL; created if it is missing.
    client : distributed.Client, optional
        Dask cluster whose workers score; they must reach `source` and `output` under the same names.
    threads : int, optional
        Threads of this process that score without a client: by default one per CPU core; for images, whose decoders
        and encoder use all cores, one, or two on a GPU, which is at work while a shard is committed.
    max_failed : int or float, optional
        End the run when more rows have no usable embedding: an integer is a count, a float a fraction of all rows.
    progress : callable, optional
        Called with the `ShardMarker` of every shard that is done.
    format : str
        Layout of `source`, by default recognized by the names of the files: "parquet", "clip-retrieval", "datacomp",
        "npy", "safetensors", "torch", or "hf-dataset", a folder as ``Dataset.save_to_disk`` leaves it. With `embed` it
        is "parquet", "webdataset", or "images": files of one image each, where every folder is a shard.
    embedding_column : str
        Column of Parquet files or of a saved data set with a list of floats per row; with `embed` the name of the
        embedding.
    matrix_key : str, optional
        Matrix of DataComp's .npz files, by default "l14_img"; tensor of .safetensors and .pt files, by default the only
        one.
    text_column : str, optional
        Column beside it with the text embedding of each row, a list of floats by the images' encoder; of matrices any
        name, for clip-retrieval's ``text_emb/text_emb_N.npy`` or `text_key`. It adds the columns `similarity_column`
        (float32, null where one of the two embeddings is not usable), as of ``.aesthetic.similarity``, and
        ``text_status``. Rules may use both. Not with `embed`.
    text_key : str
        Matrix of the text embeddings in DataComp's .npz files, as of `read_datacomp`.
    similarity_column : str
        Name of the similarity.
    predictor, threshold, keep, override_column, scale, keep_column, on_invalid, batch_size
        As in ``.aesthetic.score``. The columns of `keep` and `override_column` are passthrough columns, too. With
        `embed`, `batch_size` counts images encoded together.
    columns : {"ids", "all"} or list of str
        Passthrough columns: those named key, uid, url, hash, id or image_path in any case; all but the embedding; or
        these names. "ids" of bare matrices are ``shard`` and ``row``; ``shard`` and ``key`` of tars, and ``image_path``
        of image files, always come first. The embedding is kept if it is named, images never.
    style : {"default", "laion", "coyo"}
        Name of the score as in published data sets: the predictor's own, which mostly is ``aesthetic_score``;
        ``aesthetic``; or ``aesthetic_score_laion_v2``.
    score_column : str, optional
        Another name of the score.
    keep_only : bool
        Write only the rows to keep.
    embedding_hash : bool
        Add a column ``embedding_hash`` (uint64) before the score, by which exact duplicates are found: xxh3_64 of the
        embedding as little-endian float32, in which -0 is 0; null where the status is not ``ok``. Not with `embed`.
    rows_per_shard : int, optional
        Files with more rows are split, Parquet files between row groups, into shards with an output each; by default
        1,000,000, and 10,000 for images. Folders of images are split alike; tars are not.
    storage_options, output_options : mapping, optional
        fsspec options of `source` and of `output`; the second defaults to the first.
    overwrite : bool
        Replace outputs of other settings, and files in the way. Shards done with these settings stay.
    verify : bool
        Read inputs and outputs of finished shards again instead of trusting sizes and time stamps.
    allow_unusable : bool
        Accept shards in which no row has a usable embedding; otherwise they end the run.
    embed : bool
        Embed the images of `source` by open_clip.
    image_column, model, pretrained, pooling, exif_orientation
        As in ``.aesthetic.embed_and_score``, whose defaults hold.
    precision : {"auto", "float32", "bfloat16", "float16"}, optional
        Precision in which the model computes. "auto", the default, is settled before anything is written: bfloat16 if
        all workers (without `client`, this process) have a GPU, float32 if none has.
    image_extensions : list of str, optional
        Extensions of images in tars, as of `read_webdataset`.
    worker_timeout : float
        Seconds without any worker of the client's cluster after which the run ends; an hour by default.
    replace_columns : bool
        Replace passthrough columns that are named as the score, ``keep`` or ``status``; otherwise they are an error.
    part : tuple of int, optional
        ``(3, 64)`` scores the third of 64 parts of the shards, so that 64 processes or machines share one output
        folder without a scheduler. All take the same number of parts. The same call without `part` then checks that
        all parts are there, scores what is not, and writes the manifest.
    embedding_dtype : str, optional
        As in ``.aesthetic.score``, for a column of bytes; where the embedding is kept, it is kept as
        lists of floats.
    embedding_zero_point : int, optional
        Zero point of a matrix of uint8 or int8, or of an `embedding_dtype` of these: the values are the numbers less
        the zero point. A matrix of uint8 needs one.

    Returns
    -------
    JobSummary
        Counts of all shards, those of earlier runs included.

    Raises
    ------
    InputError
        `source` has nothing to read, files are damaged or do not match, the output has files that the run would
        replace, or another run is writing to `output`; found before anything is written.
    ColumnError, ArgumentError, ThresholdError, PredictorError
        An argument is not usable; found before anything is written.
    EncoderError, MissingDependencyError
        The model or its weights are unknown, do not fit the predictor, or need a package that is not installed.
    UnusableError, InvalidEmbeddingError, InvalidImageError
        A shard without any usable embedding, text or image; a row without one under ``on_invalid="raise"``.
    JobError
        Shards are damaged, the disk is full, or more than `max_failed` rows failed. Finished shards stay.

    Notes
    -----
    The output holds one Parquet file per shard with the passthrough columns, the similarity if there are texts, the
    score (null where a row has no usable embedding) or a score per predictor, ``keep`` if there is a threshold, and
    ``status``. A file appears under its name when it is complete and on disk; then a marker says that the shard is
    done. ``_SUCCESS``, the manifest, is written last. ``_failed.parquet``, a folder with a file per shard with failed
    rows, lists the rows without a score; ``pandas.read_parquet`` and Arrow read it as one.

    Shards with a marker are skipped as long as settings, inputs (by size and time stamp, and where these differ by
    content) and output are unchanged. The bytes of the output depend neither on the executor nor on how often the run
    was stopped. (Scores of images do so on one kind of machine, with one number of threads and one `batch_size`.
    Elsewhere they differ by about 1e-5 in float32. In bfloat16 and float16 the difference is larger: all shards of such
    a job are scored on GPUs or all on CPUs, also when it is resumed, and another process is refused.)

    Images come from tars, such as img2dataset writes, from a column of Parquet files, or from image files; they are
    decoded and embedded as by ``.aesthetic.embed_and_score``, and dropped. A tar has one output, with ``shard`` and
    ``key`` as in `read_webdataset`, so that ``dask-aesthetic filter`` takes it. Statuses are those of `embed`, and of
    `read_webdataset` for a row of a tar without an image (``damaged``, ``duplicate_member``, ``no_image``,
    ``several_images``, ``too_large``, ``not_in_tar``, ``unsafe_name``, ``not_a_file``, ``no_key``). A truncated tar is
    scored up to there: the last sample and the rest are ``damaged``. Faults of sidecars fail no row; the columns
    ``sample_status`` and ``sample_error`` show them. Files behind a column of paths or URLs are not checked again once
    their shard is done.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from dask_aesthetic import score_dataset
    >>> from dask_aesthetic.synthetic import write_demo
    >>> folder = Path(tempfile.mkdtemp())
    >>> source = write_demo(folder / "embeddings", rows=1000)
    >>> summary = score_dataset(source, folder / "scores")
    >>> summary.rows, summary.scored, summary.failed
    (1000, 984, {'missing': 4, 'wrong_width': 4, 'not_finite': 4, 'zero': 4})
    >>> score_dataset("cc3m/", "scores/", embed=True, columns=["url"], threshold=5.5)  # doctest: +SKIP
    """
    if client is not None and threads is not None:
        raise ArgumentError("expected client or threads, got both: the client's cluster has threads of its own")
    if threads is not None:
        check_integer("threads", threads, minimum=1, default="None")
    if progress is not None and not callable(progress):
        raise ArgumentError(
            f"expected progress to be a function, which is called with each ShardMarker, got {progress!r}"
        )
    failures_allowed(max_failed, 0)
    plan = plan_dataset(
        source,
        output,
        client=client,
        format=format,
        embedding_column=embedding_column,
        matrix_key=matrix_key,
        text_column=text_column,
        text_key=text_key,
        similarity_column=similarity_column,
        predictor=predictor,
        threshold=threshold,
        keep=keep,
        override_column=override_column,
        scale=scale,
        columns=columns,
        style=style,
        score_column=score_column,
        keep_column=keep_column,
        keep_only=keep_only,
        embedding_hash=embedding_hash,
        on_invalid=on_invalid,
        batch_size=batch_size,
        rows_per_shard=rows_per_shard,
        storage_options=storage_options,
        output_options=output_options,
        overwrite=overwrite,
        verify=verify,
        allow_unusable=allow_unusable,
        embed=embed,
        image_column=image_column,
        model=model,
        pretrained=pretrained,
        precision=precision,
        pooling=pooling,
        exif_orientation=exif_orientation,
        image_extensions=image_extensions,
        worker_timeout=worker_timeout,
        replace_columns=replace_columns,
        part=part,
        embedding_dtype=embedding_dtype,
        embedding_zero_point=embedding_zero_point,
    )
    with Pool(client, threads or plan.settings.threads) as pool:
        timing = Timing(worker_timeout=worker_timeout)
        return run(plan, pool, max_failed=max_failed, progress=progress, timing=timing)


def plan_dataset(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    client: Client | None = None,
    format: Format = "auto",  # noqa: A002
    embedding_column: str = "image_embedding",
    matrix_key: str | None = None,
    text_column: str | None = None,
    text_key: str = TEXT_KEY,
    similarity_column: str = SIMILARITY_COLUMN,
    predictor: Predictors = PREDICTOR,
    threshold: float | str | Threshold | None = THRESHOLD,
    keep: Keep | None = None,
    override_column: str | None = None,
    scale: Scale = "raw",
    columns: str | Sequence[str] = "ids",
    style: Style = "default",
    score_column: str | None = None,
    keep_column: str = "keep",
    keep_only: bool = False,
    embedding_hash: bool = False,
    on_invalid: OnInvalid = "null",
    batch_size: int | None = None,
    rows_per_shard: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    output_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    verify: bool = False,
    allow_unusable: bool = False,
    embed: bool = False,
    image_column: str | None = None,
    model: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    precision: Precision | None = None,
    pooling: Pooling | None = None,
    exif_orientation: bool = False,
    image_extensions: str | Sequence[str] | None = None,
    worker_timeout: float = WORKER_TIMEOUT,
    replace_columns: bool = False,
    part: tuple[int, int] | None = None,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
) -> ScorePlan:
    """Plan of a scoring job: its shards, and the ones that an earlier run has done; nothing is written.

    Parameters
    ----------
    source, output and all others
        As in `score_dataset`.

    Returns
    -------
    ScorePlan

    Raises
    ------
    InputError, ColumnError, ArgumentError, ThresholdError, PredictorError, EncoderError, MissingDependencyError
        As in `score_dataset`.
    """
    check_client(client)
    if not is_number(worker_timeout) or not worker_timeout > 0:
        raise ArgumentError(f"expected worker_timeout to be a number of seconds above 0, got {worker_timeout!r}")
    if embed and embedding_hash:
        raise ArgumentError(
            "expected embedding_hash=True (--embedding-hash) with embeddings that are there, got embed=True: those of "
            "images differ a little from batch to batch, so that duplicates have other hashes"
        )
    if embed and text_column is not None:
        raise ArgumentError(
            f"expected text_column (--text-column) with embeddings that are there, got {text_column!r} and embed=True"
        )
    if text_column is None and (text_key, similarity_column) != (TEXT_KEY, SIMILARITY_COLUMN):
        raise ArgumentError(
            "expected text_column (--text-column) with text_key and similarity_column, got "
            f"{text_key!r} and {similarity_column!r} alone"
        )
    if style not in STYLE_NAMES:
        raise ArgumentError.choice("style", style, STYLE_NAMES)
    spec = ScoreSpec.of(
        embedding_column,
        predictor,
        threshold,
        scale,
        STYLES.get(style) if score_column is None else score_column,
        keep_column,
        on_invalid,
        None if embed else batch_size,
        keep,
        override_column,
        embedding_dtype,
        None if embedding_dtype is None else embedding_zero_point,
        "" if text_column is None else similarity_column,
    )
    texts = None
    if text_column is not None:
        texts = TextSide(
            SimilaritySpec(
                embedding_column, text_column, similarity_column, spec.width, on_invalid, spec.embedding_dtype
            ),
            spec.width,
        )
    named = (("embedding_zero_point", embedding_zero_point), ("embedding_dtype", embedding_dtype))
    for name, value in (*named, ("matrix_key", matrix_key)):
        if embed and value is not None:
            raise ArgumentError(f"expected {name} without embed, got {value!r} and embed=True")
    if keep_only:
        spec.require_keep("keep_only=True (--keep-only)")
    extensions = (image_extensions,) if isinstance(image_extensions, str) else image_extensions
    images = ImageOptions(
        image_column,
        model,
        pretrained,
        precision,
        pooling,
        exif_orientation,
        None if extensions is None else tuple(extensions),
    )
    if rows_per_shard is None:
        rows_per_shard = IMAGES_PER_SHARD if embed else ROWS_PER_SHARD
    rows_per_shard = check_integer("rows_per_shard", rows_per_shard, minimum=1, unit="rows", default="None")
    added = {**spec.added, **computed_columns(embedding_hash, texts)}
    for role, column in added.items():
        if column == STATUS_COLUMN:
            raise ColumnError.clash(role, column, "the column of statuses")
    refuse_same_names(added)
    embed_spec = (
        images.spec(spec, embedding_column, batch_size, storage_options, client, worker_timeout) if embed else None
    )
    found = list_files(source, storage_options)
    if embed:
        shards = find_image_shards(
            source,
            format=format,
            image_column=images.column,
            image_extensions=images.extensions,
            pooling=pooling,
            rows_per_shard=rows_per_shard,
            storage_options=storage_options,
            found=found,
        )
    else:
        images.refuse()
        shards = find_shards(
            source,
            format=format,
            embedding_column=embedding_column,
            key=matrix_key,
            rows_per_shard=rows_per_shard,
            storage_options=storage_options,
            found=found,
            text_column=text_column or "",
            text_key=text_key,
            embedding_dtype=embedding_dtype,
            zero_point=embedding_zero_point,
            map_all=map_on(client),
        )
        if texts is not None:
            texts.check(shards)
    notes = describe_left_out(found, [file for shard in shards for file in shard.files])
    if isinstance(columns, str):
        notes += other_columns(shards, columns, embedding_column)
    store = Store.of(output, storage_options if output_options is None else output_options, _part_name(part))
    refuse_overlap(source, [file for shard in shards for file in shard.files], store)
    dtype = pa.list_(pa.float32()) if embed_spec else None
    passthrough = passthrough_schema(
        shards, columns, embedding_column, dtype, spec, replace_columns, embedding_hash, texts
    )
    if embed_spec:
        weights, caution = embed_spec.encoder.weights(), None
        settings: ScoreSettings = ImageSettings(
            spec, embedding_column, passthrough, keep_only, rows_per_shard, None, images.column, embed_spec, weights
        )
    else:
        first = shards[0] if isinstance(shards[0], MatrixShard) else None
        key = None if first is None or first.matrix.key == MATRIX_KEY else first.matrix.key
        of_texts = None if first is None or first.texts is None or first.texts.key == TEXT_KEY else first.texts.key
        settings = ScoreSettings(
            *(spec, embedding_column, passthrough, keep_only, rows_per_shard, key),
            embedding_hash=embedding_hash,
            zero_point=None if first is None else first.matrix.zero_point,
            texts=texts,
            text_key=of_texts,
        )
        if not allow_unusable:
            refuse_other_widths(shards, spec.predictor, embedding_column)
            if texts is not None:
                check_first_texts(shards, texts)
        caution = check_first_rows(shards, spec.predictor, embedding_column, allow_unusable)
    score = image_batches if embed_spec else embedding_batches
    return plan_run(shards, settings, store, overwrite, verify, notes, score, allow_unusable, part, caution)


def _part_name(part: Any) -> str:
    if part is None:
        return ""
    number, parts = part if isinstance(part, Sequence) and len(part) == 2 else (0, 0)
    if not all(map(is_integer, (number, parts))) or not 1 <= number <= parts:
        raise ArgumentError(f"expected part as (number, parts) with a number from 1 to parts, got {part!r}")
    return f"{number}-of-{parts}"


def run(
    plan: ScorePlan,
    pool: Pool,
    *,
    max_failed: float | None = None,
    progress: Callable[[ShardMarker], None] | None = None,
    stop: Callable[[], bool] | None = None,
    timing: Timing = Timing(),  # noqa: B008
) -> JobSummary:
    """Summary of a scoring job after it has run; see `score_dataset`."""
    for note in plan.cautions:
        log.warning("%s", note)
    ended = run_plan(plan, pool, max_failed=max_failed, progress=progress, stop=stop, timing=timing)
    summary: JobSummary = ended.summary
    # Markers, as JSON, have them in another order.
    texts = plan.settings.texts
    names = [*plan.settings.spec.score_columns, *([texts.spec.similarity_column] if texts is not None else [])]
    others = {name: summary.others[name] for name in names if name in summary.others}
    return replace(summary, others=others)
