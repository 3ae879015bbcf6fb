"""Damaged Parquet footers, which must never end the process or raise anything but an InputError that names the file.

``python -m helpers.fuzz_footers [CHANGE ...]``, in this folder's parent, changes each byte of the footers of some small
files: a CHANGE is added to it, as bytes are; by default all changes of one bit and some more.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

CHANGES = (1, 2, 4, 8, 16, 32, 64, 127, 128, 192, 224, 240, 248, 252, 254, 255)


def main(changes: tuple[int, ...] = CHANGES, names: tuple[str, ...] = ()) -> int:
    """Damage the files in a process of their own, which starts anew where it ended; the exit status of it all."""
    total: Counter[str] = Counter()
    bad = 0
    for name in names or tuple(files()):
        first = 0
        while first >= 0:
            child = subprocess.run(
                [sys.executable, "-m", "helpers.fuzz_footers", "--child", name, str(first), *map(str, changes)],
                capture_output=True,
                text=True,
            )
            lines = child.stdout.splitlines()
            total.update(line for line in lines if not line.startswith(("at ", "BAD ")))
            wrong = [line for line in lines if line.startswith("BAD ")]
            last = next((line for line in reversed(lines) if line.startswith("at ")), "at -1")
            if child.returncode:
                wrong.append(f"BAD {name} {last}: the process ended with {child.returncode}: {child.stderr[-200:]}")
            print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
            bad += len(wrong)
            first = int(last.split()[1]) + 1 if child.returncode and last != "at -1" else -1
    print(f"{dict(total)}; bad: {bad}")
    return int(bad > 0 or not total)


def files() -> dict[str, bytes]:
    """Contents of files by names, written with different options."""
    import numpy as np
    import pyarrow as pa

    lists = pa.array([[0.1 * row, 1.0, -2.5] for row in range(8)], pa.list_(pa.float32()))
    ids, text = pa.array(range(8)), pa.array([f"url-{row}" for row in range(8)])
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(24, dtype=np.float32)), 3)
    nested = pa.array([[[1, 2], [3]], [], None, [[4]]] * 2, pa.list_(pa.list_(pa.int32())))
    structs = pa.array([{"a": row, "b": f"x{row}"} for row in range(8)])
    every = {"id": ids, "text": text, "e": lists, "fixed": fixed, "nested": nested, "structs": structs}
    return {
        "small": _written({"e": lists, "id": ids}, use_dictionary=False, compression="none", write_statistics=False),
        "statistics": _written({"e": lists, "text": text}, sorting_columns=None),
        "groups": _written({"id": ids, "e": lists}, row_group_size=3, write_page_index=True),
        "every": _written(every, row_group_size=5, write_page_checksum=True),
        "zstd": _written({"text": text, "e": lists}, compression="zstd", data_page_version="2.0", store_schema=True),
        "half": _written({"e": lists.cast(pa.list_(pa.float16())), "text": text}, version="1.0"),
    }


def _written(columns: dict, **options: object) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **{"store_schema": False, **options})
    return sink.getvalue()


def damaged(content: bytes, changes: tuple[int, ...]) -> Iterator[bytes]:
    """Contents with one byte of the footer changed."""
    for at in range(len(content) - 8 - int.from_bytes(content[-8:-4], "little"), len(content)):
        for change in changes:
            yield content[:at] + bytes([(content[at] + change) % 256]) + content[at + 1 :]


def read(name: str, first: int, changes: tuple[int, ...]) -> None:
    """Read the damaged files from the `first` on, and print what became of each."""
    from dask_aesthetic.errors import InputError
    from dask_aesthetic.io import parquet
    from dask_aesthetic.io.pages import _ERRORS, Pages
    from dask_aesthetic.io.storage import File, local_file
    from dask_aesthetic.kernels import RowScorer
    from helpers.page_files import heads

    def pages() -> None:
        with path.open("rb", buffering=0) as stream:
            try:
                found = Pages(stream, len(content), "e", 3, str(path))
            except _ERRORS:
                return
            for group in range(len(found.groups)):
                found.map_rows(group, partial(RowScorer, heads=heads(3)))

    def first_batch(file: File, **options: bool) -> None:
        next(parquet.batches(file, ["e"], **options), None)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        for number, content in enumerate(damaged(files()[name], changes)):
            if number < first:
                continue
            print(f"at {number}", flush=True)
            path.write_bytes(content)
            file = local_file(str(path))
            for what in (
                partial(parquet.read_footer, file),
                partial(parquet.digest, file, ["e"], 0, 1 << 40),
                partial(first_batch, file),
                partial(first_batch, file, paged=True),
                pages,
            ):
                try:
                    what()
                    print("read")
                except InputError as error:
                    print("refused" if str(path) in str(error) else f"BAD {name} at {number}: no name in {error}")
                except Exception as error:
                    print(f"BAD {name} at {number}: {error!r}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        read(sys.argv[2], int(sys.argv[3]), tuple(map(int, sys.argv[4:])))
    else:
        sys.exit(main(tuple(map(int, sys.argv[1:])) or CHANGES))
