"""One Parquet file into another: read a batch, score it, drop the embedding, write what is left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.embeddings import STATUSES, Status
from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.errors import InputError, InvalidEmbeddingError
from dask_aesthetic.inputs import parquet
from dask_aesthetic.job.summary import Summary
from dask_aesthetic.scoring import ScoreSpec, first_invalid, score_runs
from dask_aesthetic.thresholds import SCALES
from dask_aesthetic.version import __version__

ROW_GROUP = 64 * parquet.BATCH_ROWS


def score_file(
    file: Path, target: Path, embedding_column: str, spec: ScoreSpec, columns: str | Sequence[str] = "ids"
) -> Summary:
    """Score one Parquet file into another, which appears when it is whole."""
    schema, rows = parquet.read_footer(file)
    parquet.check_embedding(schema, embedding_column)
    added = (spec.score_column, spec.keep_column, "status")
    carried = [name for name in parquet.choose_columns(schema, columns, embedding_column) if name not in added]
    fields = [
        *(schema.field(name) for name in carried),
        pa.field(spec.score_column, pa.float32()),
        pa.field(spec.keep_column, pa.bool_()),
        pa.field("status", pa.dictionary(pa.int8(), pa.string())),
    ]
    out = pa.schema(fields, metadata=_provenance(spec))
    summary = Summary(files=1)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        with pq.ParquetWriter(temporary, out) as writer:
            waiting: list[pa.RecordBatch] = []
            for batch in parquet.batches(file, [*carried, embedding_column]):
                waiting.append(_scored(batch, embedding_column, carried, spec, out, summary, file))
                if len(waiting) * parquet.BATCH_ROWS >= ROW_GROUP:
                    writer.write_table(pa.Table.from_batches(waiting, out))
                    waiting = []
            writer.write_table(pa.Table.from_batches(waiting, out))
        if summary.rows != rows:
            raise InputError(f"expected {rows:,} rows in {file}, as its footer says, got {summary.rows:,}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return summary


def _scored(
    batch: pa.RecordBatch,
    embedding_column: str,
    carried: list[str],
    spec: ScoreSpec,
    out: pa.Schema,
    summary: Summary,
    file: Path,
) -> pa.RecordBatch:
    tensor, codes = score_runs(array_runs(batch.column(embedding_column), spec.predictor.width), spec)
    scores, status = tensor.numpy(), codes.numpy()
    row = first_invalid(codes) if spec.on_invalid == "raise" else None
    if row is not None:
        at, reason = summary.rows + row, STATUSES[status[row]]
        raise InvalidEmbeddingError(embedding_column, file.name, at, None, reason, spec.predictor.width)
    summary.count(scores, scores * SCALES[spec.threshold.scale], status, spec.threshold.cut)
    arrays = [
        *(batch.column(name) for name in carried),
        pa.array(scores, mask=status != Status.OK),
        pa.array(scores >= spec.threshold.cut),
        pa.DictionaryArray.from_arrays(pa.array(status.astype(np.int8)), pa.array(STATUSES)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=out)


def _provenance(spec: ScoreSpec) -> dict[str, str]:
    told = {
        "predictor": asdict(spec.predictor.info),
        "weights_sha256": spec.predictor.token,
        "scale": spec.threshold.scale,
        "threshold": {"value": spec.threshold.value, "name": spec.threshold.name},
        "version": __version__,
    }
    return {"dask_aesthetic": json.dumps(told, sort_keys=True)}
