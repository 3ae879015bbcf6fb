"""The same scores, statuses and frames from every library; cuDF and dask-cuDF where there is a GPU."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dask_aesthetic import ColumnError, InvalidEmbeddingError
from helpers import backends, columns
from helpers.predictors import HEADS, head
from helpers.rows import cases, rows_of

pytestmark = pytest.mark.parametrize("backend", backends.ALL)


def table_of(rows) -> pa.Table:
    embeddings = columns.array(rows, "list")
    return pa.table({"key": [f"k{at}" for at in range(len(rows))], "image_embedding": embeddings})


@pytest.mark.parametrize("column", HEADS)
def test_real_embeddings_score_as_the_layers_do_in_float64(shared, verite, reference, backend, column):
    frame = backends.frame_of(table_of(verite), backend)
    scored = backends.to_pandas(frame.aesthetic.score(predictor=head(HEADS[column], shared), threshold=5))
    scores = scored["aesthetic_score"].to_numpy()
    assert scores.dtype == np.float32
    difference = np.abs(scores - reference[column]).max()
    print(f"{len(scores)} real embeddings, {backend}, {column}: largest difference {difference:.1e}")
    assert difference <= 5e-6
    assert scored["keep"].tolist() == (scores >= 5).tolist()


def test_invalid_rows_have_a_status_and_leave_their_neighbors_unchanged(vectors, backend):
    names = cases("list")
    rows, expected = rows_of(vectors, "list", names)
    frame = backends.frame_of(table_of(rows), backend)
    clean = backends.to_pandas(backends.frame_of(table_of(vectors[: 3 * len(names)]), backend).aesthetic.score())
    scored = backends.to_pandas(frame.aesthetic.score())
    assert backends.to_pandas(frame.aesthetic.status()).tolist() == expected
    score, ok = scored["aesthetic_score"].to_numpy(dtype=np.float32, na_value=np.nan), np.array(expected) == "ok"
    np.testing.assert_array_equal(np.isnan(score), ~ok)
    assert not scored["keep"].to_numpy(dtype=bool)[~ok].any()
    np.testing.assert_allclose(score[np.arange(len(rows)) % 4 != 3], clean["aesthetic_score"], rtol=0, atol=2e-6)
    assert scored["key"].tolist() == [f"k{at}" for at in range(len(rows))]


def test_a_null_among_the_floats_makes_the_row_not_finite(vectors, backend):
    rows = [row.tolist() for row in vectors[:9]]
    rows[2][700], rows[4] = None, None
    table = pa.table({"image_embedding": pa.array(rows, pa.list_(pa.float32()))})
    status = backends.to_pandas(backends.frame_of(table, backend).aesthetic.status())
    assert status.tolist() == ["ok", "ok", "not_finite", "ok", "missing", *["ok"] * 4]


def test_slices_score_as_the_whole_frame(vectors, backend):
    frame = backends.frame_of(table_of(vectors), backend, partitions=1)
    whole = backends.to_pandas(frame.aesthetic.score())["aesthetic_score"]
    part = frame[(frame["key"] > "k1") & (frame["key"] < "k3")]
    scored = backends.to_pandas(part.aesthetic.score())
    np.testing.assert_allclose(scored["aesthetic_score"], whole[scored.index], rtol=0, atol=2e-6)
    assert 50 < len(scored) < len(vectors)


def test_filter_keeps_index_and_rows(vectors, backend):
    frame = backends.frame_of(table_of(vectors), backend)
    scored = backends.to_pandas(frame.aesthetic.score())
    kept = backends.to_pandas(frame.aesthetic.filter())
    pd.testing.assert_index_equal(kept.index, scored.index[scored["keep"]], exact=False)
    assert kept["key"].tolist() == scored["key"][scored["keep"]].tolist()
    assert 0 < len(kept) < len(vectors)


def test_an_empty_frame_stays_empty(vectors, backend):
    frame = backends.frame_of(table_of(vectors), backend)
    none = frame[frame["key"] == "nobody"]
    scored = backends.to_pandas(none.aesthetic.score())
    assert list(scored.columns) == ["key", "image_embedding", "aesthetic_score", "keep"]
    assert len(scored) == len(backends.to_pandas(none.aesthetic.status())) == 0


def test_columns_without_embeddings_are_refused(vectors, backend):
    frame = backends.frame_of(table_of(vectors[:6]), backend)
    for column in ("key", "nothing"):
        with pytest.raises(ColumnError, match="Columns that would do: 'image_embedding'"):
            frame.aesthetic.score(column)


def test_on_invalid_raise_names_the_row(vectors, backend):
    frame = backends.frame_of(table_of([*vectors[:5], np.zeros(768)]), backend, partitions=1)
    with pytest.raises(InvalidEmbeddingError, match=r"row 5 .*is zero"):
        backends.to_pandas(frame.aesthetic.score(on_invalid="raise"))
