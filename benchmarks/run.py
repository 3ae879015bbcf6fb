"""The benchmark suite.

    python benchmarks/run.py [kernel columns pipeline scale crowd store disk gil cores import peers gpu several verdicts
                             packed] [--rounds N] [--only PATTERN] [--results FILE] [--write]

Runs the suites (default: all but peers, which need environments of their own, crowd, disk, gil, cores, gpu, several,
verdicts and packed), saves every time to `--results` (JSON, a row per way and round), and prints each case as a table.
`--write`
also writes the tables to RESULTS.md, and draws results.png. The data (10 GB, made once) is in the folder
DASK_AESTHETIC_BENCH, by default under the system's temporary folder.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from importlib import import_module
from pathlib import Path

import pandas as pd
from draw import draw
from harness import Case, load, measure, medians, peak, peaks, save
from machine import machine
from tables import report, table

PLAIN = ("kernel", "columns", "pipeline", "scale", "crowd", "cores", "peers", "gpu", "several", "verdicts", "packed")
SUITES = {name: name for name in PLAIN} | {
    "import": "imports",
    "store": "object_store",
    "disk": "cold_disk",
    "gil": "gil",
}
DEFAULT = ("kernel", "columns", "pipeline", "scale", "store", "import")
HERE = Path(__file__).parent


def cases(suite: str, only: str = "") -> list[Case]:
    """The cases of a suite whose names match."""
    found = import_module(f"suites.{SUITES[suite]}").cases()
    return [case for case in found if re.search(only, case.name)]


def run(suite: str, results: Path, rounds: int | None, only: str) -> list[str]:
    """Measure, print and save a suite; return the names of failed cases, which do not end the others."""
    chosen, failed = cases(suite, only), []
    measured = {case.name for case in chosen}
    before = load(results).get(suite, {"rows": []})["rows"] if only and results.exists() else []
    rows = [row for row in before if row["case"] not in measured]
    for case in chosen:
        try:
            found = list(measure(suite, case, rounds))
            if case.memory:
                found += peaks(suite, case, Path(__file__))
        except Exception:
            traceback.print_exc()
            failed.append(f"{suite}: {case.name}")
            continue
        print(table(pd.DataFrame(found)), flush=True)
        rows += found
        save(results, suite, rows, machine(), {})
    after = getattr(import_module(f"suites.{SUITES[suite]}"), "more", None)
    if after and rows:
        save(results, suite, rows, machine(), after(medians(pd.DataFrame(rows))))
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; default: {', '.join(DEFAULT)}"
    )
    parser.add_argument("--rounds", type=int, help="Counted rounds of every case; default: each case's own.")
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="Cases whose names match; others keep their rows."
    )
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--write", action="store_true", help="Write RESULTS.md beside the results.")
    parser.add_argument("--peak", nargs=3, metavar=("SUITE", "CASE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        suite, name, way = options.peak
        case = next(case for case in cases(suite) if case.name == name)
        with case.ways() as ways:
            next(one for one in ways if one.name == way).run()
            print(json.dumps(peak()))
        return
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"expected suites of {', '.join(SUITES)}, got {', '.join(sorted(unknown))}")
    print(machine(), flush=True)
    failed = [
        name
        for suite in options.suites or DEFAULT
        for name in run(suite, options.results, options.rounds, options.only)
    ]
    if options.write:
        results = load(options.results)
        options.results.with_name("RESULTS.md").write_text(report(results))
        draw(results, options.results.with_suffix(".png"))
    sys.exit(f"failed: {', '.join(failed)}" if failed else None)


if __name__ == "__main__":
    main()
