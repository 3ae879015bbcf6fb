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
from dask_aesthetic.errors import InputError
from dask_aesthetic.inputs import parquet
from dask_aesthetic.job.summary import Summary
from dask_aesthetic.scoring import ScoreSpec, score_array
from dask_aesthetic.thresholds import SCALES
from dask_aesthetic.version import __version__

ROW_GROUP = 64 * parquet.BATCH_ROWS
Scored = tuple[pa.RecordBatch, np.ndarray, np.ndarray]  # Carried columns, scores, statuses.


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
    summary, read = Summary(files=1), 0
    temporary = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        with pq.ParquetWriter(temporary, out) as writer:
            waiting: list[Scored] = []
            for batch in parquet.batches(file, list(dict.fromkeys([*carried, embedding_column]))):
                scored = score_array(batch.column(embedding_column), spec, embedding_column, file.name, read)
                waiting.append((batch.select(carried), *scored))
                read += len(batch)
                if len(waiting) * parquet.BATCH_ROWS >= ROW_GROUP:
                    _write(waiting, writer, out, spec, summary)
                    waiting = []
            if waiting or not read:
                _write(waiting, writer, out, spec, summary)
        if read != rows:
            raise InputError(f"expected {rows:,} rows in {file}, as its footer says, got {read:,}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return summary


def _write(waiting: list[Scored], writer: pq.ParquetWriter, out: pa.Schema, spec: ScoreSpec, summary: Summary) -> None:
    """Write a row group, and count it: counting has a price per call, so it is not done batch by batch."""
    scores = np.concatenate([np.empty(0, np.float32), *(part for _, part, _ in waiting)])
    status = np.concatenate([np.empty(0, np.uint8), *(part for _, _, part in waiting)])
    summary.count(scores, scores * SCALES[spec.threshold.scale], status, spec.threshold.cut)
    carried = pa.Table.from_batches([batch for batch, _, _ in waiting], pa.schema(list(out)[:-3]))
    added = [
        pa.array(scores, mask=status != Status.OK),
        pa.array(scores >= spec.threshold.cut),
        pa.DictionaryArray.from_arrays(pa.array(status.astype(np.int8)), pa.array(STATUSES)),
    ]
    writer.write_table(pa.table([*carried.columns, *added], schema=out))


def _provenance(spec: ScoreSpec) -> dict[str, str]:
    told = {
        "predictor": asdict(spec.predictor.info),
        "weights_sha256": spec.predictor.token,
        "scale": spec.threshold.scale,
        "threshold": {"value": spec.threshold.value, "name": spec.threshold.name},
        "version": __version__,
    }
    return {"dask_aesthetic": json.dumps(told, sort_keys=True)}
