"""Checks of the column chunks' metadata in a Parquet footer.

On damaged ones `metadata.row_group(i).column(j)` ends the process by an uncaught C++ exception, while pyarrow's reader
raises. So the reader is made to prepare to read the chunks, and gets none of their bytes. See docs/pyarrow-abort.md.
"""

from __future__ import annotations

import atexit
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq

from dask_aesthetic.io.storage import SizedStream

_BUFFER = 1 << 12  # Bytes; the smallest that is usual, as nothing is read.
_FREED = 0.05  # Seconds in which a thread of pyarrow frees a stream after a check.


def check_column_chunks(metadata: pq.FileMetaData, size: int) -> None:
    """Check all column chunks of a Parquet file; then their positions, sizes and types are safe to ask for.

    Takes some 0.2 ms, and 0.3 us a chunk, which is less than parsing the footer took.

    Parameters
    ----------
    metadata : pyarrow.parquet.FileMetaData
    size : int
        Bytes of the file.

    Raises
    ------
    OSError, pyarrow.ArrowException
        The metadata are damaged or encrypted, or place a chunk outside of the file.
    """
    # A file's footer is read several times in a row, and compared in a fraction of the time of a check.
    if _checked.size == size and metadata.equals(_checked.metadata):
        return
    # With pre_buffer, the byte ranges of the chunks of all row groups are computed before the first is read.
    _begin_reading(metadata, size, None, None, pre_buffer=True)
    _checked.metadata, _checked.size = metadata, size


def check_column_chunk(metadata: pq.FileMetaData, size: int, group: int, column: str) -> None:
    """Check the chunks of a column in one row group; then their compression is safe to ask for, too.

    Takes some 0.1 ms. Parameters and errors are those of `check_column_chunks`.
    """
    # With a buffer, a chunk's codec is looked up before its first bytes are read.
    _begin_reading(metadata, size, [group], [column], pre_buffer=False, buffer_size=_BUFFER)


def _begin_reading(
    metadata: pq.FileMetaData, size: int, groups: list[int] | None, columns: list[str] | None, **options: int
) -> None:
    _checked_at[:] = [time.monotonic()]
    stream = _Refusing(size)
    source = pq.ParquetFile(pa.PythonFile(stream, "r"), metadata=metadata, **options)
    try:
        next(source.iter_batches(1, groups, columns, use_threads=False), None)
    except (OSError, pa.ArrowException):
        if not stream.was_asked:
            raise


class _Checked(threading.local):
    """What a thread has checked last."""

    metadata: pq.FileMetaData | None = None
    size = -1


class _Refusing(SizedStream):
    """Stream that gives no bytes, and notes that it was asked for some."""

    was_asked = False

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002
        self.was_asked = True
        return b""  # pyarrow would write the traceback of an error into its own, which takes 0.3 ms.


_checked = _Checked()
_checked_at: list[float] = []


@atexit.register
def _wait_for_pyarrow() -> None:
    """Wait until pyarrow's threads have freed the last stream: as Python ends, that would abort the process."""
    if _checked_at:
        time.sleep(max(0.0, _checked_at[0] + _FREED - time.monotonic()))
