"""Damaged repetition levels of Parquet files without checksums move no row's values to another in silence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import InputError, read_and_score, score_dataset
from dask_aesthetic.io import parquet
from dask_aesthetic.io.storage import local_file
from helpers import columns


def write(path: Path, vectors: np.ndarray) -> Path:
    """Three row groups, whose pages have neither checksums nor compression."""
    keys = [str(at) for at in range(len(vectors))]
    table = pa.table({"key": keys, "image_embedding": columns.array(vectors, "list")})
    pq.write_table(table, path, row_group_size=100, use_dictionary=False, compression="none")
    return path


def flip(path: Path, group: int, place: int) -> None:
    """Let a row begin, by a bit of the levels, where none does."""
    raw = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(group).column(1)
    at = raw.index(b"\x03\xfe", chunk.data_page_offset)  # Eight packed levels 0, 1, ..., 1 begin each row.
    assert raw[at + 1] == 0xFE
    raw[at + 1] ^= 1 << place
    path.write_bytes(raw)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_row_too_many_is_an_error_that_names_the_file(tmp_path, vectors, request, group, compiled):
    if compiled:
        request.getfixturevalue("in_pages")
    path = write(tmp_path / "a.parquet", vectors)
    flip(path, group, 5)
    with suppress(pa.ArrowInvalid):  # Newer versions of pyarrow find nothing wrong.
        assert len(pq.read_table(path)) == 300
    message = r"expected \d+,\d+ values in the rows of column 'image_embedding' of .*a.parquet.*levels are damaged"
    with pytest.raises(InputError, match=message):
        read_and_score(path, rows_per_partition=None).compute()
    with pytest.raises(Exception, match=message):
        score_dataset(path, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_lists_with_nulls_and_of_no_values_are_counted(tmp_path):
    rows = [None, [], [1.0], [None, 2.0], [3.0] * 5] * 50
    pq.write_table(pa.table({"a": pa.array(rows, pa.list_(pa.float32()))}), tmp_path / "a.parquet", row_group_size=60)
    batches = list(parquet.batches(local_file(str(tmp_path / "a.parquet")), ["a"]))
    assert [row for batch in batches for row in batch.column("a").to_pylist()] == rows
