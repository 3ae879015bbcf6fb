"""Selections and lists from scores that are there: seconds and peak memory of each, killed runs, and a full sort.

    python benchmarks/choose.py [--rows 20000000] [--folder FOLDER] [--json FILE] [NAME ...]

It writes scores of files of a million rows, with ties, nulls, three sources and one duplicate in ten (1.3 GB for 20
million rows), and measures each command in a process of its own, on two threads. Outputs are removed at once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine

PER_FILE = 1_000_000
RECORD = {
    "schema_version": 1,
    "predictor": {"name": "laion-v2", "scale": "laion-v2"},
    "weights_sha256": "0" * 64,
    "scale": "raw",
    "threshold": {"value": 5.0, "scale": "raw", "name": "standard", "predictor": ""},
}
SELECTIONS = {
    "threshold": ["--threshold", "high"],
    "rule": ["--keep-if", "aesthetic_score>=5.5", "--keep-if", "source!=coyo"],
    "top": ["--top", "1000000"],
    "top by source": ["--top", "100000", "--by", "source"],
    "top, kept rows only": ["--top", "1000000", "--keep-only"],
    "without duplicates": ["--threshold", "5", "--drop-duplicates"],
    "takedown list": ["--threshold", "5", "--exclude", "{folder}/gone.parquet"],
}


def write_scores(folder: Path, rows: int) -> Path:
    """Files of scores with keys that are not in order, and a list of a million keys to drop."""
    scores = folder / "scores"
    scores.mkdir(parents=True, exist_ok=True)
    for at in range(rows // PER_FILE):
        path = scores / f"part-{at:04d}.parquet"
        if path.exists():
            continue
        rng = np.random.default_rng(at)
        values = rng.normal(4.5, 0.9, PER_FILE).astype(np.float32)
        values = np.where(rng.random(PER_FILE) < 0.3, values.round(2), values).astype(np.float32)
        scored = rng.random(PER_FILE) < 0.98
        key = pa.array(np.char.mod("%012d", rng.permutation(PER_FILE) + at * PER_FILE))
        hashes = rng.integers(0, 2**64, PER_FILE, dtype=np.uint64)
        repeats = rng.random(PER_FILE) < 0.1
        hashes[repeats] = np.random.default_rng(0).integers(0, 2**64, PER_FILE, dtype=np.uint64)[repeats]
        status = pa.DictionaryArray.from_arrays(pa.array((~scored).astype(np.int8)), pa.array(["ok", "missing"]))
        table = pa.table(
            {
                "key": key,
                "url": pa.compute.binary_join_element_wise("https://e.com/", key, ""),
                "source": pa.array(rng.choice(["laion", "coyo", "cc12m"], PER_FILE)),
                "embedding_hash": pa.array(hashes, mask=~scored),
                "aesthetic_score": pa.array(values, mask=~scored),
                "keep": pa.array(scored & (values >= 5)),
                "status": status,
            }
        ).replace_schema_metadata({"dask_aesthetic": json.dumps(RECORD)})
        pq.write_table(table, path, row_group_size=1 << 16, use_dictionary=["source", "status"])
    gone = np.random.default_rng(1).choice(rows, min(1_000_000, rows // 2), replace=False)
    pq.write_table(pa.table({"key": np.char.mod("%012d", gone)}), folder / "gone.parquet")
    return scores


FRAMES = {
    "distribution": "scores.aesthetic.distribution()",
    "distribution by source": "scores.aesthetic.distribution(by='source')",
    "top": "scores.aesthetic.top(1_000_000)[['key', 'aesthetic_score']].compute()",
}


def run(*arguments: object, kill_after: float | None = None) -> dict:
    """Seconds and peak resident bytes of a command of this package in a process of its own."""
    return run_process([sys.executable, "-m", "dask_aesthetic", *map(str, arguments)], kill_after)


def run_process(command: list[str], kill_after: float | None = None) -> dict:
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    out = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    if status and kill_after is None:
        raise SystemExit(f"{' '.join(command)} failed")
    return {"seconds": round(time.perf_counter() - begin, 2), "peak_bytes": usage.ru_maxrss * 1024, "out": out.decode()}


def digest(folder: Path) -> str:
    """Digest of all Parquet files and markers of an output."""
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock"):
        state.update(path.relative_to(folder).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def show(name: str, found: dict, note: str = "") -> None:
    print(f"  {name:<24}{found['seconds']:>8.1f} s {found['peak_bytes'] / 2**20:>8,.0f} MiB  {note}", flush=True)


def measure_selections(scores: Path, folder: Path, names: list[str]) -> dict:
    results = {}
    for name, options in SELECTIONS.items():
        if names and name not in names:
            continue
        options = [option.format(folder=folder) for option in options]
        output = folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        found = run("select", scores, output, *options, "--threads", 2, "--json", "--quiet")
        done = json.loads(found.pop("out"))
        show(f"select: {name}", found, f"{done['kept']:,} of {done['rows']:,} rows kept")
        results[name] = {**found, "kept": done["kept"]}
        shutil.rmtree(output)
    return results


def measure_killed(scores: Path, folder: Path) -> dict:
    """A run that is killed and resumed ends with the same bytes as one that is not."""
    options = ["--top", 1_000_000, "--threads", 2, "--quiet", "--json"]
    calm, output = folder / "calm", folder / "out"
    whole = run("select", scores, calm, *options)
    expected = digest(calm)
    shutil.rmtree(calm)
    for share in (0.6, 0.8):
        run("select", scores, output, *options, kill_after=share * whole["seconds"])
        done = len(list((output / "_dask_aesthetic/markers").rglob("*.json"))) if output.exists() else 0
        found = run("select", scores, output, *options)
        same = digest(output) == expected
        show(f"killed with {done} files done", found, f"resumed: {'the same bytes' if same else 'OTHER BYTES'}")
        shutil.rmtree(output)
        if not same:
            raise SystemExit("expected the bytes of a run that was not killed")
    return {"whole_seconds": whole["seconds"], "resumed_seconds": found["seconds"]}


def measure_lists(scores: Path, folder: Path) -> dict:
    results = {}
    for suffix in (".parquet", ".csv", ".txt"):
        output = folder / f"urls{suffix}"
        found = run("export", scores, "--output", output, "--overwrite", "--json", "--quiet")
        rows = json.loads(found.pop("out"))["rows"]
        show(f"export: {suffix}", found, f"{rows:,} rows, {output.stat().st_size / 1e6:,.0f} MB")
        results[suffix] = {**found, "rows": rows}
        output.unlink()
    return results


def measure_frames(scores: Path, folder: Path) -> dict:
    """The numbers and rows that a frame of the scores gives, and the report."""
    results = {}
    for name, call in FRAMES.items():
        code = f"import dask_aesthetic; scores = dask_aesthetic.read_scores({str(scores)!r}); {call}"
        results[name] = run_process([sys.executable, "-c", code])
        results[name].pop("out")
        show(f"frame: {name}", results[name])
    results["report"] = run("report", scores, "--output", folder / "report.html")
    results["report"].pop("out")
    show("report", results["report"])
    (folder / "report.html").unlink()
    return results


def measure_filter(scores: Path, folder: Path) -> dict:
    """Samples of a small tar kept by the scores of all rows."""
    tars = folder / "tars"
    tars.mkdir(exist_ok=True)
    with tarfile.open(tars / "0.tar", "w") as tar:
        for at in range(1000):
            tar.addfile(tarfile.TarInfo(f"{at * 1000:012d}.jpg"))
    found = run("filter", scores, folder / "out", "--tars", tars, "--allow-unmatched", "--json", "--quiet")
    done = json.loads(found.pop("out"))
    show("filter: a small tar", found, f"{done['kept']:,} of {done['samples']:,} samples kept")
    shutil.rmtree(folder / "out")
    shutil.rmtree(tars)
    return found


def compare_with_a_sort(scores: Path, folder: Path, n: int = 1_000_000) -> dict:
    """The best rows of a full sort by score and key, all of whose columns are in memory."""
    output = folder / "out"
    found = run("select", scores, output, "--top", n, "--keep-only", "--threads", 2, "--quiet")
    ours = set(pq.read_table(output, columns=["key"])["key"].to_numpy(zero_copy_only=False).tolist())
    shutil.rmtree(output)
    begin = time.perf_counter()
    frame = pd.concat(
        [pq.read_table(path, columns=["key", "aesthetic_score"]).to_pandas() for path in sorted(scores.iterdir())]
    ).dropna()
    values, keys = frame["aesthetic_score"].to_numpy(), frame["key"].to_numpy().astype("S12")
    order = np.lexsort((keys, -values.astype(float)))[:n]
    seconds = time.perf_counter() - begin
    ties = int((values == values[order[-1]]).sum())
    same = ours == set(keys[order].astype(str).tolist())
    print(f"  {'full sort by numpy':<24}{seconds:>8.1f} s, {ties:,} rows tie at the cut: "
          f"{'the same rows' if same else 'OTHER ROWS'}", flush=True)  # fmt: skip
    if not same:
        raise SystemExit("expected the rows of a full sort")
    return {"select_seconds": found["seconds"], "sort_seconds": round(seconds, 2), "ties": ties}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="selections; killed, lists, frames, filter, sort")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, default=Path(gettempdir()) / "dask-aesthetic-choose")
    parser.add_argument("--keep-scores", action="store_true", help="Leave the scores for another run.")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    scores = write_scores(asked.folder, asked.rows)
    size = sum(path.stat().st_size for path in scores.iterdir())
    print(f"{machine()}\n{asked.rows:,} rows in {asked.rows // PER_FILE} files, {size / 1e9:.2f} GB", flush=True)
    results = {"machine": machine(), "rows": asked.rows}
    results["select"] = measure_selections(scores, asked.folder, asked.names)
    others = {
        "killed": measure_killed,
        "lists": measure_lists,
        "frames": measure_frames,
        "filter": measure_filter,
        "sort": compare_with_a_sort,
    }
    for name, measure in others.items():
        if not asked.names or name in asked.names:
            results[name] = measure(scores, asked.folder)
    if not asked.keep_scores:
        shutil.rmtree(asked.folder)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
