"""Damaged metadata of column chunks are errors; pyarrow itself would end the process on some of them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.io.column_chunks import check_column_chunk, check_column_chunks
from helpers import fuzz_footers

# The schema says that the only column, "a", has nulls; one bit less, and it does not.
OPTIONAL, REQUIRED = b"\x25\x02\x18\x01a", b"\x25\x00\x18\x01a"
UNCOMPRESSED, UNKNOWN = b"\x01a\x15\x00", b"\x01a\x15\x10"


def written(**options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": range(9), "b": range(9)}), sink, store_schema=False, **options)
    return sink.getvalue()


@pytest.fixture
def fatal(tmp_path) -> Path:
    """A file that ends pyarrow when the metadata of its column chunk are asked for."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink, store_schema=False)
    assert sink.getvalue().count(OPTIONAL) == 1
    (tmp_path / "fatal.parquet").write_bytes(sink.getvalue().replace(OPTIONAL, REQUIRED))
    return tmp_path / "fatal.parquet"


@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 19, reason="size statistics came with pyarrow 19")
@pytest.mark.parametrize(
    "what",
    [
        "parquet.read_footer(local_file(path))",
        "parquet.digest(local_file(path), ['a'], 0, 1)",
        "list(parquet.batches(in_memory(path), ['a']))",
        "print(repr(list(_describe_layout(path, 'a', 4)))); parquet.read_footer(local_file(path))",
    ],
)
def test_fatal_metadata_are_an_input_error(fatal, interpreter, what):
    """In a process of its own: they could end it."""
    run = interpreter.run(
        f"""
import sys
from dask_aesthetic import InputError
from dask_aesthetic.io import parquet
from dask_aesthetic.io.storage import local_file
from dask_aesthetic.cli.check import _describe_layout
path = sys.argv[1]

def in_memory(path):
    import fsspec
    from pathlib import Path
    from dask_aesthetic.io.storage import File
    content = Path(path).read_bytes()
    fsspec.filesystem("memory").pipe_file("/fatal.parquet", content)
    return File("memory://fatal.parquet", len(content), "")

try:
    {what}
except InputError as error:
    print(error)
""",
        str(fatal),
    )
    assert run.returncode == 0, run.stderr
    assert "fatal.parquet: Definition level histogram size mismatch" in run.stdout


@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 18, reason="pyarrow 17 takes unknown codecs for none")
def test_an_unknown_codec_is_an_error():
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink, compression="none", store_schema=False)
    before, found, after = sink.getvalue().rpartition(UNCOMPRESSED)
    assert found
    content = before + UNKNOWN + after
    with pytest.raises(OSError, match="codec"):
        check_column_chunk(pq.read_metadata(io.BytesIO(content)), len(content), 0, "a")


@pytest.mark.parametrize("options", [{}, {"row_group_size": 2}, {"write_page_index": True, "compression": "zstd"}])
def test_each_chunk_is_checked(options):
    """The last chunk of all has to end inside of the file."""
    metadata = pq.read_metadata(io.BytesIO(written(**options)))
    chunk = metadata.row_group(metadata.num_row_groups - 1).column(1)
    begin = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    end = begin + chunk.total_compressed_size
    check_column_chunks(metadata, end)
    check_column_chunk(metadata, end, metadata.num_row_groups - 1, "b")
    with pytest.raises(OSError, match="Invalid column metadata"):
        check_column_chunks(metadata, end - 1)
    with pytest.raises(OSError, match="Invalid column metadata"):
        check_column_chunk(metadata, end - 1, metadata.num_row_groups - 1, "b")


def test_other_metadata_and_another_size_are_checked_anew():
    """What a thread has checked last is not checked again, and nothing else is taken for it."""
    content = written()
    metadata = pq.read_metadata(io.BytesIO(content))
    for _ in range(2):
        check_column_chunks(metadata, len(content))
        check_column_chunks(pq.read_metadata(io.BytesIO(content)), len(content))
        with pytest.raises(OSError, match="Invalid column metadata"):
            check_column_chunks(metadata, 8)
        sink = io.BytesIO()
        pq.write_table(pa.table({"a": [1.0] * 9999}), sink, compression="none", use_dictionary=False)
        with pytest.raises(OSError, match="Invalid column metadata"):
            check_column_chunks(pq.read_metadata(io.BytesIO(sink.getvalue())), len(content))


@pytest.mark.parametrize("table", [pa.table({}), pa.table({"a": pa.array([], pa.int64())})])
def test_files_without_rows_are_sound(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    check_column_chunks(pq.read_metadata(io.BytesIO(sink.getvalue())), len(sink.getvalue()))


def test_damaged_footers_end_no_process():
    """In a process of its own: damage could end it."""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from helpers import fuzz_footers as f; sys.exit(f.main((1, 240), ('small',)))",
        ],
        cwd=Path(fuzz_footers.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_process_ends_in_order_right_after_a_check(tmp_path):
    """Threads of pyarrow that still held the stream ended it by SIGABRT: most commands that were refused."""
    (tmp_path / "a.parquet").write_bytes(written())
    code = (
        "import sys; from dask_aesthetic.io import parquet, storage\n"
        "parquet.read_footer(storage.local_file(sys.argv[1])); sys.exit(2)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(4):
        run = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "a.parquet"], env=environment, capture_output=True, timeout=100
        )
        assert (run.returncode, run.stderr) == (2, b"")
