"""One folder has the same bytes of scores whoever reads it: pandas, Dask, `read_and_score`, a job, and cuDF."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dask_aesthetic  # noqa: F401 (puts .aesthetic on frames)
from dask_aesthetic import read_and_score, read_scores, score_dataset
from dask_aesthetic.cluster import visible_gpus
from helpers import backends, columns

WRITTEN = ({"compression": "NONE", "use_dictionary": False}, {}, {"compression": "zstd", "row_group_size": 40})


@pytest.fixture(scope="module")
def rows(vectors) -> list[np.ndarray | None]:
    """Usable rows of all lengths, and rows of each kind that has no score."""
    found = [row * np.float32(10.0 ** (at % 5 - 2)) for at, row in enumerate(vectors)]
    found[3], found[104] = None, np.zeros(0, np.float32)
    found[117] = np.where(np.arange(768) == 5, np.nan, found[117]).astype(np.float32)
    found[118], found[219], found[220] = (
        found[118] * np.float32(math.inf),
        np.zeros(768, np.float32),
        found[220] * 1e-22,
    )
    found[221] = found[221] * np.float32(1e18)
    return found


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for at, options in enumerate(WRITTEN):
        part = columns.frame(rows[100 * at : 100 * (at + 1)], "list")
        table = pa.table({"key": part["key"] + f"-{at}", "image_embedding": pa.array(part["image_embedding"].array)})
        pq.write_table(table, folder / f"{at}.parquet", **options)
    return folder


def bytes_of(scored: pd.DataFrame) -> tuple[bytes, list[bool]]:
    scores = scored["aesthetic_score"].to_numpy(np.float32, na_value=np.nan)
    # A missing score is NaN or null, as the library has it: its bits say nothing.
    return np.where(np.isnan(scores), np.float32(np.nan), scores).tobytes(), scored["keep"].tolist()


@pytest.fixture(scope="module")
def expected(rows) -> tuple[bytes, list[bool]]:
    found = bytes_of(columns.frame(rows, "object").aesthetic.score())
    assert np.isnan(np.frombuffer(found[0], np.float32)).sum() == 5
    return found


def by_job(folder: Path, output: Path) -> pd.DataFrame:
    score_dataset(folder, output)
    return read_scores(output).compute()


WAYS = {
    "pandas": lambda folder, _: pd.read_parquet(folder, dtype_backend="pyarrow").aesthetic.score(),
    "Dask": lambda folder, _: dd.read_parquet(folder).aesthetic.score()[["aesthetic_score", "keep"]].compute(),
    "read_and_score": lambda folder, _: read_and_score(folder).compute(),
    "job": by_job,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_read_a_folder_has_the_bytes_of_rows_in_memory(folder, expected, way, tmp_path, in_pages):
    assert bytes_of(WAYS[way](folder, tmp_path / "out")) == expected


def test_the_cudf_backend_has_these_bytes_with_pandas_in_its_place(folder, expected, monkeypatch):
    backends.use_pandas_as_cudf(monkeypatch)
    with dask.config.set({"dataframe.backend": "cudf"}):
        scored = read_and_score(folder)
    assert bytes_of(scored.compute()) == expected


@pytest.mark.rapids
@pytest.mark.skipif(find_spec("cudf") is None, reason="needs RAPIDS")
@pytest.mark.skipif(visible_gpus() > 0, reason="there is an NVIDIA GPU")
def test_cudf_columns_in_host_memory_have_these_bytes(folder, expected, monkeypatch):
    import cudf

    from helpers import host_cudf

    host_cudf.use_host_memory(monkeypatch)
    found = []
    for file in sorted(folder.glob("*.parquet")):
        lists = pq.read_table(file)["image_embedding"].combine_chunks()
        nulls = lists.is_null().to_numpy(zero_copy_only=False)
        # The stand-in's null rows are the first ones.
        order = np.argsort(~nulls, kind="stable")
        moved = lists.take(pa.array(order))
        widths = np.diff(moved.offsets.to_numpy())
        values = moved.flatten().to_numpy(zero_copy_only=False).copy()
        column = host_cudf.lists(values, widths, nulls=int(nulls.sum()))
        scored = cudf.DataFrame({"image_embedding": cudf.Series.from_pylibcudf(column)}).aesthetic.score()
        made = pd.DataFrame({name: host_cudf.array_of(scored[name]) for name in ("aesthetic_score", "keep")}, order)
        found.append(made.sort_index())
    assert bytes_of(pd.concat(found)) == expected
