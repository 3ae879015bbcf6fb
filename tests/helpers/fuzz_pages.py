"""Damaged Parquet files, which must never end the process or get a score that pyarrow's way does not give.

``python -m helpers.fuzz_pages COUNT [SEED] [PROCESSES]``, in this folder's parent. Compiled code checks its bounds,
for which it is compiled anew, unless FUZZ_UNCHECKED is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

CASES = 2000  # A process for so many.


def main(count: int, seed: int = 0, processes: int = 1) -> int:
    """Damage `count` files in processes of their own; the exit status says whether all went well."""
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ)
        if "FUZZ_UNCHECKED" not in environment:
            environment |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache}
        waiting = [(first, min(CASES, seed + count - first)) for first in range(seed, seed + count, CASES)]
        running: list[tuple[Any, int, int]] = []
        total: Counter[str] = Counter()
        bad = 0
        while waiting or running:
            while waiting and len(running) < processes:
                first, cases = waiting.pop(0)
                running.append((_start("--cases", first, cases, environment), first, cases))
            process, first, cases = running.pop(0)
            try:
                out, _ = process.communicate(timeout=900)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
            last = first
            for line in out.splitlines():
                if line.startswith("BAD"):
                    bad += 1
                    print(line, flush=True)
                elif line.startswith("at "):
                    last = int(line[3:])
                elif line.startswith("count "):
                    _, name, number = line.rsplit(" ", 2)
                    total[name] += int(number)
            if process.returncode:
                # pyarrow itself ends on some damaged footers.
                alone = _start("--pyarrow", last, 1, environment)
                alone.communicate()
                if alone.returncode == process.returncode:
                    total["ends pyarrow, too"] += 1
                else:
                    bad += 1
                    print(f"BAD seed {last}: the process ended with {process.returncode}", flush=True)
                if last + 1 < first + cases:
                    waiting.append((last + 1, first + cases - last - 1))
        print(f"{total.total():,} damaged files: {dict(total)}; bad: {bad}")
    return int(bad > 0)


def _start(what: str, first: int, count: int, environment: dict[str, str]) -> Any:
    command = [sys.executable, "-m", "helpers.fuzz_pages", what, str(first), str(count)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def run_cases(first: int, count: int) -> None:
    """Damage files of the seeds from `first` on, and print what became of them."""
    from helpers import page_files

    counts: Counter[str] = Counter()
    bases = _bases()
    for seed in range(first, first + count):
        print(f"at {seed}", flush=True)
        damaged, width, dtype = _case(seed, bases)
        heads = page_files.heads(width)
        try:
            found = page_files.in_place(damaged, heads, embedding_dtype=dtype)
        except _errors():
            counts["unopened"] += 1
            continue
        if all(one is None for one in found):
            counts["declined"] += 1
            continue
        verdict = "same"
        for group, one in enumerate(found):
            if one is None:
                continue
            try:
                wanted = page_files.by_pyarrow(damaged, heads, group, embedding_dtype=dtype)
            except _errors() as error:
                print(f"BAD seed {seed} group {group}: pyarrow refuses: {str(error)[:150]!r}", flush=True)
                verdict = "refused_by_pyarrow"
                break
            if wanted != one:
                print(f"BAD seed {seed} group {group}: another score", flush=True)
                verdict = "differs"
                break
        counts[verdict] += 1
        if seed == first + count - 1 or seed % 100 == 0:
            _report(counts)
    _report(counts)


def _report(counts: Counter[str]) -> None:
    for name, number in counts.items():
        print(f"count {name} {number}", flush=True)
    counts.clear()


def read_alone(seed: int) -> None:
    """Read the file of a seed by pyarrow alone, as this package reads it without the page reader."""
    from dask_aesthetic.io import parquet
    from dask_aesthetic.io.storage import local_file
    from helpers import page_files

    content, _, _ = _case(seed, _bases())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        path.write_bytes(content)
        file = local_file(str(path))
        try:
            parquet.read_footer(file)
            parquet.digest(file, [page_files.COLUMN], 0, 1 << 40)
        except Exception as error:
            print(type(error).__name__)


def _case(seed: int, bases: list[tuple[bytes, int, str | None]]) -> tuple[bytes, int, str | None]:
    import numpy as np

    random = np.random.default_rng([seed, 77])
    content, width, dtype = bases[random.integers(len(bases))]
    return _damage(content, random), width, dtype


def _bases() -> list[tuple[bytes, int, str | None]]:
    import numpy as np

    from helpers import page_files

    return [_base(np.random.default_rng(at), page_files, is_packed=at >= 120) for at in range(160)]


def _errors() -> tuple[type[BaseException], ...]:
    import pyarrow as pa

    return OSError, ValueError, pa.ArrowException  # A damaged name is no UTF-8: a ValueError.


def _base(random: Any, page_files: Any, is_packed: bool) -> tuple[bytes, int, str | None]:
    """A file, the floats of a row, and their dtype if they are packed."""
    import pyarrow as pa

    width = int(random.choice([1, 5, 8, 24, 24, 100]))
    size = int(random.choice([2, 4, 4, 8]))
    rows = page_files.random_rows(random, int(random.integers(1, 60)), width, size, int(random.choice([0, 2, 40])))
    options = page_files.random_options(random)
    if random.random() < 0.6:
        options["compression"] = "none"
    if size == 2 and int(pa.__version__.split(".")[0]) < 18:
        options.pop("column_encoding", None)
    options["write_page_checksum"] = bool(random.random() < 0.1)
    options["write_page_index"] = False
    if is_packed:
        options.pop("column_encoding", None)
        content = page_files.packed_table(rows, nullable=bool(random.random() < 0.5))
        return page_files.written(content, **options), width, f"float{8 * size}"
    return page_files.written(page_files.table(rows), **options), width, None


def _damage(content: bytes, random: Any) -> bytes:
    """A file with a few changes to a column chunk of lists, mostly to headers, levels and runs."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(pa.BufferReader(content))
    damaged = bytearray(content)
    group = int(random.integers(metadata.num_row_groups))
    chunk = metadata.row_group(group).column(1)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    stop = start + chunk.total_compressed_size
    pages = _pages(content, start, stop)
    kind = random.random()
    if kind < 0.35 and group == metadata.num_row_groups - 1:
        # A number of a header is another one; the chunk is the last, and its size in the footer follows.
        at, body = pages[random.integers(len(pages))]
        header = _decode(content[at:body])
        place = int(random.integers(len(header)))
        field, number = header[place]
        if number is not None:
            nearby = number + int(random.choice([-2, -1, 1, 2, 8, 100]))
            far = int(random.choice([0, 1, 2, 3, 4, 5, 8, 9, -1, 1 << 20, (1 << 31) - 1, -(1 << 31), 2 * number]))
            header[place] = field, nearby if random.random() < 0.5 else far
        elif random.random() < 0.5:
            del header[place]
        changed = _encode(header)
        damaged[at:body] = changed
        _resize(damaged, chunk.total_compressed_size, chunk.total_compressed_size + len(changed) - (body - at))
        return bytes(damaged)
    if kind < 0.45 and group == metadata.num_row_groups - 1:
        # Bytes are missing or doubled.
        at, length = int(random.integers(start, stop)), int(random.integers(1, 9))
        piece = bytes(damaged[at : at + length])
        damaged[at : min(at + length, stop)] = b"" if random.random() < 0.5 else piece * 2
        _resize(damaged, chunk.total_compressed_size, chunk.total_compressed_size + len(damaged) - len(content))
        return bytes(damaged)
    for _ in range(int(random.integers(1, 4))):
        if kind < 0.85:
            at, body = pages[random.integers(len(pages))]
            near = at if random.random() < 0.3 else body
            place = min(near + int(random.integers(24)), stop - 1)
        else:
            place = int(random.integers(start, stop))
        damaged[place] = (
            damaged[place] ^ (1 << int(random.integers(8)))
            if random.random() < 0.5
            else int(random.choice([0, 1, 2, 3, 127, 128, 255, random.integers(256)]))
        )
    if kind > 0.97:
        end = len(damaged) - 8
        damaged[int(random.integers(end - int(np.frombuffer(damaged[end : end + 4], "<u4")[0]), end))] ^= 1 << int(
            random.integers(8)
        )
    return bytes(damaged)


def _pages(content: bytes, start: int, stop: int) -> list[tuple[int, int]]:
    """Positions of the pages' headers and bodies."""
    import numpy as np

    from dask_aesthetic.kernels import page_headers

    data, header = np.frombuffer(content, np.uint8), np.empty(page_headers.HEADER_SIZE, np.int64)
    pages = []
    while start < stop:
        body = int(page_headers.read_header(data, start, stop, header))
        pages.append((start, body))
        start = body + int(header[page_headers.PACKED])
    return pages


def _decode(header: bytes) -> list[tuple[bytes, int | None]]:
    """A header as bytes that stay, and the 32-bit numbers behind some of them."""
    parts: list[tuple[bytes, int | None]] = []
    at = depth = 0
    while at < len(header):
        begin, byte = at, header[at]
        at += 1
        if byte == 0:
            depth -= 1
            parts.append((header[begin:at], None))
            continue
        kind = byte & 15
        if kind in (5, 6):
            value = shift = 0
            more = True
            while more:
                value |= (header[at] & 127) << shift
                more = header[at] > 127
                shift += 7
                at += 1
            parts.append((header[begin : begin + 1], (value >> 1) ^ -(value & 1)))
            continue
        if kind == 8:
            at += 1 + header[at]
        depth += kind == 12
        parts.append((header[begin:at], None))
    return parts


def _encode(parts: list[tuple[bytes, int | None]]) -> bytes:
    encoded = b""
    for field, number in parts:
        encoded += field + (b"" if number is None else _varint((number << 1) ^ (number >> 63)))
    return encoded


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _resize(content: bytearray, old: int, new: int) -> None:
    """Change a size in the footer, where it takes as many bytes as before."""
    end = len(content) - 8
    begin = end - int.from_bytes(content[end : end + 4], "little")
    before, after = _varint(2 * old), _varint(2 * max(new, 0))
    if len(before) == len(after):
        content[begin:end] = content[begin:end].replace(before, after)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "--cases":
        run_cases(int(arguments[1]), int(arguments[2]))
    elif arguments[0] == "--pyarrow":
        read_alone(int(arguments[1]))
    else:
        sys.exit(main(*map(int, arguments)))
