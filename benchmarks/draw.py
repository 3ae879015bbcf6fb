"""Bar chart of the results for the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from harness import medians
from matplotlib.figure import Figure

PANELS = (
    ("pipeline", "two threads", "From Parquet files, two threads: time over reading the column"),
    ("peers", "scores of embeddings in memory", "Real embeddings in memory: time over dask_aesthetic"),
)
OURS, OTHERS = "#2a6f97", "#b8b8b8"
MINE = {"read_and_score", "job", "read_parquet and the accessor", "dask_aesthetic"}


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw bars of medians, with the range of single rounds."""
    panels = [panel for panel in PANELS if panel[0] in results]
    if not panels:
        return
    figure = Figure(figsize=(9, 3 * len(panels)), layout="constrained")
    for axes, (suite, name, title) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        rows = pd.DataFrame(results[suite]["rows"])
        summary = medians(rows[rows["case"] == name]).sort_values("ratio", ascending=False)
        spread = [summary["ratio"] - summary["low"], summary["high"] - summary["ratio"]]
        colors = [OURS if way in MINE else OTHERS for way in summary["way"]]
        bars = axes.barh(summary["way"], summary["ratio"], color=colors, xerr=spread, ecolor="#555555")
        axes.bar_label(
            bars, [f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}" for ratio in summary["ratio"]], padding=4
        )
        if summary["ratio"].max() > 20:
            axes.set_xscale("log")
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
