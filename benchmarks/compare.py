"""Compare two result files: `python benchmarks/compare.py BEFORE.json AFTER.json`.

For every way in both files: the median rows per second, the change of its time, and the change of its ratio to the
first way of its case. Trust the ratio where the two files come from different days or machines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from harness import KEYS, load, medians


def compared(before: Path, after: Path) -> pd.DataFrame:
    """Table with a row per way in both files."""
    one, other = (
        medians(pd.concat([pd.DataFrame(suite["rows"]) for suite in load(path).values()])).set_index(KEYS)
        for path in (before, after)
    )
    both = one.join(other, how="inner", lsuffix="_before", rsuffix="_after")
    return pd.DataFrame(
        {
            "rows/s before": both["rate_before"].round(),
            "rows/s after": both["rate_after"].round(),
            "time": (both["rate_before"] / both["rate_after"]).round(2),
            "ratio before": both["ratio_before"].round(2),
            "ratio after": both["ratio_after"].round(2),
            "ratio": (both["ratio_after"] / both["ratio_before"]).round(2),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    for path in (options.before, options.after):
        for name, suite in load(path).items():
            print(f"{path.name}, {name}: {suite['machine']}")
    print(compared(options.before, options.after).to_string())


if __name__ == "__main__":
    main()
