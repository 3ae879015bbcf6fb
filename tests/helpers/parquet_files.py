"""Parquet files that the tests damage."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq


def spoil(folder: str, names: set[str]) -> None:
    """Overwrite columns of the files with rubbish, so that whoever reads them fails."""
    for file in Path(folder).glob("*.parquet"):
        groups = pq.read_metadata(file)
        with file.open("r+b") as raw:
            for group in range(groups.num_row_groups):
                for at in range(groups.num_columns):
                    chunk = groups.row_group(group).column(at)
                    if chunk.path_in_schema.split(".")[0] in names:
                        raw.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
                        raw.write(b"\xff" * chunk.total_compressed_size)
