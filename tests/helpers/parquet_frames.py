"""Parquet folders of many kinds, frames of them, and which way their embeddings are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dask.dataframe.dask_expr.io import FusedIO
from dask.dataframe.dask_expr.io.parquet import ReadParquet

from dask_aesthetic.fused_read.expression import AestheticColumns
from dask_aesthetic.fused_read.reader import ReadAestheticColumns
from dask_aesthetic.predictors import AffinePredictor, PredictorInfo

WIDTH = 16
EMBEDDING = "image_embedding"
PREDICTOR = AffinePredictor(
    np.random.default_rng(5).standard_normal(WIDTH) * 2, 5.0, PredictorInfo(name="toy", width=WIDTH)
)
SCORE = {"predictor": PREDICTOR, "threshold": 5.0}


def table(
    rows: int, start: int = 0, dtype: pa.DataType | None = None, usable: bool = False, values: str = "float32"
) -> pa.Table:
    """Keys, numbers, texts with nulls, and embeddings, some of which cannot be scored."""
    random = np.random.default_rng(start)
    vectors: list[Any] = list((40 * random.standard_normal((rows, WIDTH))).astype(values))
    if not usable:
        vectors[1], vectors[2] = None, vectors[2][:9]
        vectors[3], vectors[4] = np.zeros(WIDTH, np.float32), np.full(WIDTH, np.nan, np.float32)
    widths = [None if at % 7 == 3 else int(width) for at, width in enumerate(random.integers(100, 2000, rows))]
    return pa.table(
        {
            "key": [f"k{start + at:06d}" for at in range(rows)],
            "num": pa.array([3 * (start + at) + at % 2 for at in range(rows)], pa.int64()),
            "width": pa.array(widths, pa.int32()),
            "url": [None if at % 5 == 2 else f"https://e.com/{start + at}.jpg" for at in range(rows)],
            EMBEDDING: pa.array(vectors, dtype or pa.list_(pa.float32())),
            "probability": random.random(rows),
        }
    )


def make_folders(folder: Path) -> Path:
    """A folder of folders of Parquet files, by name."""
    _write(folder / "plain", [50, 30, 70], [12, 40, 9])
    _write(folder / "many", [6] * 13, [100])
    _write(folder / "narrow", [30, 30], [100], columns=["key", "num", EMBEDDING])
    _write(folder / "fixed", [20, 20], [100], dtype=pa.list_(pa.float32(), WIDTH), usable=True)
    _write(folder / "half", [20, 20], [7], dtype=pa.large_list(pa.float16()), usable=True, values="float16")
    _write(folder / "integers", [20, 20], [7], dtype=pa.list_(pa.int16()), usable=True, values="int16")
    _write(folder / "mixed", [20], [7])
    nothing = table(20, 20).set_column(4, EMBEDDING, pa.nulls(20))
    pq.write_table(nothing, folder / "mixed/part-1.parquet")
    for year in (2020, 2021):
        for language in ("a", "b"):
            _write(folder / f"hive/year={year}/lang={language}", [6, 7], [3])
    pandas = table(40).to_pandas()
    for name, frame in (("indexed", pandas.set_index("num")), ("ranged", pandas)):
        (folder / name).mkdir()
        for at in range(4):
            frame.iloc[10 * at : 10 * at + 10].to_parquet(folder / name / f"part-{at}.parquet", row_group_size=4)
    return folder


def _write(folder: Path, rows: list[int], groups: list[int], columns: list[str] | None = None, **kwargs: Any) -> None:
    folder.mkdir(parents=True)
    start = 0
    for at, count in enumerate(rows):
        content = table(count, start, **kwargs)
        content = content.select(columns) if columns else content
        pq.write_table(content, folder / f"part-{at}.parquet", row_group_size=groups[at % len(groups)])
        start += count


def by_partition() -> Any:
    """Context in which embeddings are read as a column."""
    return dask.config.set({"aesthetic.fuse-read": False})


def reads(collection: Any) -> list[tuple[str, list[str]]]:
    """Kind and columns of each reader of an optimized collection, where "scored" reads embeddings as no column."""
    found = []
    for node in getattr(collection, "expr", collection).optimize(fuse=False).walk():
        assert not isinstance(node, AestheticColumns)
        if isinstance(node, ReadAestheticColumns):
            found.append(("scored", [name for name in node.reader.columns if name != node.read_name]))
        elif isinstance(node, FusedIO):
            found.append(("fused", node.operand("_expr").columns))
        elif isinstance(node, ReadParquet):
            found.append(("plain", node.columns))
    return found


def is_scored(collection: Any) -> bool:
    """Whether embeddings are scored while the frame is read, and become no column."""
    kinds = reads(collection)
    return any(kind == "scored" for kind, _ in kinds) and not any(EMBEDDING in names for _, names in kinds)


def assert_same(left: Any, right: Any, check_optimized: bool = True) -> None:
    """Assert that two collections are equal: rows, order, dtypes, index, meta and divisions, also when optimized."""
    if not hasattr(left, "compute"):
        return _assert_equal(left, right)
    _assert_equal(left._meta, right._meta)
    assert left.divisions == right.divisions
    left, right = left.optimize(), right.optimize()
    assert left.divisions == right.divisions or not check_optimized
    return _assert_equal(left.compute(scheduler="sync"), right.compute(scheduler="sync"))


def _assert_equal(left: Any, right: Any) -> None:
    if isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right, check_exact=True)
        for name in set(left.columns) & {"aesthetic_score"}:
            assert left[name].to_numpy().tobytes() == right[name].to_numpy().tobytes()
    elif isinstance(left, pd.Series):
        pd.testing.assert_series_equal(left, right, check_exact=True)
    elif isinstance(left, pd.Index):
        pd.testing.assert_index_equal(left, right)
    else:
        assert left == right or left != left
