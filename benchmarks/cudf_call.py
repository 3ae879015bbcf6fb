"""Where the time of one call on a cuDF column goes: `python benchmarks/cudf_call.py --out FOLDER`, half a minute.

It compares `frame.aesthetic.score()` with the kernel alone and with what a plain torch program does, times each step of
the call, and profiles it on both sides. A step that fails is reported and ends no other.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import pstats
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import cudf
import data
import numpy as np
import pyarrow as pa
import torch
from machine import machine
from torch import nn

import dask_aesthetic
from dask_aesthetic import embeddings
from dask_aesthetic.kernels import gpu
from dask_aesthetic.score_spec import ScoreSpec
from dask_aesthetic.scoring import score_runs

ROWS = (1_000_000, 250_000, 25_000)
SMALL = 25_000
START = time.monotonic()


class Report:
    """Lines that are printed and written at once."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("w")

    def __call__(self, text: str = "") -> None:
        for out in (sys.stdout, self._file):
            print(f"[{time.monotonic() - START:5.1f}] {text}" if text else "", file=out, flush=True)

    def step(self, run: Callable[..., None], *args: object) -> None:
        """Run a step; report what goes wrong in it."""
        try:
            run(self, *args)
        except Exception:  # The machine may be gone before the next try.
            self(f"failed: {run.__name__}\n{traceback.format_exc()}")

    def times(self, rows: int, runs: dict[str, Callable[[], object]], seconds: float = 0.4) -> None:
        """Report the time of each run, and go on after one that fails."""
        for name, run in runs.items():
            try:
                found = milliseconds(run, seconds)
            except Exception as error:
                found = f"failed: {type(error).__name__}: {error}"
            self(f"{rows:>9,} rows, {name:40} {found}")


def milliseconds(run: Callable[[], object], seconds: float = 0.4, most: int = 200) -> str:
    """Median and least time of a run, until the device has finished."""
    times: list[float] = []
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < most):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return f"{median(times):8.3f} ms (least {min(times):.3f})"


def frame_of(rows: int, nulls: bool = False) -> cudf.DataFrame:
    """Frame of keys and unit vectors; with one row of 100 null."""
    vectors = data.vectors(min(rows, 10_000))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.tile(vectors, (-(-rows // len(vectors)), 1))[:rows]
    lists = data.lists(vectors, pa.list_(pa.float32()))
    if nulls:
        ok = np.arange(rows) % 100 != 7
        offsets = pa.array(np.concatenate([[0], np.cumsum(ok * data.WIDTH)]), pa.int32())
        lists = pa.ListArray.from_arrays(offsets, pa.array(vectors[ok].reshape(-1)), mask=pa.array(~ok))
    return cudf.DataFrame({"key": cudf.Series(np.arange(rows)), "image_embedding": cudf.Series.from_arrow(lists)})


def spec_of() -> ScoreSpec:
    return ScoreSpec.of("image_embedding", "laion-v2", "standard", "raw", "aesthetic_score", "keep", "null", None)


def layered() -> nn.Module:
    """A network of the published head's shape, which a partition function of NeMo Curator calls."""
    widths = (data.WIDTH, 1024, 128, 64, 16, 1)
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths))).cuda().eval()


def calls(report: Report, frame: cudf.DataFrame) -> None:
    (run,) = embeddings.runs(frame["image_embedding"], data.WIDTH)
    x, predictor, network = run.vectors, dask_aesthetic.load_predictor(), layered()
    weight = torch.tensor(predictor.weight[None], dtype=torch.float32, device="cuda")
    ways = {
        "frame.aesthetic.score()": frame.aesthetic.score,
        "the kernel alone": lambda: gpu.dots_and_squares(x, weight),
        "predictor.score of a tensor": lambda: predictor.score(x),
        "torch.mv and vector_norm": lambda: (torch.mv(x, weight[0]), torch.linalg.vector_norm(x, dim=1)),
        "normalize, and the layered network": torch.inference_mode(lambda: network(nn.functional.normalize(x, dim=1))),
    }
    report.times(len(frame), ways)


def variants(report: Report, frame: cudf.DataFrame) -> None:
    """Calls on columns that are not the common case, and the other methods."""
    rows = len(frame)
    several = {
        "a slice": frame.iloc[1:],
        "an index of integers": frame.set_index("key"),
        "1 row of 100 null": frame_of(rows, nulls=True),
    }
    runs = {name: one.aesthetic.score for name, one in several.items()}
    report.times(rows, runs | {"filter()": frame.aesthetic.filter, "status()": frame.aesthetic.status})


def steps(report: Report, frame: cudf.DataFrame) -> None:
    """What each step of a call takes."""
    column, spec = frame["image_embedding"], spec_of()
    (run,) = embeddings.runs(column, data.WIDTH)
    scores, lengths = spec.predictor.score(run.vectors)
    keep = scores >= spec.threshold.cut
    weight = torch.from_numpy(spec.predictor.heads.packed)
    added = {"aesthetic_score": scores, "keep": keep}

    def on_stream() -> None:
        with embeddings.stream(column):
            pass

    def guessed() -> embeddings.Guess | None:
        with embeddings.guess(column, data.WIDTH) as guess:
            return guess

    guess = guessed()
    parts: dict[str, Callable[[], object]] = {
        "arguments": spec_of,
        "frame[name]": lambda: frame["image_embedding"],
        "embeddings.check": lambda: embeddings.check(column, frame),
        "embeddings.stream": on_stream,
        "embeddings.guess": guessed,
        "guess.holds": lambda: guess.holds(lengths),
        "embeddings.runs": lambda: list(embeddings.runs(column, data.WIDTH)),
        "weights to the device": lambda: weight.to("cuda"),
        "the kernel": lambda: gpu.dots_and_squares(run.vectors, scores.new_ones(1, data.WIDTH)),
        "predictor.score": lambda: spec.predictor.score(run.vectors),
        "suspicious": lambda: embeddings.suspicious(lengths),
        "score_runs of a run": lambda: score_runs([run], spec),
        "scores >= cut, torch": lambda: scores >= spec.threshold.cut,
        "add_columns": lambda: embeddings.add_columns(frame, column, added),
        "frame.copy(deep=False)": lambda: frame.copy(deep=False),
    }
    report.times(len(frame), parts, 0.1)


def other_steps(report: Report, frame: cudf.DataFrame) -> None:
    """What cuDF's and torch's own ways take, which a call does without."""
    column = frame["image_embedding"]
    leaves = column.list.leaves
    status = torch.zeros(len(frame), dtype=torch.uint8, device="cuda")
    scores = torch.zeros(len(frame), device="cuda")
    series = embeddings.to_series(scores, column, "aesthetic_score")
    parts: dict[str, Callable[[], object]] = {
        "column.list.len()": lambda: column.list.len(),
        "column.list.leaves": lambda: column.list.leaves,
        "leaves.values": lambda: leaves.values,
        "statuses to the host": lambda: status.cpu(),
        "a Series": lambda: embeddings.to_series(scores, column, "aesthetic_score"),
        "series >= number": lambda: series >= 5.0,
        "assign of two series": lambda: frame.assign(a=series, b=series),
    }
    report.times(len(frame), parts, 0.1)


def python_profile(report: Report, frame: cudf.DataFrame) -> None:
    frame.aesthetic.score()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(200):
        frame.aesthetic.score()
    profile.disable()
    for order in ("tottime", "cumtime"):
        text = io.StringIO()
        pstats.Stats(profile, stream=text).strip_dirs().sort_stats(order).print_stats(40)
        report(f"200 calls of {len(frame):,} rows, by {order}\n{text.getvalue()}")


def device_profile(report: Report, frame: cudf.DataFrame) -> None:
    from torch.profiler import ProfilerActivity, profile

    count = 10
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        for _ in range(count):
            frame.aesthetic.score()
        torch.cuda.synchronize()
    names = Counter(event.name for event in found.events() if event.name.startswith(("cu", "Memcpy", "Memset")))
    report("of one call: " + ", ".join(f"{name} {number / count:g}" for name, number in names.most_common()))
    averages = found.key_averages()
    for order in ("self_cpu_time_total", "self_device_time_total"):
        report(f"{count} calls of {len(frame):,} rows, by {order}")
        report("\n" + averages.table(sort_by=order, row_limit=30, max_name_column_width=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="folder for cudf_call.txt")
    options = parser.parse_args()
    report = Report(options.out / "cudf_call.txt")
    report(f"{machine()}, cudf {cudf.__version__}")
    small = frame_of(SMALL)
    report.step(calls, small)
    report.step(steps, small)
    report.step(other_steps, small)
    report.step(python_profile, small)
    report.step(device_profile, small)
    report.step(variants, small)
    for rows in ROWS[:-1]:
        frame = frame_of(rows)
        report.step(calls, frame)
        report.step(device_profile if rows == max(ROWS) else variants, frame)
        del frame
    report("done")


if __name__ == "__main__":
    main()
