"""What repacking would gain, measured on the first rows of a file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from dask_aesthetic.defaults import PACKED
from dask_aesthetic.embeddings.packed import list_type
from dask_aesthetic.io import parquet
from dask_aesthetic.io.shards import ParquetShard, row_group_shards
from dask_aesthetic.io.storage import File, local_file
from dask_aesthetic.predictors import Predictor
from dask_aesthetic.repack.plan import repack_settings
from dask_aesthetic.repack.writing import write_rows
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.shard_scores import row_scores

ROWS = 1 << 14
RUNS = 3  # The best of them counts; the first one also loads code.


@dataclass(frozen=True)
class Gain:
    """Rows per second, read and scored in one thread, and bytes per row, of a layout and of the file as it is.

    Attributes
    ----------
    layout : str
    rows : int
        That were measured.
    rate_before, rate : float
    bytes_before, bytes : float
    """

    layout: str
    rows: int
    rate_before: float
    rate: float
    bytes_before: float
    bytes: float

    def __str__(self) -> str:
        return (
            f'layout "{self.layout}" reads {self.rate:,.0f} rows/s instead of {self.rate_before:,.0f} '
            f"({self.rate / self.rate_before:.1f} times) and takes {self.bytes:,.0f} bytes a row instead of "
            f"{self.bytes_before:,.0f}"
        )


def measure_gain(
    file: File, column: str, layouts: tuple[str, ...], predictor: Predictor, embedding_dtype: str | None = None
) -> list[Gain]:
    """Gain of each layout, from the first rows of a Parquet file, which are rewritten in a temporary folder.

    Raises
    ------
    InputError, ColumnError
        The file cannot be repacked.
    """
    shards = row_group_shards(file, [0], column)
    shard = replace(shards[0], type=list_type(shards[0].type, embedding_dtype, column), embedding_dtype=embedding_dtype)
    rows = min(shard.rows, ROWS)
    rate, size = _rate(shard, predictor), _bytes_per_row(shard)
    found = []
    with TemporaryDirectory(prefix="dask-aesthetic-") as folder:
        for layout in layouts:
            settings = repack_settings([shard], column, layout, embedding_dtype)
            path = Path(folder) / f"{layout}.parquet"
            write_rows(path, shard, settings, rows=rows)
            (written,) = row_group_shards(local_file(str(path)), [0], column)
            if layout == PACKED:
                name = settings.dtype_name
                written = replace(written, type=list_type(written.type, name, column), embedding_dtype=name)
            found.append(Gain(layout, rows, rate, _rate(written, predictor), size, _bytes_per_row(written)))
    return found


def _rate(shard: ParquetShard, predictor: Predictor) -> float:
    """Rows per second of the first rows of a shard."""
    spec, best = ScoreSpec((predictor,), ("score",)), 0.0
    for _ in range(RUNS):
        rows, start = 0, time.perf_counter()
        for scores, _, _ in row_scores(shard, spec, shard.name):
            rows += scores.shape[1]
            if rows >= ROWS:
                break
        best = max(best, rows / max(time.perf_counter() - start, 1e-9))
    return best


def _bytes_per_row(shard: ParquetShard) -> float:
    group = parquet.read_footer(shard.file).metadata.row_group(0)
    chunks: list[pq.ColumnChunkMetaData] = [group.column(at) for at in range(group.num_columns)]
    own = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == shard.column]
    return sum(chunk.total_compressed_size for chunk in own) / max(group.num_rows, 1)
