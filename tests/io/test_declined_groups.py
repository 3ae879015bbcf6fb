"""Remote row groups that are not scored in their pages are fetched once, but for the first one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic import read_and_score
from helpers import columns, range_server


def test_only_the_first_declined_row_group_is_fetched_twice(in_pages, tmp_path, vectors):
    rows = np.concatenate([vectors, vectors])
    rows[7::100] = 0  # Pages with such a row are read before pyarrow has to read them.
    table = pa.table({"image_embedding": columns.array(rows, "list")})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100, use_dictionary=False, compression="none")
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    chunks = [metadata.row_group(at).column(0).total_compressed_size for at in range(6)]
    expected = columns.frame(rows, "list").aesthetic.score()["aesthetic_score"]
    with range_server.serving(tmp_path) as server:
        frame = read_and_score(f"{server.url}/a.parquet", columns=[], rows_per_partition=None)
        server.requests.clear()
        scored = frame.compute()["aesthetic_score"]
        fetched = sum(length for _, _, length in server.requests)
    assert scored.to_numpy().tobytes() == expected.to_numpy().tobytes()
    assert sum(chunks) <= fetched < sum(chunks) + chunks[0] + (1 << 18)
