"""The README's picture of the results."""

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
    """Bars of medians, with what single rounds lie between."""
    panels = [panel for panel in PANELS if panel[0] in results]
    if not panels:
        return
    figure = Figure(figsize=(9, 3 * len(panels)), layout="constrained")
    for axes, (suite, name, title) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        rows = pd.DataFrame(results[suite]["rows"])
        told = medians(rows[rows["case"] == name]).sort_values("ratio", ascending=False)
        spread = [told["ratio"] - told["low"], told["high"] - told["ratio"]]
        colors = [OURS if way in MINE else OTHERS for way in told["way"]]
        bars = axes.barh(told["way"], told["ratio"], color=colors, xerr=spread, ecolor="#555555")
        axes.bar_label(bars, [f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}" for ratio in told["ratio"]], padding=4)
        if told["ratio"].max() > 20:
            axes.set_xscale("log")
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
