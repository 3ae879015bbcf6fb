"""The GIL of a process that scores Parquet files: how long it is held, and what that leaves for more cores.

Scores are computed in threads of one process, and only one thread at a time can hold the GIL. So the seconds for which
a row holds it are the least that a row takes on any number of cores. py-spy samples who holds it, which needs the right
to trace a process of one's own (Linux: `kernel.yama.ptrace_scope=0`, or root).

The figures of a way are rows per second by the time that the GIL is held, not by the clock.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import data
import pandas as pd
from harness import Case, Way

ROWS = data.FILES * data.ROWS
RATE = 1000  # Samples a second.
SECONDS = 5  # For which a process is sampled.
CORES = 16
PREFIX = "seconds of the GIL, two threads, "
WAYS = {
    "reading and scoring alone": "row_scores pages",
    "read_and_score": "read_and_score pages",
    "job": "score_dataset pages",
    "read_and_score, pages read by pyarrow": "read_and_score pyarrow",
    "job, pages read by pyarrow": "score_dataset pyarrow",
}
PROGRAM = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from dask_aesthetic import read_and_score, score_dataset
from dask_aesthetic.io import pages
from dask_aesthetic.io.shards import find_shards
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.shard_scores import row_scores

files, out, work, reader, seconds = sys.argv[1:]
if reader == "pyarrow":
    pages.get_parquet_pages = lambda: None  # As where numba does not run.
else:
    pages.COLD_ROWS = 0  # Compiled in the first run.

spec = ScoreSpec.of("image_embedding", "laion-v2", "standard", "raw", "aesthetic_score", "keep", "null", None)
shards = find_shards(files)

def score(shard):
    for _ in row_scores(shard, spec, shard.name):
        pass

def run(number):
    start = time.perf_counter()
    if work == "row_scores":
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(score, shards))
    elif work == "score_dataset":
        score_dataset(files, Path(out) / str(number), threads=2)
    else:
        found = read_and_score(files)[["key", "aesthetic_score"]]
        found.compute(scheduler="threads", num_workers=2)
    return time.perf_counter() - start

run(0)
print(min(run(number) for number in (1, 2, 3)), flush=True)
input()
start, number = time.perf_counter(), 3
while time.perf_counter() < start + float(seconds):
    run(number := number + 1)
print(time.perf_counter() - start, flush=True)
input()
"""
_walls: dict[tuple[str, str], list[float]] = {}


def cases() -> Iterator[Case]:
    """A case per kind of file."""
    for name in data.SETTINGS:
        yield Case(f"{PREFIX}{name}", partial(_ways, name), rounds=2)


@contextmanager
def _ways(name: str) -> Iterator[list[Way]]:
    files = data.SETTINGS[name]()
    yield [Way(way, partial(_held, files, f"{PREFIX}{name}", way), ROWS) for way in WAYS]


def _held(files: Path, case: str, way: str) -> float:
    """Seconds for which a run holds the GIL."""
    with TemporaryDirectory(dir=data.FOLDER) as folder:
        command = [sys.executable, "-c", PROGRAM, str(files), folder, *WAYS[way].split(), str(SECONDS)]
        wall, samples, seconds = sampled(command, Path(folder))
    _walls.setdefault((case, way), []).append(wall)
    # Sampling slows the process down: the share of samples counts, not their number.
    return samples / (RATE * seconds) * wall


def sampled(command: list[str], folder: Path, cwd: Path | None = None) -> tuple[float, int, float]:
    """Seconds of a run of a program, samples in which it holds the GIL, and the seconds that it was sampled.

    The program prints the seconds of a run, waits for a line, and prints for how many seconds it has run after that.
    """
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise RuntimeError("expected py-spy: pip install py-spy")
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
    ) as process:
        wall = float(process.stdout.readline())
        return wall, *_sample(spy, process, folder / "samples")


def _sample(spy: str, scored: subprocess.Popen[str], file: Path) -> tuple[int, float]:
    """Samples in which a thread of a process holds the GIL, and the seconds that it was sampled."""
    # If it stopped the process for each sample, threads would stop where they wait for the GIL, too often.
    command = [spy, "record", "--gil", "--nonblocking", "--rate", str(RATE), "--format", "raw", "--output", str(file)]
    command += ["--pid", str(scored.pid)]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as sampler:
        said = [sampler.stdout.readline()]
        while said[-1] and "Sampling process" not in said[-1]:
            said.append(sampler.stdout.readline())
        scored.stdin.write("\n")
        scored.stdin.flush()
        seconds = float(scored.stdout.readline())
        sampler.send_signal(signal.SIGINT)
        said.append(sampler.communicate()[0])
    scored.communicate("\n")
    text = "".join(said)
    counts = re.search(r"Samples: (\d+) Errors: (\d+)", text)
    if counts is None or "behind in sampling" in text or int(counts[2]) > RATE * seconds / 10:
        raise RuntimeError(f"expected py-spy to take {RATE} samples a second, got: {text}")
    # A sample fails where the stack changes meanwhile, which takes the GIL: it counts as held.
    return int(counts[1]) + int(counts[2]), seconds


def more(summary: pd.DataFrame) -> dict[str, object]:
    """Seconds of the GIL and of the clock for a million rows, and rows per second of more cores by them.

    Cores beyond two are taken to be as fast as these two, until the GIL is never free.
    """
    rows = []
    for one in summary.itertuples():
        wall = pd.Series(_walls[one.case, one.way]).median() / one.rows
        held = one.seconds / one.rows
        rows.append(
            {
                "case": one.case,
                "way": one.way,
                "gil": round(1e6 * held, 4),
                "wall": round(1e6 * wall, 4),
                "most": round(1 / held),
                "cores": round(min(CORES / (2 * wall), 1 / held)),
            }
        )
        print(
            f"{one.case}, {one.way}, per million rows: {rows[-1]['gil']:.3f} s of {rows[-1]['wall']:.2f} s; "
            f"at most {rows[-1]['most']:,} rows/s, on {CORES} cores {rows[-1]['cores']:,} rows/s",
            flush=True,
        )
    return {"gil": rows}
