"""Compare two files of results: `python benchmarks/compare.py BEFORE.json AFTER.json`.

Of every way that both hold: the median time per row of each, what became of it, and what became of its ratio to the
first way of its case, which is the figure to trust where the two files come from different days or machines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from harness import KEYS, load, medians


def compared(before: Path, after: Path) -> pd.DataFrame:
    """A row per way that both files hold."""
    one, other = (
        medians(pd.concat([pd.DataFrame(told["rows"]) for told in load(path).values()])).set_index(KEYS)
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
        for name, told in load(path).items():
            print(f"{path.name}, {name}: {told['machine']}")
    print(compared(options.before, options.after).to_string())


if __name__ == "__main__":
    main()
