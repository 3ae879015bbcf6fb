"""Passthrough columns of Arrow's extension types, on their own and in structs."""

from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ColumnError, read_and_score, read_scores, score_dataset
from helpers import columns
from helpers.commands import printed

ROWS = 6
TENSORS = np.arange(ROWS * 6, dtype=np.float32).reshape(ROWS, 2, 3)
IDS = [uuid.UUID(int=at % 2 + 1) for at in range(ROWS)]


@pytest.fixture
def source(tmp_path, vectors):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(TENSORS)
    held = {
        "key": pa.array([f"{at}" for at in range(ROWS)]),
        "tensor": tensors,
        # pyarrow 17 cannot read them.
        "nested": pa.StructArray.from_arrays([tensors if hasattr(pa, "uuid") else tensors.storage], ["tensor"]),
        "image_embedding": columns.array(vectors[:ROWS], "list"),
    }
    if hasattr(pa, "uuid"):  # Of pyarrow 18 and later.
        held["uuid"] = pa.array([one.bytes for one in IDS], pa.uuid())
    file = tmp_path / "in.parquet"
    pq.write_table(pa.table(held), file)
    return file


def test_tensors_pass_through(source, tmp_path):
    score_dataset(source, tmp_path / "scores", columns=["tensor", "nested"])
    for frame in (read_scores(tmp_path / "scores"), read_and_score(source, ["tensor", "nested"])):
        got = frame.compute()
        assert frame.dtypes.tolist() == got.dtypes.tolist()
        for column in ("tensor", "nested"):
            arrow = pa.array(got[column])
            held = arrow.field("tensor") if column == "nested" else arrow
            storage = getattr(held, "storage", held)
            np.testing.assert_array_equal(storage.flatten().to_numpy().reshape(TENSORS.shape), TENSORS)
    with pytest.raises(ColumnError, match=r"one value per row \(text, number, date\) as by, got .* in 'tensor'"):
        read_scores(tmp_path / "scores").aesthetic.distribution(by="tensor")
    page = tmp_path / "report.html"
    assert str(page) in printed("report", tmp_path / "scores", "--output", page)


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="pyarrow before 18 has no UUIDs")
def test_uuids_are_groups(source, tmp_path):
    score_dataset(source, tmp_path / "scores", columns=["uuid"])
    found = read_scores(tmp_path / "scores").aesthetic.distribution(by="uuid")
    ids = {group if isinstance(group, uuid.UUID) else uuid.UUID(bytes=group): one.rows for group, one in found.items()}
    assert ids == dict.fromkeys(IDS, ROWS // 2)
    page = tmp_path / "report.html"
    assert str(page) in printed("report", tmp_path / "scores", "--by", "uuid", "--output", page)
